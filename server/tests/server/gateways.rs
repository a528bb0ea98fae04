//! Document 000: sensors without IP, heard and updated through a gateway that is believed in nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use rcgen::{KeyPair, SigningKey as _};
use semver::Version;
use serde_json::{Value, json};
use waxwing_server::clock::Clock as _;
use waxwing_server::ingest::FRESH_S;
use waxwing_server::jobs::flush_sightings;
use waxwing_wire::envelope::{ENVELOPE_BYTES_MAX, Header};
use waxwing_wire::poll::Request;
use waxwing_wire::relay::{self, BATCH_MESSAGES_MAX, Carried};
use waxwing_wire::topic::Kind;
use waxwing_wire::{Digest, Hardware, MessageId, Nonce, ProductId};

use crate::api::sha256;
use crate::fleet::{Device, Fleet};
use crate::support::{Answer, Folder, id};

const READING: &str = r#"{"celsius":21.5}"#;
const GRANT: &str = "devices/d-1/gateways/g-1";

/// A sensor and its gateway, which was granted nothing yet.
struct World {
    fleet: Fleet,
    sensor: Device,
    gateway: Device,
}

impl World {
    async fn open() -> Self {
        Self::in_folder(&Folder::new()).await
    }

    async fn in_folder(folder: &Folder) -> Self {
        let fleet = Fleet::start(folder).await;
        let (sensor, gateway) = (fleet.device("d-1").await, fleet.device("g-1").await);
        Self { fleet, sensor, gateway }
    }

    async fn granted() -> Self {
        let world = Self::open().await;
        world.fleet.admin(Method::PUT, GRANT, "").await;
        world
    }

    fn header(&self, device: &str, message_id: &str) -> Header {
        let timestamp = self.fleet.server.clock.now_ms() / 1000;
        Header { device_id: id(device), timestamp, message_id: message_id.parse().unwrap() }
    }

    fn reading(&self, message_id: &str) -> String {
        seal(&self.sensor.identity.key, &self.header("d-1", message_id), Kind::Telemetry, READING)
    }

    fn sealed_poll(&self, key: &KeyPair, message_id: &str, question: &Request) -> String {
        seal_poll(key, &self.header("d-1", message_id), question)
    }

    /// Hands a message over; returns what is to be done about it, and why.
    async fn carry(&mut self, kind: Kind, envelope: &str) -> (String, String) {
        let answer = self.post(relay::encode(&[Carried { kind, envelope }])).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let told = &answer["outcomes"][0];
        let word = |name: &str| told[name].as_str().unwrap().to_owned();
        (word("outcome"), word("code"))
    }

    async fn post(&mut self, batch: String) -> Answer {
        self.gateway.client.send(Method::POST, "/v1/gateway/messages", &[], batch).await
    }

    async fn ask(&mut self, sealed: String) -> Answer {
        self.gateway.client.send(Method::POST, "/v1/gateway/poll", &[], sealed).await
    }

    async fn operator(&self, method: Method, path: &str) -> Answer {
        let server = &self.fleet.server;
        let mut client = server.connect(server.running.addresses.admin, None).await.unwrap();
        let headers = [("authorization", "Bearer operator".to_owned())];
        client.send(method, &format!("/api/v1/{path}"), &headers, "").await
    }
}

fn seal(key: &KeyPair, header: &Header, kind: Kind, payload: &str) -> String {
    let signed = header.signed_prefix(kind) + payload;
    header.seal(payload, &hex(&key.sign(signed.as_bytes()).unwrap()))
}

fn seal_poll(key: &KeyPair, header: &Header, question: &Request) -> String {
    let question = question.encode();
    let signed = header.signed_prefix_of_poll() + &question;
    header.seal(&question, &hex(&key.sign(signed.as_bytes()).unwrap()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn said(outcome: &str, code: &str) -> (String, String) {
    (outcome.to_owned(), code.to_owned())
}

#[tokio::test]
async fn document_000_a_sensor_without_ip_is_heard_through_its_gateway() {
    let mut world = World::open().await;
    let reading = world.reading("m-1");
    let not_granted = said("refused", "gateway_not_granted");
    assert_eq!(world.carry(Kind::Telemetry, &reading).await, not_granted);
    world.fleet.admin(Method::PUT, GRANT, "").await;
    assert_eq!(world.carry(Kind::Telemetry, &reading).await, said("stored", "applied"));
    let log = &world.fleet.server.running.app.log;
    let logged = log.last_telemetry(&id("d-1")).await.unwrap().unwrap();
    assert_eq!(logged.message.envelope, reading, "byte for byte as the sensor sealed it");
    assert_eq!(world.carry(Kind::Telemetry, &reading).await, said("stored", "duplicate"));
    let audit = world.fleet.admin(Method::GET, "audit?limit=100", "").await;
    assert!(audit.to_string().contains("device_gateway_set"), "{audit}");
    world.fleet.admin(Method::DELETE, GRANT, "").await;
    assert_eq!(world.carry(Kind::Telemetry, &reading).await, not_granted);
}

#[tokio::test]
async fn document_000_what_a_gateway_makes_or_changes_is_refused_so_it_can_only_drop() {
    let mut world = World::granted().await;
    world.fleet.device("d-2").await;
    let (sensor, gateway) = (&world.sensor.identity.key, &world.gateway.identity.key);
    let header = world.header("d-1", "m-1");
    let late = Header { timestamp: header.timestamp - FRESH_S - 1, ..header.clone() };
    let early = Header { timestamp: header.timestamp + FRESH_S + 1, ..header.clone() };
    let oversize = format!("{{\"a\":\"{}\"}}", "b".repeat(ENVELOPE_BYTES_MAX));
    let genuine = seal(sensor, &header, Kind::Telemetry, READING);
    let of_another = world.header("d-2", "m-1");
    let of_itself = world.header("g-1", "m-1");
    let attacks = [
        (Kind::Telemetry, seal(gateway, &header, Kind::Telemetry, READING), "signature"),
        (Kind::Telemetry, genuine.replace("21.5", "99.5"), "signature"),
        (Kind::Telemetry, genuine.replace("m-1", "m-2"), "signature"),
        (Kind::Report, genuine.clone(), "signature"),
        (Kind::Telemetry, world.sealed_poll(sensor, "m-1", &question()), "signature"),
        (Kind::Command, genuine.clone(), "kind"),
        (Kind::State, genuine.clone(), "kind"),
        (Kind::Telemetry, seal(sensor, &late, Kind::Telemetry, READING), "stale"),
        (Kind::Telemetry, seal(sensor, &early, Kind::Telemetry, READING), "stale"),
        (Kind::Telemetry, seal(sensor, &header, Kind::Telemetry, &oversize), "malformed"),
        (Kind::Telemetry, "{}".to_owned(), "malformed"),
    ];
    let foreign = [
        seal(gateway, &of_another, Kind::Telemetry, READING),
        seal(gateway, &of_itself, Kind::Telemetry, READING),
    ];
    for (kind, message, code) in attacks {
        let outcome = if code == "stale" { "stale" } else { "refused" };
        let expected = said(outcome, &format!("refused_{code}"));
        assert_eq!(world.carry(kind, &message).await, expected, "{message}");
    }
    for message in foreign {
        let expected = said("refused", "gateway_not_granted");
        assert_eq!(world.carry(Kind::Telemetry, &message).await, expected, "{message}");
    }
    let log = &world.fleet.server.running.app.log;
    assert_eq!(log.last_telemetry(&id("d-1")).await.unwrap(), None, "nothing is stored");
    assert_eq!(world.carry(Kind::Telemetry, &genuine).await, said("stored", "applied"));
    let again = world.reading("m-1").replace("21.5", "22.5");
    assert_eq!(world.carry(Kind::Telemetry, &again).await.1, "refused_signature");
    let other = seal(
        &world.sensor.identity.key,
        &world.header("d-1", "m-1"),
        Kind::Telemetry,
        r#"{"celsius":99}"#,
    );
    assert_eq!(world.carry(Kind::Telemetry, &other).await, said("refused", "refused_replay"));
}

#[tokio::test]
async fn a_batch_is_bounded_and_each_message_of_it_is_judged_alone() {
    let mut world = World::granted().await;
    let readings: Vec<_> = (0..4).map(|n| world.reading(&format!("m-{n}"))).collect();
    let forged = readings[1].replace("21.5", "99.5");
    let of = |envelope| Carried { kind: Kind::Telemetry, envelope };
    let batch = [of(&readings[0]), of(&forged), of("7"), of(&readings[2]), of(&readings[2])];
    let answer = world.post(relay::encode(&batch)).await;
    let answer = relay::Answer::decode(&answer.body, batch.len()).unwrap();
    let codes: Vec<_> = answer.outcomes.iter().map(|told| told.code.as_str()).collect();
    let expected = ["applied", "refused_signature", "refused_malformed", "applied", "duplicate"];
    assert_eq!(codes, expected);
    let named = answer.outcomes.iter().map(|told| told.message_id.as_ref().map(MessageId::as_str));
    let expected = [Some("m-0"), Some("m-1"), None, Some("m-2"), Some("m-2")];
    assert!(named.eq(expected), "{answer:?}");
    let most = vec![of("{}"); BATCH_MESSAGES_MAX + 1];
    for (batch, status, code) in [
        (relay::encode(&most), 400, "batch_malformed"),
        ("[]".to_owned(), 400, "batch_malformed"),
        (" ".repeat(relay::BATCH_BYTES_MAX + 1), 413, "body_too_large"),
    ] {
        let answer = world.post(batch).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
}

fn question() -> Request {
    Request {
        nonce: Nonce([1; 16]),
        product: ProductId::parse("th1").unwrap(),
        hw: Hardware::parse("r1").unwrap(),
        fw: Version::new(1, 0, 0),
        fw_sha256: Digest([1; 32]),
        security_version: 1,
        have: BTreeMap::new(),
        pins: None,
        out_s: None,
        reports: Vec::new(),
    }
}

#[tokio::test]
async fn document_000_a_sensor_is_offered_firmware_through_its_gateway() {
    let mut world = World::granted().await;
    world.fleet.import_root().await;
    world.fleet.roll_out().await;
    // With its first poll it becomes one of those who get it; with the next it is offered.
    let sealed = world.sealed_poll(&world.sensor.identity.key, "p-0", &question());
    assert_eq!(world.ask(sealed).await.status, StatusCode::OK);
    let app = &world.fleet.server.running.app;
    flush_sightings(&app.store, &app.fleet).await.unwrap();
    let question = world.sensor.question();
    let sealed = world.sealed_poll(&world.sensor.identity.key, "p-1", &question);
    let answer = world.ask(sealed.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let verdict = world.sensor.check(&question, &answer).unwrap();
    let hash = sha256(&world.fleet.image);
    assert!(format!("{verdict:?}").contains(&format!("{:?}", hash.0)), "{verdict:?}");
    let path = format!("/v1/gateway/d-1/images/{hash}");
    let range = [("range", "bytes=4096-".to_owned())];
    let part = world.gateway.client.send(Method::GET, &path, &range, "").await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body[..], world.fleet.image[4096..]);
    // Only for whom it may carry, and only what that device may read.
    for (path, status, code) in [
        (format!("/v1/gateway/d-1/images/{}", "0".repeat(64)), 404, "image_unknown"),
        (format!("/v1/gateway/g-1/images/{hash}"), 403, "gateway_not_granted"),
        (format!("/v1/gateway/nobody/images/{hash}"), 403, "gateway_not_granted"),
    ] {
        let answer = world.gateway.client.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
}

#[tokio::test]
async fn document_000_a_poll_that_the_sensor_did_not_seal_now_is_refused() {
    let mut world = World::granted().await;
    world.fleet.import_root().await;
    let (sensor, gateway) = (&world.sensor.identity.key, &world.gateway.identity.key);
    let [first, second] = ["p-1", "p-2"].map(|it| world.sealed_poll(sensor, it, &question()));
    let forged = world.sealed_poll(gateway, "p-3", &question());
    let changed = first.replace("1.0.0", "1.1.0");
    let as_message = seal(sensor, &world.header("d-1", "p-4"), Kind::Report, &question().encode());
    let refused = |answer: &Answer| (answer.status.as_u16(), answer.code());
    for sealed in [forged, changed, as_message] {
        let answer = world.ask(sealed).await;
        assert_eq!(refused(&answer), (403, "poll_forged".to_owned()));
    }
    assert_eq!(world.ask("{}".to_owned()).await.code(), "poll_malformed");
    assert_eq!(world.ask(first.clone()).await.status, StatusCode::OK);
    let replayed = (403, "poll_replayed".to_owned());
    assert_eq!(refused(&world.ask(first).await), replayed);
    // One that was held back while a later one came.
    world.fleet.server.clock.advance(Duration::from_secs(1));
    let third = world.sealed_poll(&world.sensor.identity.key, "p-5", &question());
    assert_eq!(world.ask(third.clone()).await.status, StatusCode::OK);
    assert_eq!(refused(&world.ask(second).await), replayed);
    world.fleet.server.clock.advance(Duration::from_secs(FRESH_S + 2));
    assert_eq!(refused(&world.ask(third).await), (403, "poll_stale".to_owned()));
}

#[tokio::test]
async fn document_000_a_poll_that_came_before_a_restart_does_not_come_again_after_it() {
    let folder = Folder::new();
    let mut world = World::in_folder(&folder).await;
    world.fleet.admin(Method::PUT, GRANT, "").await;
    world.fleet.import_root().await;
    let poll = |world: &World, id| world.sealed_poll(&world.sensor.identity.key, id, &question());
    let before = poll(&world, "p-1");
    assert_eq!(world.ask(before.clone()).await.status, StatusCode::OK);
    let World { fleet, sensor, gateway: Device { identity, .. } } = world;
    fleet.server.running.stop().await;
    let server = folder.start().await;
    let ask = async |sealed: String| {
        let mut client = server.connect(server.device(), Some(&identity)).await.unwrap();
        client.send(Method::POST, "/v1/gateway/poll", &[], sealed).await
    };
    let answer = ask(before).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "poll_stale".to_owned()));
    server.clock.advance(Duration::from_secs(1));
    let timestamp = server.clock.now_ms() / 1000;
    let header = Header { device_id: id("d-1"), timestamp, message_id: "p-2".parse().unwrap() };
    let after = seal_poll(&sensor.identity.key, &header, &question());
    assert_eq!(ask(after).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_grant_survives_a_restart_and_ends_with_either_device() {
    let folder = Folder::new();
    let world = World::in_folder(&folder).await;
    world.fleet.device("d-2").await;
    world.fleet.device("g-2").await;
    for path in [GRANT, "devices/d-2/gateways/g-1", "devices/d-2/gateways/g-2"] {
        world.fleet.admin(Method::PUT, path, "").await;
    }
    let World { fleet: Fleet { server, .. }, .. } = world;
    server.running.stop().await;
    let server = folder.start().await;
    let gateways = server.running.app.gateways.clone();
    let may = |gateway: &str, device: &str| gateways.may_carry(&id(gateway), &id(device));
    assert!(may("g-1", "d-1") && may("g-1", "d-2") && may("g-2", "d-2") && !may("g-2", "d-1"));
    server.revoke("d-2").await;
    assert!(may("g-1", "d-1") && !may("g-1", "d-2") && !may("g-2", "d-2"));
    server.revoke("g-1").await;
    assert!(!may("g-1", "d-1"));
    let left = waxwing_server::store::device_gateways::all(&server.running.app.store).await;
    assert_eq!(left.unwrap(), [], "nothing comes back with the next start");
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused_with_its_reason() {
    let world = World::granted().await;
    for number in 2..=18 {
        world.fleet.server.register(&format!("g-{number}")).await;
    }
    let refused = async |path: &str| {
        let answer = world.operator(Method::PUT, path).await;
        (answer.status.as_u16(), answer.code())
    };
    for (path, expected) in [
        ("devices/d-1/gateways/d-1", (422, "own_gateway")),
        ("devices/d-1/gateways/nobody", (404, "unknown_device")),
        ("devices/nobody/gateways/g-1", (404, "unknown_device")),
    ] {
        assert_eq!(refused(path).await, (expected.0, expected.1.to_owned()), "{path}");
    }
    for number in 2..=16 {
        let path = format!("devices/d-1/gateways/g-{number}");
        assert_eq!(world.operator(Method::PUT, &path).await.status, 204);
    }
    let full = (409, "too_many_gateways".to_owned());
    assert_eq!(refused("devices/d-1/gateways/g-17").await, full);
    assert_eq!(world.operator(Method::PUT, GRANT).await.status, 204, "twice is no error");
    let listed = world.operator(Method::GET, "devices/g-1/gateways").await;
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!((&listed[0]["device"], &listed[0]["gateway"]), (&json!("d-1"), &json!("g-1")));
    world.fleet.server.revoke("g-18").await;
    let revoked = (409, "device_revoked".to_owned());
    assert_eq!(refused("devices/g-2/gateways/g-18").await, revoked);
}
