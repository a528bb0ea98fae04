//! What a release does wrong, and how its rollout must end.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::{Outcome, Story};
use crate::chip::Mark;
use crate::world::FACTORY_VERSION;

/// The release that a device is offered.
const VERSION: &str = "1.1.0";

/// A release for a device, by what is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Scenario {
    /// It panics in its self-test.
    Crash,
    /// It panics right behind its guard, before any of its agent runs.
    CrashEarly,
    /// It fails its self-test.
    Fail,
    /// It hangs in its self-test, and the watchdog bites.
    Hang,
    /// It says while it soaks that it is not well.
    Ill,
    /// Nothing: the device keeps it.
    Update,
}

impl Scenario {
    const fn mark(self) -> Mark {
        match self {
            Self::Crash => Mark::Crash,
            Self::CrashEarly => Mark::CrashEarly,
            Self::Fail => Mark::Fail,
            Self::Hang => Mark::Hang,
            Self::Ill => Mark::Ill,
            Self::Update => Mark::Works,
        }
    }

    /// Returns state and code of the deployment in the end, and the release that then runs.
    pub const fn expected(self) -> (&'static str, u64, &'static str) {
        match self {
            Self::Crash | Self::CrashEarly | Self::Hang => ("rolled_back", 501, FACTORY_VERSION),
            Self::Fail | Self::Ill => ("rolled_back", 502, FACTORY_VERSION),
            Self::Update => ("healthy", 0, VERSION),
        }
    }

    /// Publishes the release and starts its rollout to the device.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses.
    pub fn offer(self, story: &mut Story) -> Result<()> {
        story.offer("update", VERSION, self.mark())
    }

    /// Offers the release to the device and switches it on; `told` sees the serial line.
    ///
    /// # Errors
    ///
    /// Fails when the device does not come to rest, or the rollout ends in another way.
    pub fn play(self, story: &mut Story, told: impl FnMut(&str)) -> Result<Outcome> {
        self.offer(story)?;
        let outcome = story.live("update", [], told)?;
        let ended = (outcome.state.as_str(), outcome.code, outcome.release.as_str());
        ensure!(ended == self.expected(), "not {:?}: {outcome:#?}", self.expected());
        let finished = story.finishes("update")?;
        ensure!(finished == (self == Self::Update), "the rollout finished: {finished}");
        Ok(outcome)
    }
}
