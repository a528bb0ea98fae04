//! What polls leave behind: who was seen with what, and who was offered what.
//!
//! Written to the database once a second, one row per device however often it polled. What is lost
//! in a crash comes back with the next poll. Bounded by the number of devices.

use std::hash::BuildHasher as _;
use std::mem;
use std::sync::{Mutex, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};
use waxwing_wire::DeviceId;

use crate::domain::Sighting;

/// Polls of different devices hardly ever wait for each other.
const SHARDS: usize = 64;

/// Sightings that are not written yet.
#[derive(Debug)]
pub struct Sightings {
    /// A quick one: only registered devices are noted.
    hasher: DefaultHashBuilder,
    shards: [Mutex<HashMap<DeviceId, Sighting>>; SHARDS],
}

impl Default for Sightings {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Sightings {
    /// Remembers the latest sighting of a device.
    pub fn note(&self, device: &DeviceId, sighting: Sighting) {
        let Some(shard) = self.shard(device) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(device) {
            Some(last) => {
                let (begun_before, out_s) = (last.begins.take(), last.running.out_s);
                *last = sighting;
                last.begins = last.begins.take().or(begun_before);
                // Said once, after the time without contact.
                last.running.out_s = last.running.out_s.max(out_s);
            }
            None => drop(shard.insert(device.clone(), sighting)),
        }
    }

    /// Takes everything out, in the order in which devices polled: who comes first is served first.
    pub fn take(&self) -> Vec<(DeviceId, Sighting)> {
        let shards = self.shards.iter();
        let take = |shard: &Mutex<HashMap<_, _>>| {
            mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let mut all: Vec<(DeviceId, Sighting)> = shards.flat_map(take).collect();
        all.sort_unstable_by(|one, other| (one.1.at, &one.0).cmp(&(other.1.at, &other.0)));
        all
    }

    /// Puts back what could not be written, unless the device was seen again.
    pub fn put_back(&self, sightings: Vec<(DeviceId, Sighting)>) {
        for (device, sighting) in sightings {
            let Some(shard) = self.shard(&device) else { continue };
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let newer = shard.entry(device).or_insert_with(|| sighting.clone());
            newer.begins = newer.begins.take().or(sighting.begins);
            newer.running.out_s = newer.running.out_s.max(sighting.running.out_s);
        }
    }

    fn shard(&self, device: &DeviceId) -> Option<&Mutex<HashMap<DeviceId, Sighting>>> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let number = self.hasher.hash_one(device) % shards;
        self.shards.get(usize::try_from(number).ok()?)
    }
}
