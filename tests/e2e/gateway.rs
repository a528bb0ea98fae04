//! Document 000, with real programs: a sensor without IP, a gateway, the server. What the sensor says arrives
//! as it sealed it, its firmware as the keyholders signed it, and a gateway that
//! is hostile can only drop.

mod hostile;
mod radio;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::Value;
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::fleet::{Batch, Fleet};
use waxwing_e2e::gateway::Gateway;
use waxwing_e2e::image::{self, Behaviour, Recipe};
use waxwing_e2e::world::{EVERYBODY, World};

use self::hostile::{Attack, Hostile};
use self::radio::Radio;

const SENSOR: &str = "th1-0001";
const GATEWAY: &str = "gw-0001";
/// Where nobody is: the sensor has no other way than its gateway.
const NOWHERE: &str = "127.0.0.1:1";

/// A server with a release, and a gateway that may carry for the sensor.
struct Site {
    world: World,
    gateway: Gateway,
    folder: PathBuf,
}

impl Site {
    fn open(folder: &Path) -> Result<Self> {
        let plan = Plan { worthless_keys: true, ..Plan::default() };
        let world = World::create_as(&folder.join("world"), plan)?;
        let gateway = Gateway::start(&world, &folder.join("gateway"), GATEWAY)?;
        Ok(Self { world, gateway, folder: folder.to_owned() })
    }

    fn publish(&self, version: &'static str) -> Result<PathBuf> {
        let path = self.folder.join(version);
        let recipe = Recipe { version, behaviour: Behaviour::Work, code_bytes: 60_000 };
        fs::write(&path, image::make(recipe)?)?;
        self.world.publish(version, 1, &path)?;
        Ok(path)
    }

    /// Starts a sensor that was enrolled at the bench, and has only this gateway since.
    fn sensor(&self, gateway: &str) -> Result<Fleet> {
        let (names, factory) = ([SENSOR.to_owned()], self.publish("1.0.0")?);
        let token = self.world.register(SENSOR)?;
        self.world.make_group(EVERYBODY, &names)?;
        self.world.operator.ask(&["device", "gateway", SENSOR, "--through", GATEWAY])?;
        let (device_address, gateway) = (Some(NOWHERE), Some(gateway));
        let batch = Batch { names: &names, device_address, gateway, ..Batch::default() };
        self.world.start_with(&batch, &[(SENSOR.to_owned(), token)], &factory)
    }

    fn roll_out(&self, rollout: &str, version: &'static str) -> Result<()> {
        self.publish(version)?;
        self.world.start_rollout(rollout, version, EVERYBODY, "100")
    }

    /// What the server has of the sensor, the newest first.
    fn telemetry(&self) -> Result<Vec<Value>> {
        let telemetry = self.world.operator.ask(&["device", "telemetry", SENSOR])?;
        Ok(telemetry.as_array().cloned().unwrap_or_default())
    }
}

#[test]
fn document_000_a_sensor_without_ip_is_heard_and_updated_through_its_gateway() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::open(folder.path())?;
    let mut sensor = site.sensor(&site.gateway.address)?;
    site.roll_out("r-1", "1.1.0")?;
    sensor.wait_for(|event| event.is_acknowledged("r-1", "healthy"))?;
    ensure!(site.world.recount("r-1")?["equal"] == true, "each report is signed by the sensor");
    let telemetry = site.telemetry()?;
    let uptime = telemetry.first().map(|message| &message["payload"]["uptime_s"]);
    ensure!(uptime.is_some_and(Value::is_u64), "{telemetry:?}");

    // What an operator takes back ends at once; nothing but the grant has changed.
    site.world.operator.ask(&["device", "gateway", SENSOR, "--through", GATEWAY, "--remove"])?;
    sensor.wait_for(|event| event.text("event") == "poll_failed")?;
    Ok(())
}

#[test]
fn document_000_a_sensor_is_heard_and_updated_over_bluetooth_low_energy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::open(folder.path())?;
    let radio = Radio::switch_on(&site.gateway.address, folder.path())?;
    let mut sensor = site.sensor(&radio.address)?;
    site.roll_out("r-1", "1.1.0")?;
    sensor.wait_for(|event| event.is_acknowledged("r-1", "healthy"))?;
    ensure!(!site.telemetry()?.is_empty());
    sensor.switch_off()?;
    let (packets, longest) = radio.after_all_links()?;
    ensure!(longest == 244, "an ATT_MTU of 247 leaves 244 bytes, not {longest}");
    let image = fs::metadata(folder.path().join("1.1.0"))?.len();
    ensure!(packets > image / 244, "{packets} packets cannot have carried the image");
    Ok(())
}

#[test]
fn document_000_a_hostile_gateway_can_only_drop() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::open(folder.path())?;
    let hostile = Hostile::before(&site.gateway.address)?;
    let mut sensor = site.sensor(&hostile.address)?;

    // Answers that are changed, or were right once, are none.
    for attack in [Attack::ChangeAnswers, Attack::ReplayAnswers, Attack::CutAnswers] {
        hostile.attack(attack);
        sensor.wait_for_many(2, |event| event.text("event") == "poll_failed")?;
    }
    // Messages that are changed are refused; the sensor is told lies, and no more.
    hostile.attack(Attack::ChangeMessages);
    hostile.wait_for_attacks(4)?;
    let all = site.telemetry()?;
    ensure!(
        all.iter().all(|it| it["payload"]["uptime_s"] != 999_999),
        "what was changed is stored: {all:?}"
    );

    // Firmware that is changed is never started.
    hostile.attack(Attack::ChangeFirmware);
    site.roll_out("r-1", "1.1.0")?;
    sensor.wait_for(|event| event.is_acknowledged("r-1", "failed"))?;
    ensure!(sensor.running()?[SENSOR] == "1.0.0");
    // Nor another image, though it is one of the keyholders'.
    hostile.attack(Attack::SubstituteFirmware(fs::read(folder.path().join("1.0.0"))?));
    site.roll_out("r-2", "1.2.0")?;
    sensor.wait_for(|event| event.is_acknowledged("r-2", "failed"))?;
    ensure!(sensor.running()?[SENSOR] == "1.0.0");

    // As soon as it carries what it was given, all goes on.
    hostile.attack(Attack::None);
    site.roll_out("r-3", "1.3.0")?;
    sensor.wait_for(|event| event.is_acknowledged("r-3", "healthy"))?;
    Ok(())
}
