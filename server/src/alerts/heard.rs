//! When devices last said something by a message. Devices that never poll are known to live by that.
//!
//! Written behind, minutes later, one row for each device; what a crash takes comes with the next message.
//! Bounded by the number of devices. Not here: polls, which are written with what was seen.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use waxwing_wire::DeviceId;

/// What was heard and is not written yet.
#[derive(Debug, Default)]
pub struct Heard(Mutex<HashMap<DeviceId, u64>>);

impl Heard {
    /// Takes note that a device said something, at a time in Unix milliseconds.
    pub fn note(&self, device: &DeviceId, at_ms: u64) {
        let mut heard = self.lock();
        match heard.get_mut(device) {
            Some(last) => *last = at_ms.max(*last),
            None => drop(heard.insert(device.clone(), at_ms)),
        }
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<(DeviceId, u64)> {
        mem::take(&mut *self.lock()).into_iter().collect()
    }

    /// Puts back what could not be written.
    pub fn put_back(&self, heard: &[(DeviceId, u64)]) {
        for (device, at_ms) in heard {
            self.note(device, *at_ms);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
