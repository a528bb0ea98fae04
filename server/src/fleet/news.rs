//! What polls and telemetry tell that may move a device from group to group.
//!
//! Not here: writing it down.

use std::sync::Arc;

use waxwing_wire::{DeviceId, GroupId};

use super::Fleet;
use super::tables::Tables;
use crate::domain::{Device, Sighting};

impl Fleet {
    /// Returns the devices that were seen with another version than before, as they are now. Where that
    /// changes what a device should run, it is a change of now (D3).
    pub fn seen_changed(&self, sightings: &[(DeviceId, Sighting)]) -> Vec<Device> {
        let tables = self.read();
        let changed = sightings.iter().filter_map(|(id, seen)| {
            let old = &tables.members.get(id)?.device;
            let version = &seen.running.version;
            let is_new = old.version.as_deref() != Some(version);
            let new = || Device { version: Some(Arc::new(version.clone())), ..Device::clone(old) };
            is_new.then(|| (seen.at, new()))
        });
        changed.map(|(now_ms, new)| self.stamped(&tables, new, now_ms)).collect()
    }

    /// Gives a device that changed the time of now, if its groups change what it should run (D3).
    #[must_use]
    pub fn changed(&self, new: Device, now_ms: u64) -> Device {
        self.stamped(&self.read(), new, now_ms)
    }

    fn stamped(&self, tables: &Tables, new: Device, now_ms: u64) -> Device {
        let old = tables.members.get(&new.id).map(|member| &member.device);
        let is_concerned = old.is_some_and(|old| {
            tables.campaigns_of(&new.product).any(|campaign| campaign.concerns(old, &new))
        });
        if is_concerned { Device { changed_at: self.stamp(now_ms), ..new } } else { new }
    }

    /// Returns how many devices of a group may take part in a rollout: 0 of a group that is not there.
    pub fn member_count(&self, group: &GroupId) -> u64 {
        let tables = self.read();
        tables.groups.get(group).map_or(0, |group| tables.able(group).len())
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub fn members_of(&self, group: &GroupId) -> Vec<DeviceId> {
        let tables = self.read();
        let Some(group) = tables.groups.get(group) else { return Vec::new() };
        let able = tables.able(group);
        tables.index.devices(&able, 0).map(|(_, device)| device.id.clone()).collect()
    }
}
