//! Certificates with which operators listen over MQTT, over the REST API.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};

use crate::support::Api;

const PATH: &str = "operators/first/certificates";

fn request(change: impl FnOnce(&mut CertificateParams)) -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn a_certificate_is_signed_listed_and_revoked_and_each_is_audited() {
    let api = Api::open().await;
    let signed = api.post(PATH, json!({ "csr": request(|_| ()), "days": 30 })).await.ok();
    let certificate = signed["certificate"].as_str().unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----\n"), "{certificate}");
    let listed = api.get(PATH).await.ok();
    assert_eq!(listed[0]["serial"], signed["serial"]);
    assert_eq!(listed[0]["expires_at"], signed["expires_at"]);
    let path = format!("{PATH}/{}", signed["serial"].as_str().unwrap());
    api.delete(&path).await.ok();
    assert_eq!(api.get(PATH).await.ok(), json!([]));
    api.delete(&path).await.refused(404, "unknown_certificate", None);
    let actions = api.get("audit").await.ok();
    let actions: Vec<_> =
        actions["items"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
    for action in ["operator_certificate_issued", "operator_certificate_revoked"] {
        assert!(actions.contains(&&json!(action)), "{actions:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_of_an_operator_is_not_signed() {
    let api = Api::open().await;
    let foreign = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let foreign = CertificateParams::default().serialize_request(&foreign).unwrap().pem().unwrap();
    let ca =
        request(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let device = request(|params| {
        let uri = "waxwing:device:d-1".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    });
    for csr in ["", "no request", &foreign, &ca, &device] {
        api.post(PATH, json!({ "csr": csr })).await.refused(422, "unfit_csr", Some("csr"));
    }
    for days in [0, 366, u32::MAX] {
        let body = json!({ "csr": request(|_| ()), "days": days });
        api.post(PATH, body.clone()).await.refused(422, "invalid_days", Some("days"));
    }
    let body = json!({ "csr": request(|_| ()) });
    let unknown = "operators/nobody/certificates";
    api.post(unknown, body.clone()).await.refused(404, "unknown_operator", None);
    api.get(unknown).await.refused(404, "unknown_operator", None);
    assert_eq!(api.get(PATH).await.ok(), json!([]));
}

#[tokio::test]
async fn certificates_of_one_operator_are_bounded() {
    let api = Api::open().await;
    let body: Value = json!({ "csr": request(|_| ()) });
    for _ in 0..32 {
        api.post(PATH, body.clone()).await.ok();
    }
    api.post(PATH, body.clone()).await.refused(409, "too_many_certificates", None);
}
