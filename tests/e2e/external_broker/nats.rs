//! Debian's NATS before a Mosquitto that is bridged to it, with the configuration that we ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use waxwing_e2e::process::{Line, Process};
use waxwing_wire::command::{Answer, Outcome};
use waxwing_wire::topic::Kind;

use super::mosquitto::Mosquitto;
use super::{APPLIED, FOREIGN, FORGED, Stage, readings};
use crate::sinks::sensor::{Door, Version};

/// Where the configuration that we ship looks for its files, and keeps what waits.
const FILES: &str = "/etc/nats/waxwing";
const KEPT: &str = "/var/lib/nats";

/// A NATS, beside a Mosquitto whose certificates it uses.
struct Nats {
    door: Door,
    _process: Process,
}

impl Nats {
    fn start(mosquitto: &Mosquitto) -> Result<Self> {
        let (folder, host) = (mosquitto.folder(), &mosquitto.neighbour);
        let cas =
            ["device-ca.pem", "server-ca.pem"].map(|name| fs::read_to_string(folder.join(name)));
        let [devices, servers] = cas;
        fs::write(folder.join("cas.pem"), devices? + &servers?)?;
        fs::write(folder.join("users.conf"), users()?)?;
        let own = folder.display().to_string();
        let text = fs::read_to_string(shipped("nats.conf"))?;
        let text = text.replace(FILES, &own).replace(KEPT, &format!("{own}/nats"));
        let text = text.replace("0.0.0.0", host).replace("127.0.0.1", host);
        fs::write(folder.join("nats.conf"), text)?;
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(folder.join("nats.conf"));
        let process = Process::spawn("nats", command, folder)?;
        loop {
            match process.line()? {
                Some(Line::Error(line)) if line.ends_with("Server is ready") => break,
                Some(_) => {}
                None => bail!("NATS did not start; see {}", process.log().display()),
            }
        }
        let door = Door {
            address: format!("{host}:8883"),
            ca: folder.join("server-ca.pem"),
            version: Version::Mqtt311,
        };
        Ok(Self { door, _process: process })
    }
}

/// Gives a second device the same rights as the one that is shipped as an example.
fn users() -> Result<String> {
    let text = fs::read_to_string(shipped("users.conf"))?;
    let lines = text.lines().flat_map(|line| {
        let other = line.contains("sensor_001").then(|| line.replace("sensor_001", "sensor_002"));
        [Some(line.to_owned()), other]
    });
    Ok(lines.flatten().collect::<Vec<_>>().join("\n") + "\n")
}

/// Returns what makes a Mosquitto a bridge to a NATS.
fn bridge(mosquitto: &Mosquitto) -> Result<String> {
    let text = fs::read_to_string(shipped("bridge.conf"))?;
    let own = mosquitto.folder().display().to_string();
    ensure!(text.contains("nats.example"), "the address is that of the documentation");
    Ok(text.replace("/etc/mosquitto/waxwing", &own).replace("nats.example", &mosquitto.neighbour))
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats").join(name)
}

#[test]
fn readings_and_commands_pass_nats_as_it_is_documented_and_nobody_speaks_for_others() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::set(folder.path())?;
    let nats = Nats::start(&stage.mosquitto)?;
    stage.mosquitto.bridge(bridge(&stage.mosquitto)?);
    stage.mosquitto.start()?;
    let both = ["Sending SUBACK to server:1", "Received SUBACK from local.waxwing"];
    stage.mosquitto.says_each(&both)?;
    let door = &nats.door;
    stage.one.listen_at(door)?;
    stage.one.say_at(door, 0, &readings(50))?;
    stage.reaches(APPLIED, 50)?;

    // NATS acknowledges what it does not allow, and drops it.
    let sealed = stage.other.seal("m-1", "{}")? + "\n";
    stage.other.publish_at(door, "waxwing/v1/sensor_001/telemetry", &sealed)?;
    stage.other.publish_at(door, "device/sensor_001/data", &sealed)?;
    stage.other.publish_at(door, "waxwing/v1/sensor_002/telemetry", &sealed)?;
    stage.reaches(APPLIED, 51)?;
    ensure!(stage.number(FOREIGN)? == 0 && stage.number(FORGED)? == 0);

    let first = stage.command("sensor_001")?;
    Stage::gets(&first, || stage.one.next_at(door))?;
    let answer = Answer { number: first.parse()?, outcome: Outcome::Done, detail: String::new() };
    let answer = stage.one.seal_as(Kind::Response, "a-1", &answer.encode())? + "\n";
    stage.one.publish_at(door, &stage.one.topic(Kind::Response), &answer)?;
    stage.becomes_done("sensor_001", &first)
}
