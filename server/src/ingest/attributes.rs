//! What a device says of itself: the object `attributes` in its telemetry, all of it each time.
//!
//! Telemetry with attributes that cannot be taken is telemetry still. Not here: which word counts.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use waxwing_wire::DeviceId;

use super::Ingest;
use crate::domain::Device;
use crate::domain::device::{Attributes, are_attributes};

/// How long a device stays as it described itself, in milliseconds: each change is a write to the disk of its
/// own, during which nobody else writes, and what groups ask for does not change by the second. What was
/// passed over, the next telemetry says again.
const CHANGE_PAUSE_MS: u64 = 10_000;

/// Who has changed its attributes lately: no more than were written meanwhile. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed(Arc<Mutex<Lately>>);

#[derive(Debug, Default)]
struct Lately {
    devices: HashSet<DeviceId>,
    /// When, in Unix milliseconds, oldest first.
    by_time: VecDeque<(u64, DeviceId)>,
}

impl Changed {
    /// Takes note of a change, and returns whether there may be one now.
    pub(super) fn note(&self, device: &DeviceId, now_ms: u64) -> bool {
        // Every change below is complete before anything can panic.
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.forget(now_ms);
        let may_change = lately.devices.insert(device.clone());
        if may_change {
            lately.by_time.push_back((now_ms, device.clone()));
        }
        may_change
    }
}

impl Lately {
    /// Forgets what was long ago, or in the future of a clock that was set back.
    fn forget(&mut self, now_ms: u64) {
        let is_over = |(at, _): &(u64, _)| now_ms.abs_diff(*at) >= CHANGE_PAUSE_MS;
        while self.by_time.front().is_some_and(is_over)
            && let Some((_, device)) = self.by_time.pop_front()
        {
            self.devices.remove(&device);
        }
    }
}

/// The part of telemetry that the server understands.
#[derive(Deserialize)]
struct Telemetry {
    attributes: Option<BTreeMap<String, String>>,
}

impl Ingest {
    /// Returns a device as it describes itself in its telemetry, unless that is nothing new.
    pub(super) fn described(&self, id: &DeviceId, payload: &str, now_ms: u64) -> Option<Device> {
        let attributes = serde_json::from_str::<Telemetry>(payload);
        let reported = match attributes {
            Ok(Telemetry { attributes: None }) => return None,
            Ok(Telemetry { attributes: Some(attributes) }) if are_attributes(&attributes) => {
                attributes
            }
            Ok(_) | Err(_) => {
                tracing::warn!(device.id = %id, "attributes in telemetry are passed over");
                return None;
            }
        };
        let device = self.fleet.device(id)?;
        if device.attributes.reported == reported {
            return None;
        }
        let attributes = Attributes { reported, given: device.attributes.given.clone() };
        Some(self.fleet.changed(Device { attributes, ..Device::clone(&device) }, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW_MS, Shop};

    #[test]
    fn nobody_is_remembered_for_longer_than_needed() {
        let changed = Changed::default();
        for n in 0..1000 {
            assert!(changed.note(&Shop::device(n), NOW_MS + u64::from(n) * 1000));
            let lately = changed.0.lock().unwrap();
            assert_eq!(lately.devices.len(), lately.by_time.len());
            assert!(lately.devices.len() <= 10);
        }
        assert!(changed.note(&Shop::device(999), NOW_MS), "the clock was set back");
        assert_eq!(changed.0.lock().unwrap().devices.len(), 1);
    }
}
