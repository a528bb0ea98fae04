//! Signatures that verify, and every way in which a key or a signature can be wrong.

use ed25519_dalek::{Signer, SigningKey};
use p256::ecdsa::Signature;

use super::*;

fn ed25519() -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::ed25519(key.verifying_key().as_bytes()).unwrap();
    (key, public)
}

fn ecdsa_pair() -> (p256::ecdsa::SigningKey, PublicKey) {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let public = PublicKey::p256(point.as_bytes().try_into().unwrap()).unwrap();
    (key, public)
}

fn ecdsa_signature(message: &[u8]) -> Vec<u8> {
    let signature: Signature = ecdsa_pair().0.sign(message);
    signature.to_der().as_bytes().to_vec()
}

#[test]
fn a_signature_covers_the_concatenation_of_the_parts() {
    let (key, public) = ed25519();
    let signature = key.sign(b"waxwing").to_bytes();
    assert_eq!(public.verify(&[b"wax", b"", b"wing"], &signature), Ok(()));
    assert_eq!(public.verify(&[b"wing", b"wax"], &signature), Err(BadSignature));
    let (_, public) = ecdsa_pair();
    let signature = ecdsa_signature(b"waxwing");
    assert_eq!(public.verify(&[b"waxwing"], &signature), Ok(()));
    assert_eq!(public.verify(&[b"waxwinG"], &signature), Err(BadSignature));
}

#[test]
fn every_encoding_of_a_key_gives_the_key_back() {
    for public in [ed25519().1, ecdsa_pair().1] {
        assert_eq!(PublicKey::from_spki_der(&public.spki_der()), Ok(public.clone()));
        assert_eq!(PublicKey::from_pem(&public.pem()), Ok(public.clone()));
        let text = public.public_text().replace('\n', "\\n");
        let object = key_object(public.key_type(), public.scheme(), &text);
        assert_eq!(PublicKey::from_tuf_json(Value::parse(object.as_bytes()).unwrap()), Ok(public));
    }
}

/// What `securesystemslib.signer.SSlibKey.from_crypto` says about the same two keys.
#[test]
fn key_ids_are_those_of_securesystemslib() {
    assert_eq!(
        ed25519().1.key_id(),
        "bfe1a83869e5bf574e3ff3acbb83f840de84a990d10059f3096f0bf4f2b90c10"
    );
    assert_eq!(
        ecdsa_pair().1.key_id(),
        "0848f460d8c5fe8f1dc1d7e832cffe2a8e23b3009527bfc60b26e569840c39c0"
    );
}

#[test]
fn flipped_bits_in_a_signature_are_noticed() {
    let signatures = [
        (ed25519().1, ed25519().0.sign(b"m").to_bytes().to_vec()),
        (ecdsa_pair().1, ecdsa_signature(b"m")),
    ];
    for (public, signature) in signatures {
        for bit in 0..signature.len() * 8 {
            let mut bad = signature.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(public.verify(&[b"m"], &bad), Err(BadSignature), "bit {bit}");
        }
        assert_eq!(public.verify(&[b"m"], &[]), Err(BadSignature));
        assert_eq!(public.verify(&[b"m"], &[&signature[..], &[0]].concat()), Err(BadSignature));
    }
}

#[test]
fn small_order_and_non_canonical_ed25519_keys_are_refused() {
    // The identity; the same with a sign bit that means nothing; y = p + 1, the identity again; a
    // point of order 8; y = p + 3 = 3, a good point spelled a second way.
    let weak = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for bytes in weak {
        assert_eq!(PublicKey::ed25519(&hex::decode(bytes).unwrap()), Err(BadKey), "{bytes}");
    }
    assert!(
        PublicKey::ed25519(
            &hex::decode("0300000000000000000000000000000000000000000000000000000000000000")
                .unwrap()
        )
        .is_ok()
    );
}

/// For a small-order R, whoever holds the key can craft a signature that plain verification takes.
#[test]
fn an_ed25519_signature_with_small_order_r_is_refused() {
    use curve25519_dalek::Scalar;
    use ed25519_dalek::hazmat::ExpandedSecretKey;
    use sha2::Sha512;

    let (key, public) = ed25519();
    let secret = ExpandedSecretKey::from(&key.to_bytes());
    let mut identity = [0; 32];
    identity[0] = 1;
    let hash = Sha512::new()
        .chain_update(identity)
        .chain_update(key.verifying_key().as_bytes())
        .chain_update(b"m");
    let s = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * secret.scalar;
    let signature = [identity, s.to_bytes()].concat();
    let dalek = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    assert!(ed25519_dalek::Verifier::verify(&key.verifying_key(), b"m", &dalek).is_ok());
    assert!(key.verifying_key().verify_strict(b"m", &dalek).is_err());
    assert_eq!(public.verify(&[b"m"], &signature), Err(BadSignature));
}

#[test]
fn an_ed25519_signature_with_unreduced_s_is_refused() {
    // The order of the base point, little endian.
    let order: [u8; 32] =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let (key, public) = ed25519();
    let mut signature = key.sign(b"m").to_bytes();
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(public.verify(&[b"m"], &signature), Err(BadSignature));
}

#[test]
fn points_off_the_curve_and_compressed_points_are_refused() {
    let point: [u8; 65] = ecdsa_pair().1.spki_der()[26..].try_into().unwrap();
    let mut off = point;
    off[64] ^= 1;
    assert_eq!(PublicKey::p256(&off), Err(BadKey));
    let mut hybrid = point;
    hybrid[0] = 6;
    assert_eq!(PublicKey::p256(&hybrid), Err(BadKey));
    assert_eq!(
        PublicKey::from_spki_der(&[&ecdsa::SPKI_PREFIX[..], &[2], &point[1..33]].concat()),
        Err(BadKey)
    );
}

#[test]
fn foreign_key_objects_are_refused() {
    let public = "03".to_string() + &"0".repeat(62);
    let parse = |json: &str| PublicKey::from_tuf_json(Value::parse(json.as_bytes()).unwrap());
    assert!(parse(&key_object("ed25519", "ed25519", &public)).is_ok());
    assert!(parse(&key_object("ed25519", "ed25519ph", &public)).is_err());
    assert!(parse(&key_object("rsa", "rsassa-pss-sha256", &public)).is_err());
    assert!(parse(&key_object("ecdsa", "ecdsa-sha2-nistp256", &public)).is_err());
    assert!(parse("{}").is_err());
    assert!(parse("1").is_err());
}

fn key_object(key_type: &str, scheme: &str, public: &str) -> String {
    std::format!(
        r#"{{"keytype":"{key_type}","scheme":"{scheme}","keyval":{{"public":"{public}"}}}}"#
    )
}

#[test]
fn a_hash_is_signed_like_the_message_it_is_of() {
    let (key, PublicKey::EcdsaP256(public)) = ecdsa_pair() else { panic!("a P-256 key") };
    let signature: Signature = key.sign(b"waxwing");
    let raw = |signature: &Signature| <[u8; 64]>::from(signature.to_bytes());
    let hash = |message: &[u8]| Sha256::digest(message).into();
    assert_eq!(public.verify_hash(&hash(b"waxwing"), &raw(&signature)), Ok(()));
    assert_eq!(public.verify_hash(&hash(b"waxwinG"), &raw(&signature)), Err(BadSignature));
    assert_eq!(public.verify_hash(&hash(b"waxwing"), &[0; 64]), Err(BadSignature));
    assert_eq!(public.verify_hash(&hash(b"waxwing"), &[0xff; 64]), Err(BadSignature));
}
