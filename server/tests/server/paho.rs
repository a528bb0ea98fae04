//! Eclipse Paho as a judge, in both versions of MQTT: what it makes of what we say.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use waxwing_server::mqtt::Delivery;
use waxwing_wire::topic::Kind;

use crate::mqtt::{sealed_as, send};
use crate::operators::{certified, start};
use crate::support::{Identity, Server};

/// More than the patience of the client.
const PATIENCE: Duration = Duration::from_mins(1);

const VERSIONS: [&str; 2] = ["311", "5"];

const TELEMETRY: &str = "waxwing/v1/d-1/telemetry";
const COMMAND: &str = "waxwing/v1/d-1/command";

/// The client in a process of its own.
struct Paho {
    _child: Child,
    steps: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _folder: TempDir,
}

impl Paho {
    fn start(server: &Server, identity: &Identity, version: &str) -> Self {
        let folder = files(server, identity);
        let file = |name: &str| folder.path().join(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/paho/client.py");
        let python = std::env::var_os("WAXWING_PYTHON").expect(
            "WAXWING_PYTHON must name a Python interpreter with paho-mqtt; `cargo xtask test` does",
        );
        let mut child = Command::new(python)
            .arg(script)
            .args([version, &server.running.addresses.mqtt.port().to_string()])
            .args([file("ca.pem"), file("cert.pem"), file("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let steps = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, steps, answers, _folder: folder }
    }

    /// Has it do something, and returns what it says came of it.
    async fn step(&mut self, step: Value) -> Value {
        self.begin(&step).await;
        self.outcome().await
    }

    async fn begin(&mut self, step: &Value) {
        self.steps.write_all(format!("{step}\n").as_bytes()).await.unwrap();
    }

    async fn outcome(&mut self) -> Value {
        let line = timeout(PATIENCE, self.answers.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.expect("the client broke down")).unwrap()
    }

    async fn connect(&mut self, client_id: &str) -> Value {
        self.step(json!({ "do": "connect", "id": client_id })).await
    }

    async fn publish(&mut self, topic: &str, payload: &str, qos: u8) -> Value {
        let step = json!({ "do": "publish", "topic": topic, "payload": payload, "qos": qos });
        self.step(step).await
    }

    async fn subscribe(&mut self, filter: &str) -> Value {
        self.step(json!({ "do": "subscribe", "filter": filter })).await
    }
}

fn files(server: &Server, identity: &Identity) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("ca.pem", pem(server.running.app.pki.server().certificate()));
    write("cert.pem", pem(&identity.certificate));
    write("key.pem", identity.key.serialize_pem());
    folder
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn paho_publishes_with_every_qos_and_is_told_what_became_of_it() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    for version in VERSIONS {
        let mut paho = Paho::start(&server, &device, version);
        assert_eq!(paho.connect("d-1").await, json!([0, false]));
        for qos in 0..=2 {
            let id = format!("m-{version}-{qos}");
            let message = sealed_as(&server, &device.key, "d-1", Kind::Telemetry, &id);
            assert_eq!(paho.publish(TELEMETRY, &message, qos).await, 0, "{version} {qos}");
        }
        let log = &server.running.app.log;
        let last = log.last_telemetry(&"d-1".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(last.message.message_id.as_str(), format!("m-{version}-2"));
        assert_eq!(paho.step(json!({ "do": "disconnect" })).await, 0);
    }
}

#[tokio::test]
async fn paho_is_refused_what_is_not_its_own_with_the_reason() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let foreign = "waxwing/v1/d-2/telemetry";
    let mut paho = Paho::start(&server, &device, "5");
    paho.connect("d-1").await;
    assert_eq!(paho.publish(foreign, "x", 1).await, 0x87);
    assert_eq!(paho.publish(TELEMETRY, "21.5", 1).await, 0x99);
    for filter in ["#", foreign, "waxwing/v1/+/command"] {
        assert_eq!(paho.subscribe(filter).await, json!([0x87]), "{filter}");
    }
    let retained = json!({
        "do": "publish_and_lose", "topic": TELEMETRY, "payload": "x", "retain": true,
    });
    assert_eq!(paho.step(retained).await, 0x9a);
    // The older version can only be hung up on.
    let mut paho = Paho::start(&server, &device, "311");
    paho.connect("d-1").await;
    assert_eq!(paho.subscribe("#").await, json!([0x80]));
    let lost = json!({ "do": "publish_and_lose", "topic": foreign, "payload": "x" });
    let outcome = paho.step(lost).await;
    assert!(outcome.as_u64().is_some_and(|code| code >= 0x80), "{outcome}");
}

#[tokio::test]
async fn paho_finds_its_session_and_its_command_when_it_is_back() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    for version in VERSIONS {
        let connect = json!({ "do": "connect", "id": "d-1", "clean": false, "expiry": 600 });
        let mut paho = Paho::start(&server, &device, version);
        let was_there = version == "5";
        assert_eq!(
            paho.step(connect.clone()).await,
            json!([0, was_there]),
            "of the version before"
        );
        assert_eq!(paho.subscribe(COMMAND).await, json!([1]));
        assert_eq!(paho.step(json!({ "do": "disconnect" })).await, 0);
        // It may be that its end is still being worked off.
        while !matches!(send(app, "d-1").await, Delivery::Kept) {}
        let mut paho = Paho::start(&server, &device, version);
        assert_eq!(paho.step(connect).await, json!([0, true]), "{version}");
        let message = paho.step(json!({ "do": "message" })).await;
        assert_eq!((&message[0], &message[2]), (&json!(COMMAND), &json!(1)), "{message}");
        assert!(message[1].as_str().unwrap().contains("\"poll\""), "{message}");
        assert_eq!(paho.step(json!({ "do": "disconnect" })).await, 0);
    }
}

#[tokio::test]
async fn paho_as_an_operator_hears_devices_and_cannot_speak_for_them() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let (ada, _) = certified(&server, "ada").await;
    for version in VERSIONS {
        let mut listener = Paho::start(&server, &ada, version);
        assert_eq!(listener.connect("my own name").await, json!([0, false]));
        assert_eq!(listener.subscribe("waxwing/v1/+/telemetry").await, json!([0]));
        let mut sender = Paho::start(&server, &device, version);
        sender.connect("d-1").await;
        let id = format!("m-{version}");
        let message = sealed_as(&server, &device.key, "d-1", Kind::Telemetry, &id);
        assert_eq!(sender.publish(TELEMETRY, &message, 1).await, 0);
        let heard = listener.step(json!({ "do": "message" })).await;
        assert_eq!(heard, json!([TELEMETRY, message, 0, false]));
        let lost =
            json!({ "do": "publish_and_lose", "topic": TELEMETRY, "payload": "x", "qos": 0 });
        let outcome = listener.step(lost).await;
        assert!(outcome.as_u64().is_some_and(|code| code >= 0x80), "{outcome}");
        assert_eq!(sender.step(json!({ "do": "disconnect" })).await, 0);
    }
}

#[tokio::test]
async fn the_will_of_paho_is_heard_when_it_vanishes_and_not_when_it_says_goodbye() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let (ada, _) = certified(&server, "ada").await;
    for version in VERSIONS {
        let mut listener = Paho::start(&server, &ada, version);
        listener.connect("x").await;
        listener.subscribe("waxwing/v1/d-1/state").await;
        let state = "waxwing/v1/d-1/state";
        let connect = json!({ "do": "connect", "id": "d-1", "will": state });
        let mut sender = Paho::start(&server, &device, version);
        sender.step(connect.clone()).await;
        assert_eq!(sender.step(json!({ "do": "disconnect" })).await, 0);
        let mut sender = Paho::start(&server, &device, version);
        sender.step(connect).await;
        assert_eq!(sender.publish(state, "last", 1).await, 0);
        sender.step(json!({ "do": "vanish" })).await;
        for expected in ["last", "gone"] {
            let heard = listener.step(json!({ "do": "message" })).await;
            assert_eq!(heard, json!([state, expected, 0, false]), "{version}");
        }
    }
}
