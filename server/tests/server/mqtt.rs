//! MQTT as part of the whole server: the same door as HTTP, the five checks, signed commands.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{KeyPair, SigningKey as _};
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waxwing_server::app::App;
use waxwing_server::director::COMMAND_LIFE;
use waxwing_server::mqtt::{Delivery, commands};
use waxwing_wire::command::{Command, Order};
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;

use crate::support::{Folder, Identity, Server, csr, id, tls};

#[tokio::test]
async fn only_what_the_device_signed_is_acknowledged() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let other = server.enrolled("d-2").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    for (key, sender, kind, code) in [
        (&device.key, "d-1", Kind::Telemetry, 0),
        (&other.key, "d-1", Kind::Telemetry, 0x87),
        (&other.key, "d-2", Kind::Telemetry, 0x87),
        // Signed for another topic.
        (&device.key, "d-1", Kind::Response, 0x87),
    ] {
        let message = sealed(&server, key, sender, kind);
        assert_eq!(line.publish("waxwing/v1/d-1/telemetry", &message).await, code, "{sender}");
    }
    assert_eq!(line.publish("waxwing/v1/d-1/telemetry", "21.5").await, 0x99);
    let stale = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    server.clock.advance(Duration::from_mins(6));
    assert_eq!(line.publish("waxwing/v1/d-1/telemetry", &stale).await, 0x83);
}

#[tokio::test]
async fn a_revoked_device_loses_its_connection_and_gets_no_other() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    server.revoke("d-1").await;
    assert_eq!(line.packet().await, Some((0xe0, vec![0x98])));
    assert_eq!(line.packet().await, None);
    assert_eq!(Line::try_open(&server, &device, "d-1").await.err(), Some(0x87));
}

#[tokio::test]
async fn the_first_use_of_a_renewed_certificate_makes_the_old_one_unwelcome() {
    let server = Folder::new().start().await;
    let old = server.enrolled("d-1").await;
    let key = KeyPair::generate().unwrap();
    let certificate: CertificateDer<'static> =
        server.reenroll(&old, &csr(&key)).await.certificate();
    let new = Identity { certificate, key };
    Line::open(&server, &old, "d-1").await;
    Line::open(&server, &new, "d-1").await;
    assert_eq!(Line::try_open(&server, &old, "d-1").await.err(), Some(0x87));
}

#[tokio::test]
async fn a_command_is_signed_for_its_device_and_numbered() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let send = || send(app, "d-1");
    assert_eq!(send().await, Delivery::Absent);
    let mut line = Line::open(&server, &device, "d-1").await;
    line.subscribe().await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        assert_eq!(send().await, Delivery::Sent);
        let file: Value = serde_json::from_slice(&line.command().await).unwrap();
        let signed = &file["signed"];
        assert_eq!(
            (&signed["device"], &signed["command"]["name"]),
            (&"d-1".into(), &"poll".into())
        );
        let signature = unhex(file["signatures"][0]["sig"].as_str().unwrap());
        let bytes = serde_json::to_vec(signed).unwrap();
        assert!(app.director.public().verify(&[&bytes], &signature).is_ok());
        numbers.push(signed["seq"].as_u64().unwrap());
    }
    // The clock stands still, and yet no two have the same number.
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[tokio::test]
async fn a_device_stays_no_longer_than_its_certificate() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    server.clock.advance(server.running.app.config.identity.certificate_life());
    // The server looks at the clock whenever something happens; a real clock would wake it.
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xe0, vec![0xa0])));
}

#[tokio::test]
async fn the_end_of_the_server_is_announced_to_devices() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    let stop = server.running.stop();
    let (packet, ()) = tokio::join!(line.packet(), stop);
    assert_eq!(packet, Some((0xe0, vec![0x8b])));
}

/// Sends a signed command, and keeps it for a device with a session.
pub(crate) async fn send(app: &App, device: &str) -> Delivery {
    let (now_ms, device) = (app.director.now_ms().unwrap(), id(device));
    let (seq, expires_ms) = (app.fleet.stamp(now_ms), now_ms + 300_000);
    let order = Order { number: seq, command: Command::Poll };
    let bytes = app.director.command(&device, &order, seq, expires_ms).unwrap();
    let mut change = app.store.begin().await.unwrap();
    let (db, now_ms) = (change.connection(), app.clock.now_ms());
    let kept = commands::keep(db, &device, bytes.into(), COMMAND_LIFE, now_ms).await.unwrap();
    drop(change.commit().await.unwrap());
    kept.hand_over(&app.hub)
}

pub(crate) fn sealed(server: &Server, key: &KeyPair, device: &str, kind: Kind) -> String {
    sealed_as(server, key, device, kind, &format!("m-{kind}"))
}

/// Seals a message with an id of its own.
pub(crate) fn sealed_as(
    server: &Server,
    key: &KeyPair,
    device: &str,
    kind: Kind,
    message_id: &str,
) -> String {
    let header = Header {
        device_id: id(device),
        timestamp: server.running.app.clock.now_ms() / 1000,
        message_id: message_id.parse().unwrap(),
    };
    let payload = r#"{"celsius":21.5}"#;
    let signed = header.signed_prefix(kind) + payload;
    header.seal(payload, &hex(&key.sign(signed.as_bytes()).unwrap()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A device's MQTT 5 connection, as much of it as these tests need.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
}

impl Line {
    pub(crate) async fn open(server: &Server, identity: &Identity, device: &str) -> Self {
        Self::try_open(server, identity, device).await.unwrap_or_else(|code| panic!("{code:#x}"))
    }

    /// Connects, or returns the reason code.
    async fn try_open(server: &Server, identity: &Identity, device: &str) -> Result<Self, u8> {
        let connector = server.connector(Some(identity));
        let mut line = Self::dial(&connector, server.running.addresses.mqtt).await;
        match line.hello(&connect(2, &[0], device)).await[1] {
            0 => Ok(line),
            code => Err(code),
        }
    }

    /// Opens a connection on which nothing is said yet.
    pub(crate) async fn dial(connector: &TlsConnector, address: SocketAddr) -> Self {
        Self { stream: tls(connector, address).await.unwrap() }
    }

    /// Sends a CONNECT, and returns the body of the answer.
    pub(crate) async fn hello(&mut self, connect: &[u8]) -> Vec<u8> {
        self.send(connect).await;
        let (header, body) = self.packet().await.unwrap();
        assert_eq!(header, 0x20);
        body
    }

    pub(crate) async fn subscribe(&mut self) {
        let body = [&[0, 1, 0], &text("waxwing/v1/d-1/command")[..], &[1]].concat();
        self.send(&packet(0x82, &body)).await;
        assert_eq!(self.packet().await, Some((0x90, vec![0, 1, 0, 1])));
    }

    /// Returns a message with `QoS` 1.
    pub(crate) fn publication(topic: &str, payload: &str) -> Vec<u8> {
        packet(0x32, &[&text(topic)[..], &[0, 1, 0], payload.as_bytes()].concat())
    }

    /// Publishes with `QoS` 1 and returns the reason code of the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> u8 {
        self.send(&Self::publication(topic, payload)).await;
        let (header, body) = self.packet().await.unwrap();
        assert_eq!((header, &body[..2]), (0x40, &[0, 1][..]));
        body.get(2).copied().unwrap_or(0)
    }

    /// Returns the payload of the next command, and acknowledges it.
    pub(crate) async fn command(&mut self) -> Vec<u8> {
        let (header, body) = self.packet().await.unwrap();
        let (topic, rest) = body.split_at(text("waxwing/v1/d-1/command").len());
        assert_eq!((header, &topic[2..]), (0x32, &b"waxwing/v1/d-1/command"[..]));
        self.send(&[0x40, 2, rest[0], rest[1]]).await;
        rest[3..].to_vec()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Returns the next packet: its first byte and its body; nothing once the server closed.
    pub(crate) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((header, body))
    }
}

/// A CONNECT of MQTT 5; the properties begin with their length.
pub(crate) fn connect(flags: u8, properties: &[u8], client_id: &str) -> Vec<u8> {
    let head = [0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 60];
    packet(0x10, &[&head, properties, &text(client_id)].concat())
}

pub(crate) fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let low = u8::try_from(body.len() % 128).unwrap();
    let high = u8::try_from(body.len() / 128).unwrap();
    let length = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
    [&[header], &length[..], body].concat()
}

/// A packet whose body needs three bytes for its length.
pub(crate) fn long_packet(header: u8, body: &[u8]) -> Vec<u8> {
    let byte = |at: u32| u8::try_from((body.len() >> (7 * at)) & 0x7f).unwrap();
    [&[header, byte(0) | 0x80, byte(1) | 0x80, byte(2)][..], body].concat()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}
