//! MQTT sessions of a real process that is killed and started again.

use std::fs;
use std::process::Child;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::mqtt::{Hub, commands};
use waxwing_server::run::Addresses;
use waxwing_server::store::{Store, operators};
use waxwing_wire::Digest;

use crate::mqtt::{Line, connect};
use crate::program;
use crate::support::{Answer, Client, Folder, id};

const TOKEN: &str = "an operator";

/// A server in a process of its own.
struct Killable {
    folder: TempDir,
    device: TlsConnector,
    operator: TlsConnector,
    child: Child,
}

impl Killable {
    /// Starts one with a device and an operator, who were made here.
    async fn start() -> Self {
        let folder = program::folder("");
        let mut before = Folder::new();
        before.config.data_dir = folder.path().join("data");
        let prepared = before.start().await;
        let identity = prepared.enrolled("d-1").await;
        add_operator(&prepared.running.app.store).await;
        let (device, operator) = (prepared.connector(Some(&identity)), prepared.connector(None));
        prepared.running.stop().await;
        Self { child: program::start(&folder), folder, device, operator }
    }

    fn addresses(&self) -> Addresses {
        let file = self.folder.path().join("data/run/listeners.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// Ends the process without giving it time for a last word, and starts it again.
    fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = program::start(&self.folder);
    }

    /// The same, with something that is kept for the device meanwhile.
    async fn kill_and_restart_with(&mut self, payload: &'static str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let store = Store::open(&self.folder.path().join("data/waxwing.db")).await.unwrap();
        let mut change = store.begin().await.unwrap();
        let (day, now_ms) = (Duration::from_hours(24), SystemClock::new().now_ms());
        let payload = Bytes::from_static(payload.as_bytes());
        let db = change.connection();
        let kept = commands::keep(db, &id("d-1"), payload, day, now_ms).await.unwrap();
        drop((kept.hand_over(&Hub::default()), change.commit().await.unwrap()));
        drop(store);
        self.child = program::start(&self.folder);
    }

    async fn dial(&self) -> Line {
        Line::dial(&self.device, self.addresses().mqtt).await
    }

    /// Sends a command over the REST API.
    async fn command(&self) -> Answer {
        self.ask(Method::POST, "", r#"{"command":"poll"}"#).await
    }

    async fn ask(&self, method: Method, path: &str, body: &'static str) -> Answer {
        let mut client = Client::open(self.operator.clone(), self.addresses().admin).await.unwrap();
        let headers = [("authorization", format!("Bearer {TOKEN}"))];
        let path = format!("/api/v1/devices/d-1/commands{path}");
        client.send(method, &path, &headers, body).await
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_is_kept_for_a_device_that_sleeps_survives_the_end_of_the_process() {
    let mut server = Killable::start().await;
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(false)).await[..2], [0, 0], "no session yet");
    line.subscribe().await;
    line.send(&[0xe0, 0]).await;
    assert_eq!(line.packet().await, None);
    server.kill_and_restart_with("one").await;
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(false)).await[..2], [1, 0], "the session goes on");
    assert_eq!(line.command().await, b"one");
    // Once it is acknowledged it does not come again.
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())));
    line.send(&[0xe0, 0]).await;
    assert_eq!(line.packet().await, None);
    server.kill_and_restart();
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(false)).await[..2], [1, 0]);
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())));
}

#[tokio::test]
async fn what_was_sent_and_not_acknowledged_when_the_process_was_killed_comes_again() {
    let mut server = Killable::start().await;
    let mut line = server.dial().await;
    line.hello(&kept(false)).await;
    line.subscribe().await;
    line.send(&[0xe0, 0]).await;
    assert_eq!(line.packet().await, None);
    server.kill_and_restart_with("one").await;
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(false)).await[..2], [1, 0]);
    let (header, first) = line.packet().await.unwrap();
    assert_eq!(header, 0x32);
    line.send(&[0xe0, 0]).await;
    assert_eq!(line.packet().await, None);
    server.kill_and_restart();
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(false)).await[..2], [1, 0]);
    assert_eq!(line.packet().await, Some((0x3a, first)), "the same packet, marked as such");
}

#[tokio::test]
async fn a_clean_start_leaves_nothing_of_the_session_before() {
    let mut server = Killable::start().await;
    let mut line = server.dial().await;
    line.hello(&kept(false)).await;
    line.subscribe().await;
    line.send(&[0xe0, 0]).await;
    assert_eq!(line.packet().await, None);
    server.kill_and_restart_with("one").await;
    let mut line = server.dial().await;
    assert_eq!(line.hello(&kept(true)).await[..2], [0, 0]);
    line.subscribe().await;
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())), "nothing came before");
}

/// Also to a device that wants no session kept.
#[tokio::test]
async fn a_command_comes_on_each_connection_until_it_is_answered_also_after_the_end_of_the_process()
{
    let mut server = Killable::start().await;
    let sent: Value = serde_json::from_slice(&server.command().await.body).unwrap();
    assert_eq!(sent["state"], "queued");
    let mut last_seq = 0;
    for _ in 0..2 {
        server.kill_and_restart();
        let mut line = server.dial().await;
        assert_eq!(line.hello(&connect(2, &[0], "d-1")).await[..2], [0, 0]);
        line.subscribe().await;
        let command: Value = serde_json::from_slice(&line.command().await).unwrap();
        let signed = &command["signed"];
        let what = (&signed["command"]["name"], &signed["command"]["number"]);
        assert_eq!(what, (&Value::from("poll"), &sent["id"]));
        let seq = signed["seq"].as_u64().unwrap();
        assert!(seq > last_seq, "{seq} {last_seq}");
        last_seq = seq;
    }
}

#[tokio::test]
async fn what_follows_a_command_that_was_taken_back_goes_at_once() {
    let server = Killable::start().await;
    let mut line = server.dial().await;
    line.hello(&kept(false)).await;
    line.subscribe().await;
    let id = |answer: Answer| serde_json::from_slice::<Value>(&answer.body).unwrap()["id"].clone();
    let (first, second) = (id(server.command().await), id(server.command().await));
    for expected in [&first, &second] {
        let command: Value = serde_json::from_slice(&line.command().await).unwrap();
        assert_eq!(&command["signed"]["command"]["number"], expected);
        let path = format!("/{}", expected.as_str().unwrap());
        assert_eq!(server.ask(Method::DELETE, &path, "").await.status, 200);
    }
}

/// A CONNECT of MQTT 5 that wants its session kept for an hour.
fn kept(clean_start: bool) -> Vec<u8> {
    let expiry = Duration::from_hours(1).as_secs();
    let expiry = u32::try_from(expiry).unwrap().to_be_bytes();
    let properties = [&[5, 0x11], &expiry[..]].concat();
    connect(u8::from(clean_start) << 1, &properties, "d-1")
}

async fn add_operator(store: &Store) {
    let mut change = store.begin().await.unwrap();
    let sha256 = Digest(Sha256::digest(TOKEN).into());
    operators::add(change.connection(), "ada", &sha256, 0).await.unwrap();
    drop(change.commit().await.unwrap());
}
