//! An effect: what follows from polls, from a report or from time, as data. It is stored in one
//! transaction, and nobody is told of anything that was not stored.
//!
//! Not here: why it follows, which the fleet knows; storing it.

use serde_json::json;
use waxwing_wire::{DeviceId, RolloutId};

use super::audit::{self, Entry};
use super::rollout::Action;
use super::webhook::{Event, Kind};
use super::{Deployment, Device, Rollout, Sighting};

/// A deployment as it is to be.
pub type NewDeployment = (RolloutId, DeviceId, Deployment);

/// What is stored together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Effect<'a> {
    /// Who was seen, and with what.
    pub sightings: &'a [(DeviceId, Sighting)],
    /// Devices that are seen with another version than before.
    pub devices: Vec<Device>,
    /// Deployments as they are to be.
    pub deployments: Vec<NewDeployment>,
    /// Devices that had no contact for long.
    pub lost: Vec<Lost>,
    /// The rollouts that moved.
    pub moved: Vec<Moved>,
}

/// Devices without the image of a rollout that were back in an hour after a time without contact (D18).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// The rollout.
    pub rollout: RolloutId,
    /// Hours since 1970.
    pub hour: u64,
    /// How many they are.
    pub devices: u64,
    /// Who they are, by the numbers of the fleet in memory; those of a time before are nobody.
    pub who: Vec<u32>,
}

/// A rollout that the server moved by itself.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The rollout as it is to be.
    pub rollout: Rollout,
    /// What was done to it.
    pub action: Action,
    /// When, in Unix milliseconds.
    pub at: u64,
}

impl Moved {
    /// Describes it for the audit log.
    pub fn entry(&self) -> Entry {
        let Self { rollout, action, at } = self;
        Entry {
            at: *at,
            actor: audit::SERVER.to_owned(),
            action: match action {
                Action::Advance => audit::Action::RolloutAdvanced,
                Action::AskApproval => audit::Action::RolloutApprovalNeeded,
                Action::Finish => audit::Action::RolloutFinished,
                Action::Halt(_) => audit::Action::RolloutHalted,
            },
            subject: format!("rollout/{}", rollout.id),
            reason: rollout.reason.clone().unwrap_or_default(),
            detail: json!({ "phase": rollout.current_phase() }),
        }
    }

    /// Describes it for those who are told of rollouts.
    pub fn event(&self) -> Event {
        let kind = match self.action {
            Action::Advance => Kind::PhasePassed,
            Action::AskApproval => Kind::ApprovalNeeded,
            Action::Finish => Kind::Finished,
            Action::Halt(_) => Kind::Halted,
        };
        Event::of_rollout(kind, &self.rollout, &self.entry())
    }
}
