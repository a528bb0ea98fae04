//! A server that is killed in mid-rollout, at three points that can be seen from outside.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::world::EVERYBODY;

use super::{PHASES, Stage, say};

const ROLLOUT: &str = "killed";
const VERSION: &str = "1.2.0";

/// A device has acted on a signed answer; what the server remembers of it is not yet written.
pub(crate) fn after_signing(stage: &mut Stage) -> Result<String> {
    let image = stage.world.make_image(VERSION, Behaviour::Work)?;
    stage.world.publish(VERSION, 2, &image)?;
    say(&format!(
        "rollout {ROLLOUT}: {VERSION} to {EVERYBODY}, and the server is killed three times"
    ));
    stage.world.start_rollout(ROLLOUT, VERSION, EVERYBODY, PHASES)?;
    let event = stage.fleet.wait_for(|event| event.is_report(ROLLOUT, "downloading"))?;
    stage.world.server.kill()?;
    stage.world.server.restart()?;
    still_runs(stage)?;
    Ok(format!("killed when {} began to download; state kept", event.text("device")))
}

/// A device has the whole image, and the offer is on record.
pub(crate) fn after_offering(stage: &mut Stage) -> Result<String> {
    let event = stage.fleet.wait_for(|event| event.is_report(ROLLOUT, "verified"))?;
    stage.world.server.kill()?;
    stage.world.server.restart()?;
    still_runs(stage)?;
    Ok(format!("killed when {} had verified the image; state kept", event.text("device")))
}

/// The database's log has just changed: the write-behind is writing.
pub(crate) fn during_write_behind(stage: &mut Stage) -> Result<String> {
    let wal = wal(&stage.world.server.data())?;
    let before = modified(&wal)?;
    while modified(&wal)? == before {
        std::thread::yield_now();
    }
    stage.world.server.kill()?;
    stage.world.server.restart()?;
    ensure!(stage.watch(ROLLOUT)?, "the rollout did not finish");
    let (updated, devices) = (stage.run_release(VERSION)?, stage.devices);
    ensure!(updated == devices, "{updated} of {devices} devices run {VERSION}");
    let recount = stage.world.recount(ROLLOUT)?;
    ensure!(recount["equal"] == true, "the counters differ: {recount}");
    Ok(format!("{updated} of {devices} devices run {VERSION}; counters equal a recount"))
}

fn still_runs(stage: &Stage) -> Result<()> {
    let now = stage.world.rollout_state(ROLLOUT)?;
    ensure!(now == "running", "the rollout is {now}");
    Ok(())
}

fn wal(data: &Path) -> Result<std::path::PathBuf> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("-wal") {
            return Ok(path);
        }
    }
    anyhow::bail!("the database keeps no write-ahead log")
}

fn modified(path: &Path) -> Result<(u64, SystemTime)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?))
}
