//! The story of one emulated device: made, switched on, offered releases, its power cut; and what the
//! server knows of it.
//!
//! The server's word decides how a story ends; the serial line only says when to ask.

mod scenario;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

pub use self::scenario::Scenario;
use crate::ceremony::Plan;
use crate::chip::{Chip, Cut, End, Mark, PROJECT, Session, Start, firmware};
use crate::world::{EVERYBODY, FACTORY_VERSION, World};

/// The device.
const DEVICE: &str = "th1-0001";
/// Sessions after which a device that lost power must have come to rest: each planned cut costs one,
/// and the last one has no cut.
const SESSIONS_MAX: usize = 3;

/// A server, and a device that it knows.
#[derive(Debug)]
pub struct Story {
    /// Everything but the device.
    pub world: World,
    /// The device.
    pub chip: Chip,
    folder: PathBuf,
    /// Every release, by the SHA-256 of its image.
    releases: BTreeMap<String, String>,
}

/// What came of a rollout on the device.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// State of the deployment: `healthy`, `rolled_back` or `failed`.
    pub state: String,
    /// The code of the reason, 0 if there is none.
    pub code: u64,
    /// The release that runs, by what is in flash.
    pub release: String,
    /// Every start of the firmware.
    pub starts: Vec<Start>,
    /// How often the power was cut.
    pub cuts: usize,
    /// What the agent did since the last start, as the serial line says.
    pub turns: Vec<String>,
}

impl Story {
    /// Holds a ceremony, starts a server, and makes a device that was never on.
    ///
    /// # Errors
    ///
    /// Fails when a program refuses a step, or firmware and emulator were not built.
    pub fn begin(folder: &Path) -> Result<Self> {
        let plan = Plan { project: Some(PROJECT), worthless_keys: true, ..Plan::default() };
        let world = World::create_as(folder, plan)?;
        let chip = Chip::make(&world, &folder.join("device"), DEVICE)?;
        world.make_group(EVERYBODY, &[DEVICE.to_owned()])?;
        let folder = folder.to_owned();
        let mut story = Self { world, chip, folder, releases: BTreeMap::new() };
        story.publish(FACTORY_VERSION, Mark::Works)?;
        Ok(story)
    }

    /// Publishes a release of the firmware.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn publish(&mut self, version: &str, mark: Mark) -> Result<()> {
        let image = self.folder.join(format!("{version}.bin"));
        let sha256 = firmware(&image, version, mark)?;
        self.releases.insert(sha256, version.to_owned());
        self.world.publish(version, 1, &image)
    }

    /// Publishes a release and starts its rollout to the device.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn offer(&mut self, rollout: &str, version: &str, mark: Mark) -> Result<()> {
        self.publish(version, mark)?;
        self.world.start_rollout(rollout, version, EVERYBODY, "100")
    }

    /// Switches the device on until the server knows how it ended; `told` sees the serial line.
    ///
    /// # Errors
    ///
    /// Fails when the device does not come to rest, or runs what nobody released.
    pub fn live(
        &mut self,
        rollout: &str,
        cuts: impl IntoIterator<Item = Cut>,
        mut told: impl FnMut(&str),
    ) -> Result<Outcome> {
        let mut cuts = cuts.into_iter();
        let mut starts = Vec::new();
        for count in 0..SESSIONS_MAX {
            let mut session = self.chip.power_on(cuts.next())?;
            let ended = self.follow(rollout, &mut session, &mut told)?;
            starts.extend_from_slice(session.starts());
            let last = starts.last().map(|start: &Start| self.release(start)).transpose()?;
            if let Some((state, code, turns)) = ended {
                let release = last.context("something reported")?.to_owned();
                return Ok(Outcome { state, code, release, starts, cuts: count, turns });
            }
            ensure!(
                session.end()? == End::PowerCut,
                "the device does not come to rest: {starts:?}"
            );
        }
        bail!("no rest after {SESSIONS_MAX} sessions: {starts:?}")
    }

    /// Waits until the server has ended the rollout; tells whether it finished.
    ///
    /// # Errors
    ///
    /// Fails when the command line does not start.
    pub fn finishes(&self, rollout: &str) -> Result<bool> {
        let mut watch = self.world.operator.command(&["rollout", "watch", rollout])?;
        Ok(watch.output()?.status.success())
    }

    /// Returns what the server knows of the device.
    ///
    /// # Errors
    ///
    /// Fails when the server does not answer.
    pub fn device(&self) -> Result<Value> {
        self.world.operator.ask(&["device", "show", self.chip.name()])
    }

    /// Keeps server and device as they are.
    ///
    /// # Errors
    ///
    /// Fails when the server does not stop or start.
    pub fn keep(&mut self, name: &str) -> Result<Kept> {
        let folder = self.folder.join("kept").join(name);
        fs::create_dir_all(&folder)?;
        self.world.server.keep(&folder.join("server"))?;
        fs::copy(self.chip.flash(), folder.join("flash.bin"))?;
        Ok(Kept(folder))
    }

    /// Sets server and device back to what they were, both at once.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn go_back(&mut self, kept: &Kept) -> Result<()> {
        fs::copy(kept.0.join("flash.bin"), self.chip.flash())?;
        self.world.server.go_back(&kept.0.join("server"))
    }

    /// Follows a session until the server knows how the rollout ended, or the session ended.
    fn follow(
        &self,
        rollout: &str,
        session: &mut Session,
        told: &mut impl FnMut(&str),
    ) -> Result<Option<(String, u64, Vec<String>)>> {
        let (mut turns, mut starts) = (Vec::new(), 0);
        while let Some(line) = session.line()? {
            told(&line);
            if session.starts().len() > starts {
                starts = session.starts().len();
                turns.clear();
            }
            let is_idle = line.starts_with("idle ");
            turns.push(line);
            if is_idle && let Some((state, code)) = self.ended(rollout)? {
                return Ok(Some((state, code, turns)));
            }
        }
        Ok(None)
    }

    /// Asks the server how the device's part in a rollout ended.
    fn ended(&self, rollout: &str) -> Result<Option<(String, u64)>> {
        let device = self.device()?;
        let deployments = device["deployments"].as_array().cloned().unwrap_or_default();
        let deployment = deployments.iter().find(|one| one["rollout"] == *rollout);
        let Some(deployment) = deployment else { return Ok(None) };
        let state = deployment["state"].as_str().context("a deployment has a state")?;
        let ended = ["failed", "healthy", "rolled_back"].contains(&state);
        Ok(ended.then(|| (state.to_owned(), deployment["code"].as_u64().unwrap_or(u64::MAX))))
    }

    fn release(&self, start: &Start) -> Result<&str> {
        let release = self.releases.get(&start.sha256);
        release.map(String::as_str).with_context(|| format!("nobody released what runs: {start:?}"))
    }
}

/// A moment of server and device.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);
