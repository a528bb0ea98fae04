//! What is promised, one function for each row of the table, in the order of the story.

mod crash;
mod refusals;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::world::{EVERYBODY, FACTORY_VERSION, PILOT_COUNT, PILOTS, World};

use crate::table::Row;

/// Three phases: a tenth, half, everybody.
const PHASES: &str = "10,50,100";

/// Every rollout of the story.
const ROLLOUTS: [&str; 6] = ["first", "way-back", "tampered", "killed", "downgrade", "bad"];

/// Where the story happens.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Ceremony, operator, server.
    pub(crate) world: World,
    /// The devices.
    pub(crate) fleet: Fleet,
    devices: usize,
    image: PathBuf,
}

impl Stage {
    /// Holds the ceremony, starts the server, and enrols the fleet on the factory release.
    pub(crate) fn set(folder: &Path, image: Option<PathBuf>, devices: usize) -> Result<Self> {
        say("ceremony: two of three keyholders sign; server and Director start");
        let world = World::create(folder, image.is_some())?;
        if let Some(image) = &image {
            say(&format!("1.1.0 is {}: the product takes images built elsewhere", image.display()));
        }
        let factory = world.make_image(FACTORY_VERSION, Behaviour::Work)?;
        world.publish(FACTORY_VERSION, 1, &factory)?;
        say(&format!("{devices} simulated ESP32-C3 enrol on release {FACTORY_VERSION}"));
        let fleet = world.enrol(devices, &factory)?;
        let image = image.map_or_else(|| world.make_image("1.1.0", Behaviour::Work), Ok)?;
        Ok(Self { world, fleet, devices, image })
    }

    /// Starts a rollout and follows it with live bars until it ends; tells whether it finished.
    fn roll_out(&mut self, id: &str, version: &str, group: &str, phases: &str) -> Result<bool> {
        say(&format!("rollout {id}: {version} to {group}"));
        self.world.start_rollout(id, version, group, phases)?;
        self.watch(id)
    }

    fn watch(&mut self, id: &str) -> Result<bool> {
        let mut watch = self.world.operator.command(&["rollout", "watch", id])?;
        if !std::io::stdout().is_terminal() {
            watch.stdout(Stdio::null());
        }
        Ok(watch.status()?.success())
    }

    fn run_release(&mut self, version: &str) -> Result<usize> {
        let running = self.fleet.running()?;
        Ok(running.values().filter(|release| *release == version).count())
    }
}

/// Sees to it that a promise is kept, and says what was seen.
type Keep = fn(&mut Stage) -> Result<String>;

/// Tells the story, and goes on after a broken promise.
pub(crate) fn keep_all(stage: &mut Stage) -> Vec<Row> {
    let promises: [(&'static str, Keep); 10] = [
        ("a signed release reaches every device in three phases", signed_release_reaches_everybody),
        ("the way back within one security version works", way_back_works),
        ("a tampered image is refused", refusals::tampered_image_is_refused),
        ("SIGKILL of the server after signing: the rollout goes on", crash::after_signing),
        ("SIGKILL of the server after offering: the rollout goes on", crash::after_offering),
        (
            "SIGKILL of the server during write-behind: the rollout ends well",
            crash::during_write_behind,
        ),
        ("an older security version is refused", refusals::older_security_version_is_refused),
        (
            "a release that fails its self-test is rolled back and stops",
            refusals::bad_release_stops,
        ),
        ("another device's certificate sees nothing", refusals::other_certificate_sees_nothing),
        ("every counter equals a recount of the signed reports", counters_equal_a_recount),
    ];
    promises.into_iter().map(|(promise, keep)| Row { promise, outcome: keep(stage) }).collect()
}

fn signed_release_reaches_everybody(stage: &mut Stage) -> Result<String> {
    stage.world.publish("1.1.0", 1, &stage.image)?;
    ensure!(stage.roll_out("first", "1.1.0", EVERYBODY, PHASES)?, "the rollout did not finish");
    let (updated, devices) = (stage.run_release("1.1.0")?, stage.devices);
    ensure!(updated == devices, "{updated} of {devices} devices run 1.1.0");
    Ok(format!("{updated} of {devices} devices run 1.1.0 and reported healthy"))
}

fn way_back_works(stage: &mut Stage) -> Result<String> {
    let finished = stage.roll_out("way-back", FACTORY_VERSION, PILOTS, "100")?;
    ensure!(finished, "the rollout did not finish");
    let back = stage.run_release(FACTORY_VERSION)?;
    ensure!(back == PILOT_COUNT, "{back} of {PILOT_COUNT} pilots run {FACTORY_VERSION}");
    Ok(format!("{back} pilots run {FACTORY_VERSION} again: same security version, still listed"))
}

fn counters_equal_a_recount(stage: &mut Stage) -> Result<String> {
    let mut reports = 0;
    for rollout in ROLLOUTS {
        let recount = stage.world.recount(rollout)?;
        ensure!(recount["equal"] == true, "{rollout}: {recount}");
        reports += recount["reports"].as_u64().unwrap_or_default();
    }
    Ok(format!("{reports} signed reports of {} rollouts", ROLLOUTS.len()))
}

/// Prints what the server knows of each device in each rollout, for who reads of a broken promise.
pub(crate) fn tell_what_went_wrong(stage: &Stage) {
    for rollout in ROLLOUTS {
        match stage.world.operator.ask(&["rollout", "deployments", rollout]) {
            Ok(deployments) => println!("{rollout}: {deployments}"),
            Err(error) => println!("{rollout}: {error:#}"),
        }
    }
}

/// A heading between the bars.
pub(crate) fn say(text: &str) {
    println!("\n── {text}");
}
