//! What a fleet has come to.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use waxwing_wire::DeviceId;

use crate::happening::{Happening, What};

/// What a fleet has come to: the last word of each device, and sums.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Devices with a certificate.
    pub enrolled: u64,
    /// Boots, the first ones included.
    pub boots: u64,
    /// Polls that were answered.
    pub polls: u64,
    /// Polls that were not.
    pub polls_failed: u64,
    /// Devices that stopped for good.
    pub stopped: u64,
    /// Devices by the release they run.
    pub releases: BTreeMap<String, u64>,
    /// Devices by the state they reported last.
    pub states: BTreeMap<String, u64>,
    /// Devices whose last report named an error, by its name.
    pub errors: BTreeMap<String, u64>,
    #[serde(skip)]
    devices: BTreeMap<DeviceId, Last>,
}

/// The last words of a device.
#[derive(Clone, Debug, Default)]
struct Last {
    release: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

impl Counters {
    pub(super) fn count(&mut self, happening: &Happening) {
        let last = self.devices.entry(happening.device.clone()).or_default();
        match &happening.what {
            What::Booted { release, .. } => {
                self.boots += 1;
                change(&mut self.releases, &mut last.release, Some(release.to_string()));
            }
            What::Enrolled => self.enrolled += 1,
            What::Polled => self.polls += 1,
            What::PollFailed { .. } => self.polls_failed += 1,
            What::Acknowledged { .. } | What::Pinned { .. } | What::Renewed => {}
            What::Reported { state, code, reason, .. } => {
                change(&mut self.states, &mut last.state, Some(state.to_string()));
                let error = (!code.is_none()).then(|| (*reason).to_owned());
                change(&mut self.errors, &mut last.error, error);
            }
            What::Stopped { .. } => self.stopped += 1,
        }
    }
}

/// Moves a device from one count to another.
fn change(counts: &mut BTreeMap<String, u64>, last: &mut Option<String>, next: Option<String>) {
    if let Some(before) = last.take()
        && let Some(count) = counts.get_mut(&before)
    {
        *count -= 1;
        if *count == 0 {
            counts.remove(&before);
        }
    }
    if let Some(name) = &next {
        *counts.entry(name.clone()).or_default() += 1;
    }
    *last = next;
}

/// One line for a terminal.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} enrolled  {} polls", self.enrolled, self.polls)?;
        if self.polls_failed > 0 {
            write!(f, " ({} failed)", self.polls_failed)?;
        }
        for counts in [&self.releases, &self.states, &self.errors] {
            f.write_str(" |")?;
            counts.iter().try_for_each(|(name, count)| write!(f, " {name} {count}"))?;
        }
        if self.stopped > 0 {
            write!(f, " | {} stopped", self.stopped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use waxwing_wire::ErrorCode;
    use waxwing_wire::report::State;

    use super::*;

    #[test]
    fn a_device_counts_once_by_its_last_word() {
        let mut counters = Counters::default();
        let report = |state, code: ErrorCode| What::Reported {
            rollout: "r-1".parse().unwrap(),
            release: "1.1.0".parse().unwrap(),
            state,
            code,
            reason: code.name(),
            attempt: 1,
        };
        for (device, what) in [
            ("d-1", What::Enrolled),
            ("d-1", report(State::Downloading, ErrorCode::NONE)),
            ("d-2", report(State::Downloading, ErrorCode::NONE)),
            ("d-1", report(State::Failed, ErrorCode::DOWNLOAD_HASH)),
        ] {
            counters.count(&Happening { device: device.parse().unwrap(), what });
        }
        let text = counters.to_string();
        assert_eq!(text, "1 enrolled  0 polls | | downloading 1 failed 1 | download_hash 1");
    }
}
