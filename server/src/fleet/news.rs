//! What polls and telemetry tell that may move a device from group to group.
//!
//! Not here: writing it down.

use std::sync::Arc;

use roaring::RoaringBitmap;
use waxwing_wire::{DeviceId, GroupId};

use super::Fleet;
use super::catalogue::Catalogue;
use super::ledger::Ledger;
use crate::domain::{Device, Group, Sighting};

impl Fleet {
    /// Returns the devices that were seen with another version than before, as they are now. Where that
    /// changes what a device should run, it is a change of now (D3).
    pub fn seen_changed(&self, sightings: &[(DeviceId, Sighting)]) -> Vec<Device> {
        let catalogue = self.shared.catalogue.load();
        let changed = sightings.iter().filter_map(|(id, seen)| {
            let old = self.device(id)?;
            let version = &seen.running.version;
            let is_new = old.version.as_deref() != Some(version);
            let new = || Device { version: Some(Arc::new(version.clone())), ..Device::clone(&old) };
            is_new.then(|| (seen.at, new()))
        });
        changed.map(|(now_ms, new)| self.stamped(&catalogue, new, now_ms)).collect()
    }

    /// Gives a device that changed the time of now, if its groups change what it should run (D3).
    #[must_use]
    pub fn changed(&self, new: Device, now_ms: u64) -> Device {
        self.stamped(&self.shared.catalogue.load(), new, now_ms)
    }

    fn stamped(&self, catalogue: &Catalogue, new: Device, now_ms: u64) -> Device {
        let is_concerned = self.device(&new.id).is_some_and(|old| {
            let mut ranked = catalogue.ranked(&new.product).iter();
            ranked.any(|campaign| campaign.concerns(&old, &new))
        });
        if is_concerned { Device { changed_at: self.stamp(now_ms), ..new } } else { new }
    }

    /// Returns how many devices of a group may take part in a rollout: 0 of a group that is not there.
    pub fn member_count(&self, group: &GroupId) -> u64 {
        self.group(group).map_or(0, |group| self.able(&self.ledger(), &group).len())
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub fn members_of(&self, group: &GroupId) -> Vec<Arc<Device>> {
        let Some(group) = self.group(group) else { return Vec::new() };
        let ledger = self.ledger();
        let able = self.able(&ledger, &group);
        ledger.index.devices(&able, 0).map(|(_, device)| Arc::clone(device)).collect()
    }

    pub(super) fn able(&self, ledger: &Ledger, group: &Group) -> RoaringBitmap {
        let number_of = |device: &DeviceId| self.shared.members.with(device, |it| it.number);
        ledger.index.able(group, number_of)
    }
}
