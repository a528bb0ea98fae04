//! What an observer is told: each thing once.

use std::collections::VecDeque;

use waxwing_agent::driver::{Driver, Turn};
use waxwing_agent::journal::UnsentReport;
use waxwing_agent::{Action, Firmware};
use waxwing_wire::report::State;
use waxwing_wire::{Digest, MessageId, Report, RolloutId};

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

/// Which reports were seen, for the journal brings them back after a restart; and which pins.
#[derive(Debug)]
pub(super) struct Seen {
    reports: VecDeque<MessageId>,
    unsent: Vec<(MessageId, RolloutId, State)>,
    pins: Option<Digest>,
}

impl Seen {
    /// Begins with the pins that are in use.
    pub(super) const fn beginning_with(pins: Option<Digest>) -> Self {
        Self { reports: VecDeque::new(), unsent: Vec::new(), pins }
    }

    /// Returns what happened if other pins are in use now.
    pub(super) fn pinned(&mut self, pins: Option<Digest>) -> Option<What> {
        if self.pins == pins {
            return None;
        }
        self.pins = pins;
        pins.map(|sha256| What::Pinned { sha256 })
    }

    /// Returns what a turn brought about.
    pub(super) fn after(&mut self, driver: &Driver<Simulated>, turn: Turn) -> Vec<What> {
        let mut happened = Vec::new();
        if turn.action == Action::Poll {
            happened.push(match turn.failed {
                Some(code) => What::PollFailed { code, reason: code.name() },
                None => What::Polled,
            });
        }
        happened.extend(self.news_of(driver.agent().unsent()));
        happened
    }

    /// Returns what became of reports, given those that are kept now.
    fn news_of(&mut self, kept: &[UnsentReport]) -> Vec<What> {
        let kept = kept.iter().filter_map(|it| Some((it.message_id().parse().ok()?, &it.report)));
        let kept: Vec<(MessageId, _)> = kept.collect();
        let unsent = kept.iter().map(|(id, it)| (id.clone(), it.rollout.clone(), it.state));
        let before = std::mem::replace(&mut self.unsent, unsent.collect());
        let gone = before.into_iter().filter(|(id, ..)| kept.iter().all(|(other, _)| other != id));
        let mut happened: Vec<_> =
            gone.map(|(_, rollout, state)| What::Acknowledged { rollout, state }).collect();
        for (id, report) in kept {
            if !self.reports.contains(&id) {
                self.reports.push_back(id);
                if self.reports.len() > SEEN_MAX {
                    self.reports.pop_front();
                }
                happened.push(reported(report));
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
