//! What polls and telemetry tell that may move a device from group to group.
//!
//! Not here: writing it down.

use std::sync::Arc;

use waxwing_wire::{DeviceId, GroupId};

use super::Fleet;
use super::catalogue::{Catalogue, may_take_part};
use super::index::Search;
use super::ledger::Ledger;
use super::packed::Member;
use crate::domain::{Device, Rollout, Sighting};

impl Fleet {
    /// Returns the devices that were seen with another version than before, as they are now. Where that
    /// changes what a device should run, it is a change of now (D3).
    pub fn seen_changed(&self, sightings: &[(DeviceId, Sighting)]) -> Vec<Device> {
        let catalogue = self.shared.catalogue.load();
        let changed = sightings.iter().filter_map(|(id, seen)| {
            let version = &seen.running.version;
            let is_new = |member: &Member<'_>| member.version.as_ref() != Some(version);
            let is_new = self.shared.members.with(id, is_new)?;
            let old = is_new.then(|| self.device(id))??;
            Some((seen.at, Device { version: Some(Arc::new(version.clone())), ..old }))
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
            let mut ranked = catalogue.ranked(new.product.as_str()).iter();
            ranked.any(|campaign| campaign.concerns(&old, &new))
        });
        if is_concerned { Device { changed_at: self.stamp(now_ms), ..new } } else { new }
    }

    /// Returns how many devices of a group may take part in a rollout: 0 of a group that is not there.
    pub fn member_count(&self, group: &GroupId) -> u64 {
        self.group(group).map_or(0, |group| self.searching(&self.ledger()).able(&group).len())
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub fn members_of(&self, group: &GroupId) -> Vec<DeviceId> {
        let Some(group) = self.group(group) else { return Vec::new() };
        let ledger = self.ledger();
        let search = self.searching(&ledger);
        let name = |member: &Member<'_>| -> DeviceId { member.id() };
        search.devices(&search.able(&group), 0, name).collect()
    }

    /// Returns the devices that a rollout is for and that may take part: those of its group, or those that
    /// switched to the image of the rollout that it is the way back from.
    pub fn meant_by(&self, rollout: &Rollout) -> Vec<DeviceId> {
        let Some(from) = &rollout.plan.switched_by else { return self.members_of(&rollout.group) };
        let Some(from) = self.shared.catalogue.load().number(from) else { return Vec::new() };
        let mut meant = Vec::new();
        self.shared.members.for_each(|member| {
            if member.has_switched_by(from) && may_take_part(member.status) {
                meant.push(member.id());
            }
        });
        meant
    }

    pub(super) fn searching<'a>(&'a self, ledger: &'a Ledger) -> Search<'a> {
        Search { index: &ledger.index, members: &self.shared.members }
    }
}
