//! Debian's Mosquitto between real devices and real servers, with the configuration that we ship.

pub(crate) mod mosquitto;
mod nats;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::blocking::Client;
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::process::Process;
use waxwing_e2e::program::Program;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;
use waxwing_wire::command::{Answer, Outcome};
use waxwing_wire::topic::Kind;

use self::mosquitto::Mosquitto;
use crate::sinks::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

/// How often it is asked for what must come: a question takes a millisecond.
const QUESTIONS_MAX: usize = 100_000;

/// How often an operator asks for a list, which takes longer.
const LISTS_MAX: usize = 1000;

/// How often a command may come that is not answered: with each connection of the broker, and what it kept.
const COPIES_MAX: usize = 10;

/// Counters of the server.
const APPLIED: &str = r#"waxwing_messages_total{kind="telemetry",outcome="applied"}"#;
const DUPLICATE: &str = r#"waxwing_messages_total{kind="telemetry",outcome="duplicate"}"#;
const REPLAY: &str = r#"waxwing_messages_total{kind="telemetry",outcome="refused_replay"}"#;
const FORGED: &str = r#"waxwing_messages_total{kind="telemetry",outcome="refused_signature"}"#;
const FOREIGN: &str = r#"waxwing_messages_total{kind="telemetry",outcome="refused_wrong_sender"}"#;
const BY_SERVER: &str = r#"waxwing_broker_messages_total{through="server"}"#;
const BY_INTAKE: &str = r#"waxwing_broker_messages_total{through="intake"}"#;
const CONNECTED: &str = r#"waxwing_broker_connected{through="server"}"#;

/// A server with a broker, and two sensors behind it.
struct Stage {
    world: World,
    mosquitto: Mosquitto,
    one: Sensor,
    other: Sensor,
    client: Client,
}

impl Stage {
    fn set(folder: &Path) -> Result<Self> {
        let world = folder.join("world");
        let mosquitto = Mosquitto::prepare(&folder.join("broker"), &world.join("server/data"))?;
        let world = World::create_with(&world, PLAN, &mosquitto.section())?;
        let one = Sensor::enrol(&world, folder, "sensor_001")?;
        let other = Sensor::enrol(&world, folder, "sensor_002")?;
        mosquitto.renew_crl(&one)?;
        Ok(Self { world, mosquitto, one, other, client: Client::new() })
    }

    /// Starts another process that takes messages from the broker, and waits until it does.
    fn intake(&self, folder: &Path) -> Result<Process> {
        self.intake_of(folder, "waxwing")
    }

    /// As [`Stage::intake`], with another share in the subscription.
    fn intake_of(&self, folder: &Path, group: &str) -> Result<Process> {
        let mut command = Program::Server.command()?;
        command.arg("--intake").arg("--config").arg(self.world.server.configuration());
        command.envs(self.mosquitto.other()).env("WAXWING_SERVER__BROKER__GROUP", group);
        let process = Process::spawn("intake", command, &folder.join("logs"))?;
        self.mosquitto.says("Sending SUBACK to server:2")?;
        Ok(process)
    }

    /// Starts the broker, and waits until the server shares in the subscription.
    fn open(&mut self) -> Result<()> {
        self.mosquitto.start()?;
        self.mosquitto.says("Sending SUBACK to server:1")
    }

    fn number(&self, name: &str) -> Result<u64> {
        let url = format!("{}/metrics", self.world.server.url(Listener::Ops));
        let text = self.client.get(url).send()?.text()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(Ok(0), |number| Ok(number.trim().parse()?))
    }

    fn reaches(&self, name: &str, wanted: u64) -> Result<()> {
        let mut found = 0;
        for _ in 0..QUESTIONS_MAX {
            found = self.number(name)?;
            if found >= wanted {
                break;
            }
        }
        ensure!(found == wanted, "{name}: {found}, not {wanted}");
        Ok(())
    }
}

fn readings(count: usize) -> Vec<String> {
    (0..count).map(|n| format!(r#"{{"celsius":{n}.5}}"#)).collect()
}

#[test]
fn document_002_two_servers_divide_what_devices_say_and_each_message_counts_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::set(folder.path())?;
    stage.open()?;
    let intake = stage.intake(folder.path())?;
    let door = stage.mosquitto.devices();
    let sealed = stage.one.say_at(&door, 0, &readings(100))?;
    stage.other.say_at(&door, 0, &readings(100))?;
    stage.reaches(APPLIED, 200)?;
    let (here, there) = (stage.number(BY_SERVER)?, stage.number(BY_INTAKE)?);
    ensure!(here >= 50 && there >= 50 && here + there == 200, "{here} and {there}");

    // A copy is known, whichever of them it comes through; another message of the same id is refused.
    stage.one.publish_at(&door, "waxwing/v1/sensor_001/telemetry", &sealed)?;
    stage.reaches(DUPLICATE, 100)?;
    ensure!(stage.number(BY_INTAKE)? > there, "copies came through both");
    stage.one.say_at(&door, 0, &vec!["{}".to_owned(); 20])?;
    stage.reaches(REPLAY, 20)?;

    // Both die and the broker is started anew with messages on their way: nothing that it had for them is
    // lost, nothing counts twice.
    intake.kill()?;
    stage.one.say_at(&door, 100, &readings(50))?;
    stage.world.server.kill()?;
    stage.one.say_at(&door, 150, &readings(50))?;
    stage.mosquitto.stop()?;
    stage.mosquitto.start()?;
    stage.world.server.restart()?;
    stage.mosquitto.says("Sending SUBACK to server:1")?;
    let _intake = stage.intake(folder.path())?;
    let count = stage.stored("sensor_001", 200)?;
    ensure!(count == 200, "{count} messages");
    ensure!(stage.number(REPLAY)? == 0);
    Ok(())
}

impl Stage {
    /// Waits until so many messages of a device are stored, and returns how many are.
    fn stored(&self, device: &str, wanted: usize) -> Result<usize> {
        for _ in 0..LISTS_MAX {
            let count = self.count(device)?;
            if count >= wanted {
                return Ok(count);
            }
        }
        bail!("there are {} messages of {device}", self.count(device)?)
    }

    fn count(&self, device: &str) -> Result<usize> {
        let limit = "500";
        let said = self.world.operator.ask(&["device", "telemetry", device, "--limit", limit])?;
        let items = said.pointer("/items").or(Some(&said)).and_then(|items| items.as_array());
        Ok(items.context("a list")?.len())
    }
}

#[test]
fn hostile_devices_get_nowhere_through_the_broker_as_it_is_shipped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::set(folder.path())?;
    stage.open()?;
    let (devices, servers) = (stage.mosquitto.devices(), stage.mosquitto.servers());
    let sealed = stage.other.seal("m-1", "{}")? + "\n";
    for topic in [
        "waxwing/v1/sensor_001/telemetry",
        "waxwing/v1/sensor_001/command",
        "waxwing/v1/sensor_002/command",
        "device/sensor_001/data",
        "device/sensor_001/response",
        "device/sensor_002/response",
        "anything",
    ] {
        let said = stage.other.try_publish_at(&devices, topic, &sealed)?;
        ensure!(said.contains("Not authorized"), "{topic}: {said}");
    }
    let own = "waxwing/v1/sensor_002/telemetry";
    ensure!(!stage.other.is_let_in(&servers)?, "a device is no server");
    ensure!(stage.other.is_let_in(&devices)?);
    stage.other.publish_at(&devices, own, &sealed)?;
    stage.reaches(APPLIED, 1)?;

    // Revoked: refused by the server at once, and by the broker as soon as it has the list.
    stage.world.operator.ask(&["device", "revoke", "sensor_002"])?;
    let sealed = stage.other.seal("m-2", "{}")? + "\n";
    stage.other.publish_at(&devices, own, &sealed)?;
    stage.reaches(FORGED, 1)?;
    stage.mosquitto.renew_crl(&stage.one)?;
    stage.mosquitto.says("device/+/data")?;
    ensure!(!stage.other.is_let_in(&devices)?, "a revoked device is not let in");
    stage.one.say_at(&devices, 0, &readings(1))?;
    stage.reaches(APPLIED, 2)
}

#[test]
fn a_broker_that_lets_everybody_speak_for_everybody_makes_nobody_believed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::set(folder.path())?;
    let acl = folder.path().join("broker/devices.acl");
    std::fs::write(acl, "pattern readwrite waxwing/#\npattern readwrite device/#\n")?;
    stage.open()?;
    // And gives each message to both servers.
    let intake = stage.intake_of(folder.path(), "")?;
    let door = stage.mosquitto.devices();
    let topic = "waxwing/v1/sensor_001/telemetry";
    // One names itself, and one names its victim.
    let own = (0..10).map(|n| Ok(stage.other.seal(&format!("m-{n}"), "{}")? + "\n"));
    let own = own.collect::<Result<String>>()?;
    stage.other.publish_at(&door, topic, &own)?;
    stage.reaches(FOREIGN, 20)?;
    stage.other.publish_at(&door, topic, &own.replace("sensor_002", "sensor_001"))?;
    stage.reaches(FORGED, 20)?;
    ensure!(stage.number(BY_SERVER)? == 20 && stage.number(BY_INTAKE)? == 20, "through both");
    ensure!(stage.number(APPLIED)? == 0);
    stage.one.say_at(&door, 0, &readings(100))?;
    stage.reaches(APPLIED, 100)?;
    stage.reaches(DUPLICATE, 100)?;
    ensure!(stage.stored("sensor_001", 100)? == 100);
    intake.stop().map(drop)
}

#[test]
fn commands_reach_devices_behind_the_broker_also_when_it_was_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::set(folder.path())?;
    stage.open()?;
    let door = stage.mosquitto.devices();
    stage.one.listen_at(&door)?;
    // It knows its commands by the name of document 003.
    stage.other.listen_existing_at(&door)?;
    let first = stage.command("sensor_001")?;
    Stage::gets(&first, || stage.one.next_at(&door))?;
    let other = stage.command("sensor_002")?;
    Stage::gets(&other, || stage.other.next_existing_at(&door))?;
    // The broker is away, and so is the server for a while: the next one waits in its database.
    stage.mosquitto.stop()?;
    stage.reaches(CONNECTED, 0)?;
    let second = stage.command("sensor_001")?;
    stage.world.server.kill()?;
    stage.world.server.restart()?;
    stage.open()?;
    // Nobody answered the first one: it comes again, and the second one after the answer.
    Stage::gets(&first, || stage.one.next_at(&door))?;
    let answer = Answer { number: first.parse()?, outcome: Outcome::Done, detail: String::new() };
    let answer = stage.one.seal_as(Kind::Response, "a-1", &answer.encode())? + "\n";
    stage.one.publish_at(&door, &stage.one.topic(Kind::Response), &answer)?;
    Stage::gets(&second, || stage.one.next_at(&door))?;
    ensure!(stage.state_of("sensor_001", &first)? == "done");
    Ok(())
}

impl Stage {
    /// Has a device asked to poll, and returns the number of the command.
    fn command(&self, device: &str) -> Result<String> {
        let sent = self.world.operator.ask(&["device", "command", "send", device, "poll"])?;
        Ok(sent.pointer("/id").and_then(|it| it.as_str()).context("it has a number")?.to_owned())
    }

    fn state_of(&self, device: &str, number: &str) -> Result<String> {
        let shown = self.world.operator.ask(&["device", "command", "show", device, number])?;
        Ok(shown.pointer("/state").and_then(|it| it.as_str()).context("a state")?.to_owned())
    }

    fn becomes_done(&self, device: &str, number: &str) -> Result<()> {
        for _ in 0..LISTS_MAX {
            if self.state_of(device, number)? == "done" {
                return Ok(());
            }
        }
        bail!("{number} is never done")
    }

    /// Waits until a device gets a command; it may get the one before several times.
    fn gets(number: &str, next: impl Fn() -> Result<String>) -> Result<()> {
        for _ in 0..COPIES_MAX {
            let said = next()?;
            ensure!(said.contains(r#""name":"poll""#), "{said}");
            if said.contains(number) {
                return Ok(());
            }
        }
        bail!("{number} does not come")
    }
}
