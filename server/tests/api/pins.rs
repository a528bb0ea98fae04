//! Pins: what keyholders sign is stored and named to every device of the product, and what would cut
//! devices off is refused.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::{DeviceId, Digest, ProductId};

use crate::support::{Api, Publisher, sha256};

/// The CA of the server, in PEM.
fn own(api: &Api) -> String {
    pem(api.app.pki.server().certificate())
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn made(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    change(&mut params);
    pem(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
}

fn target(pins: &str) -> Value {
    json!({
        "length": pins.len(), "hashes": {"sha256": sha256(pins.as_bytes())},
        "custom": {"match": {"kind": "server-ca"}},
    })
}

/// Lists pins, and sends a file along or not.
fn list(publisher: &mut Publisher, pins: &str, sent: Option<&str>) -> crate::support::Files {
    publisher.top = serde_json::Map::from_iter([(SERVER_CA_PATH.to_owned(), target(pins))]);
    let mut files = publisher.publication();
    if let Some(sent) = sent {
        files.insert(SERVER_CA_PATH.to_owned(), sent.as_bytes().to_vec());
    }
    files
}

fn decided(api: &Api) -> (u64, Option<Digest>) {
    let device = DeviceId::parse("d-0").unwrap();
    let decision = api.app.fleet.decide(&device, 1).unwrap();
    (decision.decided_at_ms, decision.pins.map(|pins| pins.sha256))
}

#[tokio::test]
async fn other_pins_are_a_new_decision_for_every_device_and_survive_a_restart() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let before = decided(&api);
    assert_eq!(before.1, None);
    let both = own(&api) + &made(|_| ());
    let answer = api.publish(&list(&mut publisher, &both, Some(&both))).await.ok();
    assert!(answer["files"].as_array().unwrap().contains(&json!(SERVER_CA_PATH)));
    let with_both = decided(&api);
    assert_eq!(with_both.1, Some(sha256(both.as_bytes())));
    assert!(with_both.0 > before.0, "a new decision has a later time (D3)");
    // The same again changes nothing.
    api.publish(&list(&mut publisher, &both, Some(&both))).await.ok();
    api.publish(&list(&mut publisher, &both, None)).await.ok();
    assert_eq!(decided(&api), with_both);
    let one = own(&api);
    api.publish(&list(&mut publisher, &one, Some(&one))).await.ok();
    let with_one = decided(&api);
    assert!(with_one.0 > with_both.0);
    assert_eq!(with_one.1, Some(sha256(one.as_bytes())));
    let api = api.restarted().await;
    assert_eq!(decided(&api), with_one);
    let pins = api.app.fleet.pins(&ProductId::parse("th1").unwrap()).unwrap();
    assert_eq!(pins.length, u64::try_from(one.len()).unwrap());
}

#[tokio::test]
async fn pins_that_would_cut_devices_off_are_refused() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let own = own(&api);
    let leaf = own.clone() + &made(|params| params.is_ca = IsCa::ExplicitNoCa);
    let long = own.repeat(20);
    for (listed, sent, code) in [
        (made(|_| ()), None, "pins_lock_out"),
        (leaf, None, "pins_unusable"),
        (long, None, "pins_unusable"),
        ("no certificate".to_owned(), None, "pins_unusable"),
        (own.clone(), Some(String::new()), "pins_missing"),
        (own.clone(), Some(made(|_| ())), "pins_missing"),
    ] {
        let version = publisher.version;
        let files = list(&mut publisher, &listed, Some(sent.as_ref().unwrap_or(&listed)));
        api.publish(&files).await.refused(422, code, Some(SERVER_CA_PATH));
        publisher.version = version;
    }
    let files = list(&mut publisher, &own, None);
    publisher.version -= 1;
    api.publish(&files).await.refused(422, "pins_missing", Some(SERVER_CA_PATH));
    assert_eq!(decided(&api).1, None);
}

#[tokio::test]
async fn pins_that_devices_use_do_not_disappear() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let own = own(&api);
    api.publish(&list(&mut publisher, &own, Some(&own))).await.ok();
    publisher.top.clear();
    let refused = api.publish(&publisher.publication()).await;
    refused.refused(422, "pins_gone", Some(SERVER_CA_PATH));
    assert_eq!(decided(&api).1, Some(sha256(own.as_bytes())));
}

#[tokio::test]
async fn pins_that_nobody_listed_are_not_stored() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let mut files = publisher.publication();
    files.insert(SERVER_CA_PATH.to_owned(), own(&api).into_bytes());
    api.publish(&files).await.refused(422, "metadata_unused", Some(SERVER_CA_PATH));
}

#[tokio::test]
async fn a_channel_may_not_say_by_what_devices_know_their_server() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let own = own(&api);
    publisher.roles.get_mut("th1-stable").unwrap().insert(SERVER_CA_PATH.to_owned(), target(&own));
    let mut files = publisher.publication();
    files.insert(SERVER_CA_PATH.to_owned(), own.into_bytes());
    api.publish(&files).await.refused(422, "release_outside_role", Some(SERVER_CA_PATH));
}
