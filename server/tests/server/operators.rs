//! Operators who listen to devices over MQTT: with a certificate of their CA, and only that.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::http::Method;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use waxwing_server::pki::{DeviceKey, Validity};
use waxwing_server::store::operators;
use waxwing_wire::Digest;
use waxwing_wire::topic::Kind;

use crate::mqtt::{Line, connect, packet, sealed, text};
use crate::support::{Answer, Folder, Identity, Server, id};

const TOKEN: &str = "an operator";

/// For whatever must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request to the REST API.
pub(crate) async fn ask(server: &Server, method: Method, path: &str, body: &Value) -> Answer {
    let address = server.running.addresses.admin;
    let mut client = server.connect(address, None).await.unwrap();
    let headers = [("authorization", format!("Bearer {TOKEN}"))];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client.send(method, &format!("/api/v1/{path}"), &headers, body).await
}

pub(crate) async fn start() -> Server {
    start_in(&Folder::new()).await
}

pub(crate) async fn start_in(folder: &Folder) -> Server {
    let server = folder.start().await;
    for (name, token) in [("ada", TOKEN), ("bob", "another operator")] {
        let mut change = server.running.app.store.begin().await.unwrap();
        let sha256 = Digest(Sha256::digest(token).into());
        operators::add(change.connection(), name, &sha256, 0).await.unwrap();
        drop(change.commit().await.unwrap());
    }
    server
}

/// Starts a server whose devices may send as much as they can: its clock stands still.
async fn start_without_limits() -> Server {
    let mut folder = Folder::new();
    folder.config.mqtt.messages_per_s = u32::MAX;
    folder.config.mqtt.bytes_per_s = u32::MAX;
    start_in(&folder).await
}

/// Has a certificate signed for an operator.
pub(crate) async fn certified(server: &Server, operator: &str) -> (Identity, Value) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let path = format!("operators/{operator}/certificates");
    let answer = ask(server, Method::POST, &path, &json!({ "csr": csr })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let signed: Value = serde_json::from_slice(&answer.body).unwrap();
    let pem = signed["certificate"].as_str().unwrap();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    (Identity { certificate, key }, signed)
}

/// Connects an operator with MQTT 5, or returns the reason code.
pub(crate) async fn listen(
    server: &Server,
    identity: &Identity,
    client_id: &str,
) -> Result<Line, u8> {
    let connector = server.connector(Some(identity));
    let mut line = Line::dial(&connector, server.running.addresses.mqtt).await;
    match line.hello(&connect(2, &[0], client_id)).await[1] {
        0 => Ok(line),
        code => Err(code),
    }
}

pub(crate) async fn subscribe(line: &mut Line, filter: &str) -> u8 {
    line.send(&packet(0x82, &[&[0, 9, 0], &text(filter)[..], &[0]].concat())).await;
    let (header, body) = line.packet().await.unwrap();
    assert_eq!(header, 0x90);
    body[3]
}

/// Returns topic and payload of the next message.
pub(crate) async fn heard(line: &mut Line) -> (String, String) {
    let (header, body) = line.packet().await.unwrap();
    assert_eq!(header, 0x30);
    let (topic, rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(topic), text(&rest[1..]))
}

#[tokio::test]
async fn an_operator_hears_what_was_taken_and_nothing_of_what_was_refused() {
    let server = start().await;
    let (device, other) = (server.enrolled("d-1").await, server.enrolled("d-2").await);
    let (ada, _) = certified(&server, "ada").await;
    let mut line = listen(&server, &ada, "explorer").await.unwrap();
    assert_eq!(subscribe(&mut line, "waxwing/v1/+/telemetry").await, 0);
    let mut sender = Line::open(&server, &device, "d-1").await;
    let topic = "waxwing/v1/d-1/telemetry";
    let genuine = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    let forged = sealed(&server, &other.key, "d-1", Kind::Telemetry);
    for (message, code) in [(&forged, 0x87), (&"21.5".to_owned(), 0x99), (&genuine, 0)] {
        assert_eq!(sender.publish(topic, message).await, code);
    }
    assert_eq!(sender.publish(topic, &genuine).await, 0, "the same again");
    assert_eq!(heard(&mut line).await, (topic.to_owned(), genuine));
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())), "that was all");
}

#[tokio::test]
async fn an_operator_cannot_speak_for_a_device() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let (ada, _) = certified(&server, "ada").await;
    let mut line = listen(&server, &ada, "d-1").await.unwrap();
    // Not even with a message that the device has signed.
    let genuine = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    assert_eq!(line.publish("waxwing/v1/d-1/telemetry", &genuine).await, 0x87);
    let log = &server.running.app.log;
    assert_eq!(log.last_telemetry(&id("d-1")).await.unwrap(), None);
    let http = server.connect(server.device(), Some(&ada)).await;
    let is_let_in = match http {
        Ok(mut client) => client.try_send(Method::GET, "/", &[], "").await.is_ok(),
        Err(_) => false,
    };
    assert!(!is_let_in, "the other listener is for devices");
}

#[tokio::test]
async fn the_issuer_decides_who_somebody_is_and_never_the_name() {
    let server = start().await;
    server.enrolled("d-1").await;
    let app = &server.running.app;
    let validity = Validity { now_ms: app.clock.now_ms(), life: Duration::from_hours(1) };
    let key = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        (DeviceKey::from_der(request.der()).unwrap(), key)
    };
    let (public, own) = key();
    // The operator CA signs for the name of a device, the device CA for the name of an operator.
    let device = app.pki.operator.issue_device(&id("d-1"), &public, [9; 16], validity).unwrap();
    let operator = app.pki.device.issue_operator("ada", &public, [9; 16], validity).unwrap();
    for certificate in [device, operator] {
        let key = KeyPair::try_from(own.serialize_der()).unwrap();
        let identity = Identity { certificate, key };
        let connector = server.connector(Some(&identity));
        let mut line = Line::dial(&connector, server.running.addresses.mqtt).await;
        line.send(&connect(2, &[0], "d-1")).await;
        assert_eq!(line.packet().await, None, "nobody is served");
    }
    // One that the operator CA signed, and nobody has on record.
    let stray = app.pki.operator.issue_operator("ada", &public, [8; 16], validity).unwrap();
    let stray = Identity { certificate: stray, key: own };
    assert_eq!(listen(&server, &stray, "x").await.err(), Some(0x87));
}

#[tokio::test]
async fn a_revoked_certificate_and_a_removed_operator_end_what_they_listen_to() {
    let server = start().await;
    let ((ada, signed), (bob, _)) =
        (certified(&server, "ada").await, certified(&server, "bob").await);
    let mut adas = listen(&server, &ada, "x").await.unwrap();
    let mut bobs = listen(&server, &bob, "x").await.unwrap();
    let path = format!("operators/ada/certificates/{}", signed["serial"].as_str().unwrap());
    assert_eq!(ask(&server, Method::DELETE, &path, &json!(null)).await.status, 204);
    assert_eq!(adas.packet().await, Some((0xe0, vec![0x98])));
    assert_eq!(listen(&server, &ada, "x").await.err(), Some(0x87));
    bobs.send(&[0xc0, 0]).await;
    assert_eq!(bobs.packet().await, Some((0xd0, Vec::new())), "bob is somebody else");
    assert_eq!(ask(&server, Method::DELETE, "operators/bob", &json!(null)).await.status, 200);
    assert_eq!(bobs.packet().await, Some((0xe0, vec![0x98])));
    assert_eq!(listen(&server, &bob, "x").await.err(), Some(0x87));
}

#[tokio::test]
async fn an_operator_who_reads_nothing_keeps_nobody_waiting() {
    let server = start_without_limits().await;
    let device = server.enrolled("d-1").await;
    let ((deaf, _), (ada, _)) = (certified(&server, "bob").await, certified(&server, "ada").await);
    let mut deaf = listen(&server, &deaf, "x").await.unwrap();
    assert_eq!(subscribe(&mut deaf, "#").await, 0);
    let mut line = listen(&server, &ada, "x").await.unwrap();
    assert_eq!(subscribe(&mut line, "#").await, 0);
    let mut sender = Line::open(&server, &device, "d-1").await;
    let (app, payload) = (&server.running.app, "x".repeat(8000));
    let mut sent = 0;
    // Far more than sockets and the queue hold.
    while app.mqtt.audience.missed() == 0 {
        assert_eq!(sender.publish("waxwing/v1/d-1/state", &payload).await, 0);
        assert_eq!(heard(&mut line).await.1.len(), payload.len());
        sent += 1;
        assert!(sent < 10_000, "messages pile up for somebody who reads none");
    }
}

/// Files as `waxwing operator certificate` makes them.
fn files(identity: &Identity, signed: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("ada.key", &identity.key.serialize_pem());
    write("ada.pem", signed["certificate"].as_str().unwrap());
    write("server-ca.pem", signed["server_ca"].as_str().unwrap());
    folder
}

fn mosquitto_sub(server: &Server, folder: &Path, version: &str, args: &[&str]) -> Command {
    let mut command = Command::new("mosquitto_sub");
    let port = server.running.addresses.mqtt.port().to_string();
    command.args(["-V", version, "-h", "localhost", "-p", &port, "-v"]);
    command.arg("--cafile").arg(folder.join("server-ca.pem"));
    command.arg("--cert").arg(folder.join("ada.pem")).arg("--key").arg(folder.join("ada.key"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn mosquitto_sub_shows_what_devices_say() {
    let server = start_without_limits().await;
    let device = server.enrolled("d-1").await;
    let (ada, signed) = certified(&server, "ada").await;
    let folder = files(&ada, &signed);
    let mut sender = Line::open(&server, &device, "d-1").await;
    for (n, version) in ["mqttv311", "mqttv5"].into_iter().enumerate() {
        let message = format!("online {n}");
        let args = ["-t", "waxwing/v1/+/telemetry", "-t", "waxwing/v1/d-1/state", "-C", "1"];
        let child = mosquitto_sub(&server, folder.path(), version, &args).spawn().unwrap();
        let output = child.wait_with_output();
        // It is not known from outside when it listens, so it is told until it has heard.
        let telling = async {
            loop {
                assert_eq!(sender.publish("waxwing/v1/d-1/state", &message).await, 0);
            }
        };
        let output: Output = tokio::select! {
            output = timeout(PATIENCE, output) => output.unwrap().unwrap(),
            () = telling => unreachable!(),
        };
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("waxwing/v1/d-1/state {message}\n"), "{:?}", output.stderr);
    }
}
