//! What a fleet has come to.

use std::collections::BTreeMap;

use serde::Serialize;
use waxwing_wire::report::State;

use crate::happening::{Happening, What};
use crate::profile::Profile;

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
    pub states: BTreeMap<State, u64>,
    /// Devices whose last report named an error, by its name.
    pub errors: BTreeMap<String, u64>,
    /// The same by what goes wrong around the devices.
    pub profiles: BTreeMap<Profile, OfProfile>,
}

/// What the devices of one profile have come to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfProfile {
    /// Devices that were heard of.
    pub devices: u64,
    /// How often something went wrong around them.
    pub faults: u64,
    /// Devices by the state they reported last.
    pub states: BTreeMap<State, u64>,
    /// Devices whose last report named an error, by its name.
    pub errors: BTreeMap<String, u64>,
}

/// The last words of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    is_known: bool,
    faults: u64,
    release: Option<String>,
    state: Option<State>,
    error: Option<String>,
}

impl Counters {
    pub(super) fn count(&mut self, profile: Profile, happening: &Happening, last: &mut Last) {
        let of_profile = self.profiles.entry(profile).or_default();
        of_profile.count(happening.faults, last);
        match &happening.what {
            What::Booted { release, .. } => {
                self.boots += 1;
                change(&mut [&mut self.releases], &mut last.release, Some(release.to_string()));
            }
            What::Enrolled => self.enrolled += 1,
            What::Polled => self.polls += 1,
            What::PollFailed { .. } => self.polls_failed += 1,
            What::Acknowledged { .. }
            | What::Commanded { .. }
            | What::Pinned { .. }
            | What::Renewed => {}
            What::Reported { state, code, reason, .. } => {
                let states = &mut [&mut self.states, &mut of_profile.states];
                change(states, &mut last.state, Some(*state));
                let error = (!code.is_none()).then(|| (*reason).to_owned());
                change(&mut [&mut self.errors, &mut of_profile.errors], &mut last.error, error);
            }
            What::Stopped { .. } => self.stopped += 1,
        }
    }
}

impl OfProfile {
    fn count(&mut self, faults: u64, last: &mut Last) {
        self.devices += u64::from(!last.is_known);
        last.is_known = true;
        self.faults += faults.saturating_sub(last.faults);
        last.faults = last.faults.max(faults);
    }
}

/// Moves a device from one count to another.
fn change<K: Clone + Ord>(
    counts: &mut [&mut BTreeMap<K, u64>],
    last: &mut Option<K>,
    next: Option<K>,
) {
    for counts in counts {
        if let Some(before) = last.as_ref()
            && let Some(count) = counts.get_mut(before)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(before);
            }
        }
        if let Some(name) = &next {
            *counts.entry(name.clone()).or_default() += 1;
        }
    }
    *last = next;
}

#[cfg(test)]
mod tests {
    use waxwing_wire::ErrorCode;

    use super::*;

    #[test]
    fn a_device_counts_once_by_its_last_word() {
        let (mut counters, mut lasts) = (Counters::default(), [Last::default(), Last::default()]);
        let report = |state, code: ErrorCode| What::Reported {
            rollout: "r-1".parse().unwrap(),
            release: "1.1.0".parse().unwrap(),
            state,
            code,
            reason: code.name(),
            attempt: 1,
        };
        for (device, faults, what) in [
            (0, 0, What::Enrolled),
            (0, 2, report(State::Downloading, ErrorCode::NONE)),
            (1, 0, report(State::Downloading, ErrorCode::NONE)),
            (0, 5, report(State::Failed, ErrorCode::DOWNLOAD_HASH)),
        ] {
            let (id, profile) = ("d-1".parse().unwrap(), [Profile::Loss, Profile::Clean][device]);
            let happening = Happening { device: id, faults, what };
            counters.count(profile, &happening, &mut lasts[device]);
        }
        let json = serde_json::to_value(counters).unwrap();
        let of_loss = serde_json::json!({
            "devices": 1, "faults": 5, "states": {"failed": 1}, "errors": {"download_hash": 1},
        });
        assert_eq!(json["profiles"]["loss"], of_loss);
        assert_eq!(json["states"], serde_json::json!({"downloading": 1, "failed": 1}));
        assert_eq!((&json["enrolled"], &json["errors"]["download_hash"]), (&1.into(), &1.into()));
    }
}
