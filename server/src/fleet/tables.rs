//! The tables behind the fleet's lock.
//!
//! Counts per rollout and phase are kept up to date with every device and deployment; all devices
//! are gone through only when a phase starts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;
use semver::Version;
use waxwing_wire::report::State;
use waxwing_wire::{Channel, DeviceId, GroupId, ProductId, RolloutId};

use super::Index;
use crate::domain::device::Status;
use crate::domain::rollout::Counts;
use crate::domain::{Deployment, Device, Group, Pins, Product, Release, Rollout};

/// Everything in memory.
#[derive(Debug, Default)]
pub struct Tables {
    pub(super) campaigns: BTreeMap<RolloutId, Campaign>,
    pub(super) groups: BTreeMap<GroupId, Arc<Group>>,
    pub(super) index: Index,
    pub(super) members: HashMap<DeviceId, Member>,
    pub(super) pins: BTreeMap<ProductId, Pins>,
    pub(super) products: BTreeMap<ProductId, Arc<Product>>,
    pub(super) releases: BTreeMap<ProductId, BTreeMap<(Channel, Version), Arc<Release>>>,
    /// Rollouts that were started, newest first.
    started: BTreeMap<ProductId, Vec<RolloutId>>,
}

/// A device and its part in the rollouts.
#[derive(Debug)]
pub struct Member {
    pub(super) device: Arc<Device>,
    /// Its place in the index.
    number: u32,
    deployments: Vec<(RolloutId, Deployment)>,
}

/// A rollout with what it needs close at hand.
#[derive(Debug)]
pub struct Campaign {
    pub(super) rollout: Arc<Rollout>,
    pub(super) release: Arc<Release>,
    group: Arc<Group>,
    /// Its started phases.
    phases: Vec<PhaseCount>,
}

/// The devices of a phase.
#[derive(Clone, Copy, Debug, Default)]
struct PhaseCount {
    /// Those that have been heard of.
    known: Counts,
    /// All of them.
    members: u64,
}

impl Member {
    pub(super) fn deployment(&self, rollout: &RolloutId) -> Option<Deployment> {
        self.deployments.iter().find(|(id, _)| id == rollout).map(|(_, deployment)| *deployment)
    }

    pub(super) fn deployments(&self) -> Vec<(RolloutId, Deployment)> {
        self.deployments.clone()
    }
}

impl Campaign {
    /// Returns the phase a device belongs to, if a started one reaches it.
    pub(super) fn phase_of(&self, device: &Device) -> Option<usize> {
        if !self.group.contains(device) {
            return None;
        }
        self.rollout.phase_of(&device.id)
    }

    /// Returns the phase that decides about a device, and whether it is in the group: whoever has begun
    /// is not let go when it leaves.
    pub(super) fn seat_of(&self, member: &Member) -> Option<(usize, bool)> {
        let inside = self.group.contains(&member.device);
        let has_begun = member.deployment(&self.rollout.id).is_some();
        let phase = self.rollout.phase_of(&member.device.id).filter(|_| inside || has_begun);
        phase.map(|phase| (phase, inside))
    }

    /// Tells whether a change of a device may be one of where it counts.
    fn may_count_anew(&self, old: &Device, new: &Device) -> bool {
        may_take_part(old) != may_take_part(new) || self.group.may_differ(old, new)
    }

    /// Tells whether a change of a device may be one of what it should run.
    pub(super) fn concerns(&self, old: &Device, new: &Device) -> bool {
        self.group.may_differ(old, new) && self.group.contains(old) != self.group.contains(new)
    }

    /// Returns the phase a device counts in. Whoever has been heard of counts for ever, others as long
    /// as they belong to the group, are not shut out, and are below the ceiling of the release.
    fn counts_in(&self, member: &Member) -> Option<usize> {
        if member.deployment(&self.rollout.id).is_some() {
            return self.rollout.phase_of(&member.device.id);
        }
        let able = may_take_part(&member.device) && self.release.is_open_to(&member.device.id);
        self.phase_of(&member.device).filter(|_| able)
    }

    /// Counts the members of all started phases from the beginning.
    fn count_anew<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        self.phases.iter_mut().for_each(|phase| phase.members = 0);
        for member in members {
            self.move_member(None, self.counts_in(member));
        }
    }

    /// Counts a device in another phase than before.
    fn move_member(&mut self, before: Option<usize>, after: Option<usize>) {
        if before == after {
            return;
        }
        if let Some(phase) = before.and_then(|phase| self.phases.get_mut(phase)) {
            phase.members = phase.members.saturating_sub(1);
        }
        if let Some(phase) = after.and_then(|phase| self.phases.get_mut(phase)) {
            phase.members += 1;
        }
    }

    /// Returns the counts of each phase; members that nothing is known of are waiting.
    fn counts(&self) -> Vec<Counts> {
        let complete = |PhaseCount { mut known, members }: PhaseCount| {
            known.add_many(State::Waiting, members.saturating_sub(known.total()));
            known
        };
        self.phases.iter().copied().map(complete).collect()
    }
}

/// Tells whether a device can be counted on: a revoked one is offered nothing.
pub(super) fn may_take_part(device: &Device) -> bool {
    device.status != Status::Revoked
}

impl Tables {
    /// Adds or replaces a product.
    pub fn put_product(&mut self, product: Product) {
        self.products.insert(product.id.clone(), Arc::new(product));
    }

    /// Adds or replaces the pins of a product.
    pub fn put_pins(&mut self, product: &ProductId, pins: Pins) {
        self.pins.insert(product.clone(), pins);
    }

    /// Adds or replaces a device.
    pub fn put_device(&mut self, device: Device) {
        let (id, product) = (device.id.clone(), device.product.clone());
        let old = self.members.get(&id);
        let deployments = old.map(Member::deployments).unwrap_or_default();
        let version = device.version.map(|version| self.index.shared(version));
        let device = Arc::new(Device { version, ..device });
        let number = self.index.put(old.map(|old| old.number), &device);
        let new = Member { device, number, deployments };
        let campaigns = self.campaigns.values_mut();
        for campaign in campaigns.filter(|campaign| campaign.rollout.product == product) {
            if old.is_some_and(|old| !campaign.may_count_anew(&old.device, &new.device)) {
                continue;
            }
            let before = old.and_then(|old| campaign.counts_in(old));
            campaign.move_member(before, campaign.counts_in(&new));
        }
        self.members.insert(id, new);
    }

    /// Adds a group.
    pub fn put_group(&mut self, group: Group) {
        self.groups.insert(group.id.clone(), Arc::new(group));
    }

    /// Replaces the releases of a product.
    pub fn put_releases(&mut self, product: &ProductId, releases: Vec<Release>) {
        let by_version = releases.into_iter().map(|release| {
            let key = (release.channel.clone(), release.version.clone());
            (key, Arc::new(release))
        });
        let releases: BTreeMap<_, _> = by_version.collect();
        for campaign in self.campaigns.values_mut().filter(|c| c.rollout.product == *product) {
            let key = (campaign.rollout.channel.clone(), campaign.rollout.version.clone());
            let Some(release) = releases.get(&key) else { continue };
            let before = std::mem::replace(&mut campaign.release, Arc::clone(release));
            if before.ceiling_permille != release.ceiling_permille {
                campaign.count_anew(self.members.values());
            }
        }
        self.releases.insert(product.clone(), releases);
    }

    /// Adds or replaces a rollout. Its release and group must be there.
    pub fn put_rollout(&mut self, rollout: Rollout) {
        let (id, product) = (rollout.id.clone(), rollout.product.clone());
        let rollout = Arc::new(rollout);
        if let Some(campaign) = self.campaigns.get_mut(&id) {
            campaign.rollout = rollout;
        } else if let Some(campaign) = self.campaign(rollout) {
            self.campaigns.insert(id.clone(), campaign);
        } else {
            tracing::error!(rollout.id = %id, "a rollout without release or group is left out");
            return;
        }
        self.count_started_phases(&id);
        self.sort_started(&product);
    }

    /// Adds or replaces a deployment.
    pub fn put_deployment(
        &mut self,
        device: &DeviceId,
        rollout: &RolloutId,
        deployment: Deployment,
    ) {
        let Some(member) = self.members.get_mut(device) else { return };
        let before = member.deployment(rollout);
        member.deployments.retain(|(id, _)| id != rollout);
        member.deployments.push((rollout.clone(), deployment));
        let Some(campaign) = self.campaigns.get_mut(rollout) else { return };
        if before.is_none() {
            let able = may_take_part(&member.device);
            let counted = campaign.phase_of(&member.device).filter(|_| able);
            campaign.move_member(counted, campaign.counts_in(member));
        }
        let Some(phase) = campaign.rollout.phase_of(device) else { return };
        let Some(PhaseCount { known, .. }) = campaign.phases.get_mut(phase) else { return };
        if let Some(before) = before {
            known.remove(before.state);
        }
        known.add(deployment.state);
    }

    /// Returns the rollouts of a product that were started, newest first.
    pub(super) fn campaigns_of(&self, product: &ProductId) -> impl Iterator<Item = &Campaign> {
        let started = self.started.get(product).into_iter().flatten();
        started.filter_map(|id| self.campaigns.get(id))
    }

    /// Returns the latest time of any change that decisions look at.
    pub(super) fn latest_change(&self) -> u64 {
        let members = self.members.values().flat_map(|member| {
            let deployments =
                member.deployments.iter().map(|(_, deployment)| deployment.changed_at);
            deployments.chain([member.device.changed_at])
        });
        let releases = self.releases.values().flat_map(|all| all.values().map(|r| r.changed_at));
        let rollouts = self.campaigns.values().flat_map(|campaign| {
            let phases = campaign.rollout.started().map(|phase| phase.at);
            phases.chain([campaign.rollout.changed_at])
        });
        let pins = self.pins.values().map(|pins| pins.changed_at);
        members.chain(releases).chain(rollouts).chain(pins).max().unwrap_or(0)
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub(super) fn able(&self, group: &Group) -> RoaringBitmap {
        self.index.able(group, |device| self.members.get(device).map(|member| member.number))
    }

    /// Returns the counts of each started phase of a rollout.
    pub(super) fn counts(&self, rollout: &RolloutId) -> Vec<Counts> {
        self.campaigns.get(rollout).map(Campaign::counts).unwrap_or_default()
    }

    /// Puts a rollout together with its release and group.
    fn campaign(&self, rollout: Arc<Rollout>) -> Option<Campaign> {
        let key = (rollout.channel.clone(), rollout.version.clone());
        let release = Arc::clone(self.releases.get(&rollout.product)?.get(&key)?);
        let group = Arc::clone(self.groups.get(&rollout.group)?);
        Some(Campaign { rollout, release, group, phases: Vec::new() })
    }

    /// Counts the members of the phases that have started since the last time. Those before keep
    /// theirs: a cut-off is never moved.
    fn count_started_phases(&mut self, rollout: &RolloutId) {
        let Some(campaign) = self.campaigns.get_mut(rollout) else { return };
        let counted = campaign.phases.len();
        campaign.phases.resize(campaign.rollout.started().count(), PhaseCount::default());
        if campaign.phases.len() == counted {
            return;
        }
        for member in self.members.values() {
            let after = campaign.counts_in(member).filter(|phase| *phase >= counted);
            campaign.move_member(None, after);
        }
    }

    fn sort_started(&mut self, product: &ProductId) {
        let of_product = self.campaigns.values().map(|campaign| &campaign.rollout);
        let mut started: Vec<_> = of_product
            .filter(|rollout| rollout.product == *product)
            .filter_map(|rollout| Some((rollout.started_at?, rollout.id.clone())))
            .collect();
        started.sort_unstable_by(|one, other| other.cmp(one));
        let started = started.into_iter().map(|(_, id)| id).collect();
        self.started.insert(product.clone(), started);
    }
}

#[cfg(test)]
mod tests;
