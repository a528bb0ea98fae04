//! Secure Boot keys of a product: `/api/v1/products/{product}/secure-boot`, and what they mean for
//! uploads and publications. That signatures are judged as `espsecure` does is tested where that is
//! done, and in `tests/attacks`.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_util::io::ReaderStream;
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_server::store::images::{self, Image};
use waxwing_tuf::author::{P256Signer, Signer as _};
use waxwing_wire::Digest;

use crate::support::{Answer, Api, Publisher, bundle, sha256};

/// Somebody with a Secure Boot key.
struct Holder(P256Signer);

impl Holder {
    fn new(seed: u8) -> Self {
        Self(P256Signer::from_seed(&[seed; 32]).unwrap())
    }

    fn key(&self) -> Vec<u8> {
        let spki = self.0.public().spki_der();
        let point = spki.last_chunk::<65>().unwrap();
        let reversed = |number: &[u8]| number.iter().rev().copied().collect::<Vec<_>>();
        [vec![2], reversed(&point[1..33]), reversed(&point[33..])].concat()
    }

    fn digest(&self) -> Digest {
        sha256(&self.key())
    }

    /// Appends a signature sector as `espsecure sign-data` does.
    fn sign(&self, image: &[u8]) -> Vec<u8> {
        let mut file = image.to_vec();
        file.resize(file.len().next_multiple_of(4096), 0xff);
        let signature = self.0.sign(&file).unwrap();
        let mut numbers = &signature[2..];
        let mut block = vec![0xe7, 3, 0, 0];
        block.extend(Sha256::digest(&file));
        block.extend(self.key());
        for _ in 0..2 {
            let number = &numbers[2..][..usize::from(numbers[1])];
            numbers = &numbers[2 + number.len()..];
            let mut little: Vec<_> = number.iter().rev().copied().collect();
            little.resize(32, 0);
            block.extend(&little[..32]);
        }
        block.resize(1196, 0);
        block.extend(crc32(&block).to_le_bytes());
        block.resize(1216, 0);
        block.resize(4096, 0xff);
        [file, block].concat()
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit) & 1)) {
        crc = if (crc ^ bit) & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    }
    !crc
}

/// An image that carries a version, for a chip that knows P-256.
fn image(version: &str) -> Vec<u8> {
    image_for(Chip::Esp32c6, version)
}

fn image_for(chip: Chip, version: &str) -> Vec<u8> {
    AppBuilder::new(chip).version(version).project("th1-fw").build().unwrap()
}

async fn put(api: &Api, image: &[u8]) -> Answer {
    let path = format!("products/th1/images/{}", sha256(image));
    api.put_bytes(&path, image.to_vec()).await
}

/// A server with a product whose Secure Boot keys are these.
async fn shop(keys: Value) -> (Api, Publisher) {
    let api = Api::open().await;
    let mut publisher = Publisher::new(&api);
    publisher.chip = Chip::Esp32c6;
    let mut product = publisher.product();
    product["secure_boot"] = keys;
    api.post("products", product).await.ok();
    (api, publisher)
}

#[tokio::test]
async fn an_image_signed_by_a_registered_key_is_taken_and_the_key_is_told() {
    let (registered, other) = (Holder::new(1), Holder::new(2));
    let (api, _) = shop(json!({ "required": true, "key_digests": [registered.digest()] })).await;
    let signed = registered.sign(&image("1.0.0"));
    let stored = put(&api, &signed).await.ok();
    assert_eq!(stored["signed_by"], json!([registered.digest()]));
    let api = api.restarted().await;
    assert_eq!(put(&api, &signed).await.ok()["signed_by"], json!([registered.digest()]));
    let refused =
        [(image("1.0.0"), "image_unsigned"), (other.sign(&image("1.0.0")), "image_signer_unknown")];
    for (image, code) in refused {
        put(&api, &image).await.refused(422, code, Some("sha256"));
        assert!(!api.app.blobs.contains(&sha256(&image)));
    }
}

#[tokio::test]
async fn a_signature_that_is_there_must_be_good_even_if_none_is_required() {
    let (api, _) = shop(json!({ "required": false })).await;
    let good = Holder::new(1).sign(&image("1.0.0"));
    let sector = good.len() - 4096;
    let spoilt = |at: usize, seal: bool| {
        let mut bad = good.clone();
        bad[sector + at] ^= 1;
        let crc = crc32(&bad[sector..][..1196]).to_le_bytes();
        if seal {
            bad[sector + 1196..][..4].copy_from_slice(&crc);
        }
        bad
    };
    for bad in [
        spoilt(4, false),
        spoilt(4, true),
        spoilt(40, true),
        spoilt(101, true),
        spoilt(1, true),
        spoilt(1200, false),
        [&good[..], &[0xff; 4096]].concat(),
    ] {
        put(&api, &bad).await.refused(422, "image_signature_bad", Some("sha256"));
    }
    for bad in [spoilt(0, true), good[..good.len() - 1].to_vec()] {
        put(&api, &bad).await.refused(422, "image_malformed", Some("sha256"));
    }
    let stored = put(&api, &good).await.ok();
    assert_eq!(stored["signed_by"], json!([Holder::new(1).digest()]));
}

#[tokio::test]
async fn a_signature_that_the_chip_does_not_know_is_refused() {
    let api = Api::open().await;
    let publisher = Publisher::new(&api);
    api.post("products", publisher.product()).await.ok();
    let signed = Holder::new(1).sign(&image_for(Chip::Esp32c3, "1.0.0"));
    put(&api, &signed).await.refused(422, "image_signature_foreign", Some("sha256"));
}

#[tokio::test]
async fn a_revoked_key_signs_nothing_any_more() {
    let (old, new) = (Holder::new(1), Holder::new(2));
    let both = json!({ "required": true, "key_digests": [old.digest(), new.digest()] });
    let (api, mut publisher) = shop(both).await;
    let (by_old, by_new) = (old.sign(&image("1.0.0")), new.sign(&image("1.1.0")));
    put(&api, &by_old).await.ok();
    put(&api, &by_new).await.ok();
    publisher.list("stable", "1.0.0", &by_old);
    publisher.list("stable", "1.1.0", &by_new);
    api.publish(&publisher.publication()).await.ok();
    let revoked = json!({
        "required": true, "key_digests": [new.digest()], "revoked_key_digests": [old.digest()],
    });
    let product = api.put("products/th1/secure-boot", revoked.clone()).await.ok();
    assert_eq!(product["secure_boot"], revoked);
    let api = api.restarted().await;
    assert_eq!(api.get("products/th1").await.ok()["secure_boot"], revoked);
    let again = old.sign(&image("1.2.0"));
    put(&api, &again).await.refused(422, "image_signer_revoked", Some("sha256"));
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "release_unsigned", Some("th1/stable/1.0.0/esp32c6.bin"));
    publisher.roles.get_mut("th1-stable").unwrap().remove("th1/stable/1.0.0/esp32c6.bin");
    publisher.version = 2;
    api.publish(&publisher.publication()).await.ok();
}

#[tokio::test]
async fn an_image_from_before_signatures_were_read_is_known_by_them_once_it_comes_again() {
    let holder = Holder::new(1);
    let (api, mut publisher) = shop(json!({ "required": false })).await;
    let signed = holder.sign(&image("1.0.0"));
    put(&api, &signed).await.ok();
    let (product, sha256) = ("th1".parse().unwrap(), sha256(&signed));
    let stored = images::find(&api.app.store, &product, &sha256).await.unwrap().unwrap();
    let mut change = api.app.store.begin().await.unwrap();
    let forgotten = Image { signed_by: Vec::new(), ..stored };
    images::set_read(change.connection(), &forgotten).await.unwrap();
    drop(change.commit().await.unwrap());
    let required = json!({ "required": true, "key_digests": [holder.digest()] });
    api.put("products/th1/secure-boot", required).await.ok();
    publisher.list("stable", "1.0.0", &signed);
    let path = "th1/stable/1.0.0/esp32c6.bin";
    let answer = api.publish(&publisher.publication()).await;
    answer.refused(422, "release_unsigned", Some(path));
    for _ in 0..2 {
        let again = put(&api, &signed).await;
        assert_eq!(
            (again.status.as_u16(), &again.json["signed_by"][0]),
            (200, &json!(holder.digest()))
        );
    }
    publisher.version = 1;
    api.publish(&publisher.publication()).await.ok();
    let lines = api.get("audit").await.ok()["items"].as_array().unwrap().clone();
    let read: Vec<_> = lines.iter().filter(|it| it["action"] == "image_signers_read").collect();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0]["detail"]["signed_by"], json!([holder.digest()]));
}

#[tokio::test]
async fn a_publication_is_judged_by_the_product_as_it_is_when_it_has_come() {
    let (api, mut publisher) = shop(json!({ "required": false })).await;
    let unsigned = image("1.0.0");
    put(&api, &unsigned).await.ok();
    publisher.list("stable", "1.0.0", &unsigned);
    let bundle = bundle(&publisher.publication());
    let (body, mut sender) = slow_body();
    let publication = api.send(Api::request(Method::POST, "products/th1/metadata", body));
    let meanwhile = async {
        // The pipe holds one byte: with the second one in it, somebody has taken the first.
        sender.write_all(&bundle[..2]).await.unwrap();
        let required = json!({ "required": true, "key_digests": [Holder::new(1).digest()] });
        api.put("products/th1/secure-boot", required).await.ok();
        sender.write_all(&bundle[2..]).await.unwrap();
        drop(sender);
    };
    let (answer, ()) = tokio::join!(publication, meanwhile);
    answer.refused(422, "release_unsigned", Some("th1/stable/1.0.0/esp32c6.bin"));
}

/// A body that arrives as it is written.
fn slow_body() -> (Body, DuplexStream) {
    let (sender, receiver) = tokio::io::duplex(1);
    (Body::from_stream(ReaderStream::new(receiver)), sender)
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let (api, _) = shop(json!({ "required": false })).await;
    let digest = Holder::new(1).digest();
    for (keys, status, code, field) in [
        (json!({ "required": true }), 422, "invalid_product", "secure_boot"),
        (
            json!({ "required": false, "key_digests": [digest, digest] }),
            422,
            "invalid_product",
            "secure_boot",
        ),
        (json!({ "required": true, "key_digests": ["x"] }), 400, "invalid_json", "key_digests[0]"),
        (json!({ "key_digests": [] }), 400, "invalid_json", "required"),
    ] {
        api.put("products/th1/secure-boot", keys).await.refused(status, code, Some(field));
    }
    let answer = api.put("products/none/secure-boot", json!({ "required": false })).await;
    answer.refused(404, "unknown_product", None);
}
