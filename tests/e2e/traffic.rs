//! What an eavesdropper reads of a session between an operator and a device, with TLS and without (document 004):
//! real MQTT clients, captured on loopback and read by Wireshark's own program.

mod capture;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

use anyhow::{Context as _, Result, bail, ensure};
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::process::{Line, Process, refusal, run};
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;
use waxwing_wire::topic::Kind;

use self::capture::Capture;
use crate::sinks::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

/// The port of MQTT without TLS, on an address that no other process has.
const PLAIN_PORT: u16 = 1883;

/// What the device measures, and what it answers: words that stand nowhere else.
const SAID: &str = r#"{"celsius":21.5,"note":"the-ripe-rowan-berries"}"#;
const ANSWERED: &str = r#"{"status":"asked-for-updates-at-dusk"}"#;

/// What a command says.
const COMMANDED: &str = r#""command":{"name":"poll""#;

#[test]
fn document_004_nothing_of_a_session_is_readable_under_tls_and_all_of_it_without() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [_, high, middle, low] = id().to_be_bytes();
    let plain = Ipv4Addr::new(127, high.saturating_add(128), middle, low.max(1));
    let section = format!(
        "[development.plaintext_mqtt]\nlisten = \"{plain}:{PLAIN_PORT}\"\ndevice = \"sensor_001\"\n"
    );
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &section)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    let keys = folder.path().join("keys.log");
    world.server.restart_with_variables(&[("SSLKEYLOGFILE", &keys)])?;
    let tls_port = world.server.address(Listener::Mqtt).rsplit_once(':').context("a port")?.1;
    let tls_port: u16 = tls_port.parse()?;

    let capture = Capture::begin(folder.path(), &[tls_port, PLAIN_PORT])?;
    converse(&world, &sensor, folder.path())?;
    let sealed = sensor.seal("m-3", SAID)?;
    converse_without_tls(&world, &sensor, plain, &sealed)?;
    let packets = capture.end()?;

    let secret = packets.payload(tls_port)?;
    ensure!(secret.len() > 4096, "the session is in the capture");
    let words = ["waxwing/v1", "sensor_001", "celsius", "rowan", "dusk", "poll", "command"];
    for word in words.iter().chain(&["telemetry", "response"]) {
        ensure!(!has(&secret, word), "{word} is readable under TLS");
    }
    ensure!(packets.messages(tls_port, None)?.is_empty());

    let open = packets.payload(PLAIN_PORT)?;
    for word in [sensor.topic(Kind::Telemetry), sealed, COMMANDED.to_owned()] {
        ensure!(has(&open, &word), "{word} is readable without TLS");
    }
    check(&packets.messages(PLAIN_PORT, None)?, &sensor, &[Kind::Telemetry, Kind::Command])?;

    let kinds = [Kind::Telemetry, Kind::Command, Kind::Response];
    check(&packets.messages(tls_port, Some(&keys))?, &sensor, &kinds)
}

#[test]
fn no_release_can_be_built_for_development() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let build = |arguments: &[&str]| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "-o"]);
        rustc.arg(folder.path().join("guard.rmeta")).args(arguments);
        let guard = "../server/src/development/guard.rs";
        rustc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(guard));
        rustc
    };
    let development = ["--cfg", "feature=\"development\""];
    let refused = refusal(&mut build(&[&development[..], &["-O"]].concat()), b"")?;
    ensure!(refused.contains("no release has it"), "{refused}");
    run(&mut build(&[&development[..], &["-C", "debug-assertions"]].concat()), b"")?;
    run(&mut build(&["-O"]), b"")?;
    Ok(())
}

/// The operator hears the device and sends it a command, and hears its answer: over TLS.
fn converse(world: &World, sensor: &Sensor, folder: &Path) -> Result<()> {
    let server = &world.server;
    let operator = Listening::begin(world, folder)?;
    sensor.listen(server)?;
    sensor.publish(server, Kind::Telemetry, &sensor.seal("m-1", SAID)?)?;
    ensure!(operator.hears("celsius")?.starts_with(&sensor.topic(Kind::Telemetry)));
    world.operator.ask(&["device", "command", "send", sensor.device.as_str(), "poll"])?;
    ensure!(sensor.next(server)?.contains(COMMANDED));
    sensor.publish(server, Kind::Response, &sensor.seal_as(Kind::Response, "m-2", ANSWERED)?)?;
    ensure!(operator.hears("dusk")?.starts_with(&sensor.topic(Kind::Response)));
    Ok(())
}

/// The same device says something and hears a command where there is no TLS.
fn converse_without_tls(
    world: &World,
    sensor: &Sensor,
    plain: Ipv4Addr,
    sealed: &str,
) -> Result<()> {
    let client = |program: &str, kind: Kind| {
        let mut client = Command::new(program);
        client.args(["-V", "5", "-q", "1", "-c", "-x", "3600", "-i", sensor.device.as_str()]);
        client.args(["-h", &plain.to_string(), "-p", &PLAIN_PORT.to_string()]);
        client.args(["-t", &sensor.topic(kind)]);
        client
    };
    run(client("mosquitto_pub", Kind::Telemetry).args(["-m", sealed]), b"")?;
    run(client("mosquitto_sub", Kind::Command).arg("-E"), b"")?;
    world.operator.ask(&["device", "command", "send", sensor.device.as_str(), "poll"])?;
    let heard = run(client("mosquitto_sub", Kind::Command).args(["-C", "1", "-W", "60"]), b"")?;
    ensure!(heard.contains(COMMANDED), "{heard}");
    Ok(())
}

/// An operator's MQTT client.
struct Listening(Process);

impl Listening {
    /// Has a certificate made for the operator, and listens to all devices.
    fn begin(world: &World, folder: &Path) -> Result<Self> {
        let files: PathBuf = folder.join("operator");
        world.operator.ask(&["operator", "add", "ada"])?;
        let out = files.to_str().context("a path in UTF-8")?;
        world.operator.ask(&["operator", "certificate", "ada", "--out-dir", out])?;
        let address = world.server.address(Listener::Mqtt);
        let (host, port) = address.rsplit_once(':').context("an address")?;
        // Line by line, or what it says first would come with the first message.
        let mut client = Command::new("stdbuf");
        client.args([
            "-oL",
            "mosquitto_sub",
            "-V",
            "5",
            "-d",
            "-v",
            "-h",
            host,
            "-p",
            port,
            "-t",
            "waxwing/v1/#",
        ]);
        client.arg("--cafile").arg(files.join("server-ca.pem"));
        client.arg("--cert").arg(files.join("ada.pem")).arg("--key").arg(files.join("ada.key"));
        let listening = Self(Process::spawn("operator", client, folder)?);
        listening.hears("Subscribed")?;
        Ok(listening)
    }

    /// Waits for a line with this word.
    fn hears(&self, word: &str) -> Result<String> {
        while let Some(Line::Error(line) | Line::Output(line)) = self.0.line()? {
            if line.contains(word) {
                return Ok(line);
            }
        }
        bail!("mosquitto_sub ended; see {}", self.0.log().display())
    }
}

/// Checks that of each kind there is a message of the device with what it says.
#[track_caller]
fn check(messages: &[(String, String)], sensor: &Sensor, kinds: &[Kind]) -> Result<()> {
    for kind in kinds {
        let word = match kind {
            Kind::Command => COMMANDED,
            Kind::Response => ANSWERED,
            Kind::Report | Kind::State | Kind::Telemetry => SAID,
        };
        let topic = sensor.topic(*kind);
        let found = messages.iter().any(|(on, text)| *on == topic && text.contains(word));
        ensure!(found, "{word} on {topic} in {messages:?}");
    }
    Ok(())
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}
