//! What an observer is told: each thing once.

use std::collections::VecDeque;

use waxwing_agent::driver::{Driver, Turn};
use waxwing_agent::{Action, Firmware};
use waxwing_wire::{MessageId, Report};

use super::Simulated;
use crate::board::Running;
use crate::happening::{What, reset_name, slot_name};

/// An image was started.
pub(super) fn booted(running: &Running, firmware: &Firmware) -> What {
    What::Booted {
        slot: slot_name(running.slot),
        release: firmware.release.clone(),
        sha256: firmware.sha256,
        reset: reset_name(running.reset),
    }
}

/// Reports remembered as seen: more than an agent keeps.
const SEEN_MAX: usize = 4 * waxwing_agent::journal::REPORTS_MAX;

/// Which reports were seen: the journal brings them back after a restart.
#[derive(Debug, Default)]
pub(super) struct Seen(VecDeque<MessageId>);

impl Seen {
    /// Returns what a turn brought about.
    pub(super) fn after(&mut self, driver: &Driver<Simulated>, turn: Turn) -> Vec<What> {
        let mut happened = Vec::new();
        if turn.action == Action::Poll {
            happened.push(match turn.failed {
                Some(code) => What::PollFailed { code, reason: code.name() },
                None => What::Polled,
            });
        }
        for unsent in driver.agent().unsent() {
            let Ok(id) = unsent.message_id().parse() else { continue };
            if !self.0.contains(&id) {
                self.0.push_back(id);
                if self.0.len() > SEEN_MAX {
                    self.0.pop_front();
                }
                happened.push(reported(&unsent.report));
            }
        }
        happened
    }
}

fn reported(report: &Report) -> What {
    What::Reported {
        rollout: report.rollout.clone(),
        release: report.release.clone(),
        state: report.state,
        code: report.code,
        reason: report.code.name(),
        attempt: report.attempt,
    }
}
