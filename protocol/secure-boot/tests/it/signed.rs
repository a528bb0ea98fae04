//! Images signed by `espsecure`.

use waxwing_esp_image::App;
use waxwing_esp_image::signature::{BlockFault, Collector, Scheme, Sector, SignatureError};
use waxwing_secure_boot::{Refusal, verify};

use crate::espsecure::{Workshop, key_digests, ours};

#[test]
fn espsecure_and_we_see_the_same_keys_in_the_same_blocks() {
    let mut shop = Workshop::new();
    shop.key("rsa3072", "r1").key("rsa3072", "r2").key("ecdsa256", "e1").key("ecdsa256", "e2");
    shop.sign("image.bin", "r1", "r1.bin").sign("image.bin", "e1", "e1.bin");
    shop.append("r1.bin", "r2", "r1r2.bin").append("e1.bin", "e2", "e1e2.bin");
    shop.append("r1r2.bin", "e1", "r1r2e1.bin");
    shop.run_all();
    let (rsa, ecdsa) = (Scheme::RsaPss3072, Scheme::EcdsaP256);
    for (name, keys, schemes) in [
        ("r1.bin", &["r1"][..], &[rsa][..]),
        ("e1.bin", &["e1"], &[ecdsa]),
        ("r1r2.bin", &["r1", "r2"], &[rsa, rsa]),
        ("e1e2.bin", &["e1", "e2"], &[ecdsa, ecdsa]),
        ("r1r2e1.bin", &["r1", "r2", "e1"], &[rsa, rsa, ecdsa]),
    ] {
        shop.step(&format!("signature-info-v2 @{name}"));
        for key in keys {
            shop.step(&format!(
                "digest-sbv2-public-key --keyfile @{key}.pub --output @{key}.digest"
            ));
            // It stumbles over RSA blocks before the one of an ECDSA key.
            if name.starts_with(&key[..1]) {
                shop.step(&format!("verify-signature --version 2 --keyfile @{key}.pub @{name}"));
            }
        }
        let answers = shop.run();
        let signed = ours(&shop.read(name)).unwrap();
        let digests: Vec<_> = signed.iter().map(|block| block.key_digest.to_string()).collect();
        assert_eq!(digests, key_digests(&answers[0].text), "{name}: {}", answers[0].text);
        let of_keys = keys.iter().map(|key| shop.read(&format!("{key}.digest")));
        let of_blocks = signed.iter().map(|block| block.key_digest.0.to_vec());
        assert!(of_keys.eq(of_blocks), "{name}");
        assert!(signed.iter().map(|block| block.scheme).eq(schemes.iter().copied()), "{name}");
        for answer in &answers {
            assert!(answer.accepted, "{name}: {}", answer.text);
        }
    }
}

#[test]
fn an_image_that_comes_in_pieces_gives_the_same_sector() {
    let mut shop = Workshop::new();
    shop.key("ecdsa256", "key").sign("image.bin", "key", "signed.bin").run_all();
    let file = shop.read("signed.bin");
    let at = App::parse(&file).unwrap().signature_at.unwrap();
    assert_eq!(usize::try_from(at).unwrap(), file.len() - 4096);
    for piece in [1, 1000, 4096, 5000, file.len()] {
        let mut collector = Collector::new();
        file.chunks(piece).for_each(|piece| collector.update(piece));
        let sector = collector.finish(at).unwrap();
        assert_eq!(sector.image_sha256(), Sector::of_file(&file).unwrap().image_sha256());
        assert_eq!(verify(&sector), ours(&file));
    }
    for len in [0, 1, 4096, file.len() - 1] {
        let mut collector = Collector::new();
        collector.update(&file[..len]);
        assert_eq!(collector.finish(at).unwrap_err(), SignatureError::Truncated, "{len}");
    }
}

#[test]
fn curves_we_do_not_check_are_named_in_the_refusal() {
    for (scheme, curve) in [("ecdsa192", "P-192"), ("ecdsa384", "P-384")] {
        let mut shop = Workshop::new();
        shop.key(scheme, "key").sign("image.bin", "key", "signed.bin");
        shop.step("verify-signature --version 2 --keyfile @key.pub @signed.bin").run_all();
        let refusal = ours(&shop.read("signed.bin")).unwrap_err();
        let is_curve = |fault| matches!(fault, BlockFault::Curve { .. });
        let Refusal::Sector(SignatureError::Block { index: 0, fault }) = refusal else {
            panic!("{refusal:?}");
        };
        assert!(is_curve(fault) && refusal.to_string().contains(curve), "{refusal}");
    }
}
