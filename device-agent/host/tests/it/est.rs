//! Enrolment and renewal against a CA on a real socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};
use waxwing_agent_host::credentials::KeyFolder;
use waxwing_agent_host::network::HostNetwork;
use waxwing_agent_net::DeviceKey;
use waxwing_agent_net::est::{EstError, KeyStore as _, enrol, key_to_certify, renew};
use waxwing_wire::DeviceId;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::listener::serve;

#[tokio::test]
async fn a_token_brings_a_certificate_for_a_key_made_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
    let (mut https, server) = serve(1, certify).await;
    let made = key(&mut keys);
    let credentials = enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap();
    let (_, certificate) = X509Certificate::from_der(credentials.certificate()).unwrap();
    let point = certificate.public_key().subject_public_key.as_ref();
    assert_eq!(point, pair(&made).public_key_raw());
    assert_eq!(certificate.subject().to_string(), "CN=d-1");
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /.well-known/est/simpleenroll "), "{request}");
    let basic = STANDARD.encode("d-1:s3cret");
    assert!(request.contains(&format!("authorization: Basic {basic}\r\n")), "{request}");
    let kept = keys.identity().unwrap().unwrap();
    assert_eq!(kept.certificate(), credentials.certificate());
}

#[tokio::test]
async fn an_answer_that_gets_lost_is_asked_for_again_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
    let mut bodies = Vec::new();
    let (mut https, _server) = serve(2, move |request| {
        bodies.push(request.split_once("\r\n\r\n").unwrap().1.to_owned());
        if bodies.len() == 1 {
            return String::new();
        }
        let keys = bodies.iter().map(|body| parse(body).public_key.der_bytes().to_vec());
        let keys: Vec<Vec<u8>> = keys.collect();
        assert_eq!(keys[0], keys[1]);
        certify(request)
    })
    .await;
    let lost = enrol(&mut https, &mut keys, &device(), "s3cret").await;
    assert!(lost.unwrap_err().is_passing());
    enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap();
}

#[tokio::test]
async fn a_renewal_is_for_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
    let (mut https, server) = serve(2, certify).await;
    let first = enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap();
    let second = renew(&mut https, &mut keys, &device()).await.unwrap();
    assert_ne!(first.key(), second.key());
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /.well-known/est/simplereenroll "), "{request}");
    let kept = keys.identity().unwrap().unwrap();
    assert_eq!(kept.certificate(), second.certificate());
}

#[tokio::test]
async fn a_refusal_says_why_and_keeps_what_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
    let (mut https, _server) =
        serve(1, |_| "HTTP/1.1 403 x\r\ncontent-length: 10\r\n\r\nused token".into()).await;
    let error = enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap_err();
    assert_eq!(error.to_string(), "server refused with 403: used token");
    assert!(!error.is_passing(), "asking again will not help");
    assert!(keys.identity().unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
    let (mut https, _server) = serve(1, |_| answer("AAAA")).await;
    let error = enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap_err();
    assert!(matches!(error, EstError::Answer), "{error}");
}

/// What is in the folder of a device when the power goes: after each file that an enrolment or a
/// renewal writes, renames or removes.
const CUTS: [&str; 5] = [
    "before anything",
    "a key half written",
    "a key to be certified",
    "a certificate half written",
    "a certificate, and its key still to be certified",
];

/// Puts the folder into the state at a cut; `made` holds what would have been written by the end.
fn cut(folder: &std::path::Path, at: usize, pending: &str, identity: &str) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    match at {
        0 => {}
        1 => write("pending-key.pem.new", &pending[..pending.len() / 2]),
        2 => write("pending-key.pem", pending),
        3 => {
            write("pending-key.pem", pending);
            write("identity.pem.new", &identity[..identity.len() / 2]);
        }
        _ => {
            write("pending-key.pem", pending);
            write("identity.pem", identity);
        }
    }
}

/// A server of D13: the same key gets the same certificate, and the key of the present one no other.
fn d13() -> impl FnMut(&str) -> String + Send + 'static {
    let mut issued: Vec<(Vec<u8>, String)> = Vec::new();
    move |request| {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let key = parse(body).public_key.der_bytes().to_vec();
        let is_renewal = request.contains("simplereenroll");
        if let Some((last, _)) = issued.last()
            && is_renewal
            && *last == key
        {
            return "HTTP/1.1 400 x\r\ncontent-length: 11\r\n\r\nkey_not_new".into();
        }
        if let Some((_, answer)) = issued.iter().find(|(known, _)| *known == key) {
            return answer.clone();
        }
        let answer = certify(request);
        issued.push((key, answer.clone()));
        answer
    }
}

#[tokio::test]
async fn a_power_cut_at_any_step_of_an_enrolment_or_renewal_loses_no_device() {
    for renewal in [false, true] {
        for (at, what) in CUTS.iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
            let (mut https, _server) = serve(4, d13()).await;
            if renewal {
                enrol(&mut https, &mut keys, &device(), "s3cret").await.unwrap();
            }
            // Undisturbed, elsewhere: what the cut interrupts.
            let other = tempfile::tempdir().unwrap();
            let mut elsewhere = KeyFolder::open(other.path().to_owned()).unwrap();
            let pending = pair(&key(&mut elsewhere)).serialize_pem();
            let whole = if renewal {
                renew(&mut https, &mut elsewhere, &device()).await
            } else {
                enrol(&mut https, &mut elsewhere, &device(), "s3cret").await
            };
            drop(whole.unwrap());
            let identity = std::fs::read_to_string(other.path().join("identity.pem")).unwrap();
            cut(folder.path(), at, &pending, &identity);
            // The device comes back, and goes on with what it finds.
            let mut present = keys.identity().unwrap();
            if at < 4 && !renewal {
                assert!(present.is_none(), "{what}");
                let asked = enrol(&mut https, &mut keys, &device(), "s3cret").await;
                present = Some(asked.unwrap_or_else(|error| panic!("{what}: {error}")));
            }
            assert!(present.is_some(), "{what}");
            assert_ne!(key(&mut keys), *present.unwrap().key(), "{what}");
        }
    }
}

fn device() -> DeviceId {
    "d-1".parse().unwrap()
}

fn key(keys: &mut KeyFolder) -> DeviceKey {
    key_to_certify(&HostNetwork::start(), keys).unwrap()
}

fn pair(key: &DeviceKey) -> KeyPair {
    KeyPair::try_from(key.to_pkcs8_der().unwrap().as_slice()).unwrap()
}

/// Signs whatever is asked for, as an EST server answers.
fn certify(request: &str) -> String {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = parse(body).signed_by(&Issuer::new(params, key)).unwrap();
    answer(&STANDARD.encode(pkcs7(certificate.der())))
}

fn parse(body: &str) -> CertificateSigningRequestParams {
    let der = STANDARD.decode(body).unwrap();
    CertificateSigningRequestParams::from_der(&der.as_slice().into()).unwrap()
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A `SignedData` with a certificate and nothing else.
fn pkcs7(certificate: &[u8]) -> Vec<u8> {
    let signed_data_id = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let before = [2, 1, 1, 0x31, 0, 0x30, 11, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    let signed_data = [&before[..], &wrap(0xa0, certificate), &[0x31, 0]].concat();
    wrap(0x30, &[&signed_data_id, &wrap(0xa0, &wrap(0x30, &signed_data))[..]].concat())
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}
