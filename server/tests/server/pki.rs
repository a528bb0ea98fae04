//! Certificates and requests, with openssl as the judge.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
    SignatureAlgorithm,
};
use waxwing_server::pki::{CsrError, DeviceKey};

use crate::support::{Folder, csr, openssl};

fn request(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

#[test]
fn requests_for_other_keys_than_p256_are_refused() {
    assert!(DeviceKey::from_der(&request(&PKCS_ECDSA_P256_SHA256)).is_ok());
    for der in [
        request(&PKCS_ECDSA_P384_SHA384),
        request(&PKCS_ED25519),
        made_by_openssl(&["-newkey", "rsa:2048"]),
        // The trap: a P-384 key that signs with SHA-256, which libraries label P-256.
        made_by_openssl(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha256"]),
        made_by_openssl(&[
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-pkeyopt",
            "ec_param_enc:explicit",
        ]),
    ] {
        assert_eq!(DeviceKey::from_der(&der), Err(CsrError::Algorithm));
    }
}

#[test]
fn a_request_that_is_not_der_is_refused() {
    let good = request(&PKCS_ECDSA_P256_SHA256);
    let mut primitive = good.clone();
    primitive[0] = 0x10;
    let longer = [&good[..], &[0]].concat();
    for der in [primitive, longer, good[..good.len() - 1].to_vec(), Vec::new()] {
        assert_eq!(DeviceKey::from_der(&der), Err(CsrError::Malformed));
    }
}

#[test]
fn a_key_in_another_spelling_is_refused() {
    // The parser reads a primitive SEQUENCE, and a length in more bytes than it needs, as well.
    let good = request(&PKCS_ECDSA_P256_SHA256);
    let at = good.windows(2).position(|it| it == [0x30, 0x59]).unwrap();
    let mut primitive = good;
    primitive[at] = 0x10;
    assert_eq!(DeviceKey::from_der(&primitive), Err(CsrError::Algorithm));
}

#[test]
fn requests_of_openssl_are_understood() {
    let der = made_by_openssl(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    assert!(DeviceKey::from_der(&der).is_ok());
    let pem = openssl(&["req", "-inform", "DER", "-outform", "PEM"], &der);
    assert!(DeviceKey::from_est(pem.as_bytes()).is_ok());
}

#[test]
fn a_request_without_proof_of_possession_is_refused() {
    let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let mut der = STANDARD.decode(csr(&own)).unwrap();
    let at = der.windows(65).position(|point| point == own.public_key_raw()).unwrap();
    der[at..at + 65].copy_from_slice(other.public_key_raw());
    assert_eq!(DeviceKey::from_der(&der), Err(CsrError::Proof));
}

#[test]
fn no_damage_changes_the_key_that_is_read() {
    let good = request(&PKCS_ECDSA_P256_SHA256);
    let key = DeviceKey::from_der(&good).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        if let Ok(read) = DeviceKey::from_der(&bad) {
            assert_eq!(read, key, "byte {at}");
        }
        assert!(DeviceKey::from_der(&good[..at]).is_err());
    }
    assert_eq!(DeviceKey::from_der(&[&good[..], b"x"].concat()), Err(CsrError::Malformed));
    assert_eq!(DeviceKey::from_der(&[0; 5000]), Err(CsrError::TooLong));
}

#[test]
fn a_request_for_more_than_a_device_gets_is_refused() {
    let request = |ask: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        ask(&mut params);
        let key = KeyPair::generate().unwrap();
        DeviceKey::from_der(params.serialize_request(&key).unwrap().der())
    };
    let names = |names: &[SanType]| request(&|params| params.subject_alt_names = names.to_vec());
    let usages = |usages: &[ExtendedKeyUsagePurpose]| {
        request(&|params| params.extended_key_usages = usages.to_vec())
    };
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(request(&|params| params.is_ca = ca), Err(CsrError::Authority));
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let refused = request(&|params| params.key_usages = vec![usage]);
        assert_eq!(refused, Err(CsrError::Authority));
    }
    let (server, client) =
        (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(usages(std::slice::from_ref(&server)), Err(CsrError::Usage));
    assert_eq!(usages(&[client.clone(), server]), Err(CsrError::Usage));
    assert_eq!(usages(&[ExtendedKeyUsagePurpose::Any]), Err(CsrError::Usage));
    assert!(usages(&[client]).is_ok());
    let dns = SanType::DnsName("d-1".try_into().unwrap());
    let uri = |device: &str| SanType::URI(format!("waxwing:device:{device}").try_into().unwrap());
    assert_eq!(names(&[dns]), Err(CsrError::Name));
    let device = "d-1".parse().unwrap();
    let foreign = names(&[uri("d-1"), uri("d-2")]).unwrap();
    assert_eq!(foreign.check_names(&device), Err(CsrError::Name));
    let own = names(&[uri("d-1")]).unwrap();
    assert_eq!(own.check_names(&device), Ok(()));
}

#[tokio::test]
async fn a_device_gets_what_the_server_knows_and_not_what_it_asks_for() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "d-2");
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let request = STANDARD.encode(params.serialize_request(&key).unwrap().der());
    let certificate = server.enroll("d-1", &token, &request).await.certificate();
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &certificate);
    for expected in [
        "Subject: CN = d-1",
        "URI:waxwing:device:d-1",
        "CA:FALSE",
        "TLS Web Client Authentication",
        "Digital Signature",
        "ASN1 OID: prime256v1",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    for forbidden in ["CA:TRUE", "d-2", "Encipherment", "Server Authentication"] {
        assert!(!text.contains(forbidden), "{forbidden} in {text}");
    }
}

#[tokio::test]
async fn openssl_verifies_what_the_authorities_sign() {
    let folder = Folder::new();
    let server = folder.start().await;
    let device = server.enrolled("d-1").await;
    let path = folder.temporary.path().join("device.pem");
    let pem = openssl(&["x509", "-inform", "DER"], &device.certificate);
    std::fs::write(&path, &pem).unwrap();
    let device_ca = folder.data().join("device-ca.pem");
    let (device_ca, path) = (device_ca.to_str().unwrap(), path.to_str().unwrap());
    openssl(&["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", device_ca, path], b"");
    let ca = openssl(&["x509", "-in", device_ca, "-noout", "-text"], b"");
    for expected in
        ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "X509v3 Basic Constraints: critical"]
    {
        assert!(ca.contains(expected), "{expected} in {ca}");
    }
}

#[tokio::test]
async fn cacerts_is_the_device_ca_in_pkcs7() {
    let server = Folder::new().start().await;
    let mut client = server.connect(server.enrol(), None).await.unwrap();
    let answer = client.get("/.well-known/est/cacerts").await;
    assert_eq!(answer.certificate(), *server.running.app.pki.device.certificate());
}

#[tokio::test]
async fn the_server_shows_a_certificate_for_its_names() {
    let mut folder = Folder::new();
    folder.config.server_names = ["ota.example", "localhost", "192.0.2.7"].map(Into::into).into();
    let server = folder.start().await;
    let stream = crate::support::tls(&server.connector(None), server.enrol()).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    let text = openssl(&["x509", "-inform", "DER", "-noout", "-text"], &chain[0]);
    assert!(text.contains("DNS:ota.example, DNS:localhost, IP Address:192.0.2.7"), "{text}");
    assert!(text.contains("TLS Web Server Authentication"), "{text}");
}

#[test]
fn base64_may_come_in_lines() {
    let text = csr(&KeyPair::generate().unwrap());
    let (first, second) = text.split_at(64);
    let lines = format!("{first}\r\n{second}\n");
    assert_eq!(DeviceKey::from_est(lines.as_bytes()), DeviceKey::from_est(text.as_bytes()));
    assert_eq!(DeviceKey::from_est(b"\xff"), Err(CsrError::Base64));
    assert_eq!(DeviceKey::from_est(b"?"), Err(CsrError::Base64));
}

fn made_by_openssl(key: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("csr.der");
    let path = file.to_str().unwrap();
    let fixed = ["req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null"];
    let output = ["-outform", "DER", "-out", path];
    openssl(&[&fixed[..], key, &output].concat(), b"");
    std::fs::read(file).unwrap()
}
