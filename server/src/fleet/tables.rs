//! The tables behind the fleet's lock.
//!
//! Counts per rollout and phase are kept up to date with every deployment. How many members a phase
//! has is counted anew only after devices or groups changed, and never by a poll.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use semver::Version;
use waxwing_wire::report::State;
use waxwing_wire::{Channel, DeviceId, GroupId, ProductId, RolloutId};

use crate::domain::device::Status;
use crate::domain::rollout::Counts;
use crate::domain::{Deployment, Device, Group, Product, Release, Rollout};

/// Everything in memory.
#[derive(Debug, Default)]
pub struct Tables {
    pub(super) campaigns: BTreeMap<RolloutId, Campaign>,
    pub(super) groups: BTreeMap<GroupId, Arc<Group>>,
    pub(super) members: HashMap<DeviceId, Member>,
    pub(super) products: BTreeMap<ProductId, Arc<Product>>,
    pub(super) releases: BTreeMap<ProductId, BTreeMap<(Channel, Version), Arc<Release>>>,
    /// Rollouts that were started, newest first.
    started: BTreeMap<ProductId, Vec<RolloutId>>,
    /// Counts changes of devices and groups: when it moves, phases may have other members.
    generation: u64,
}

/// A device and its part in the rollouts.
#[derive(Debug)]
pub struct Member {
    pub(super) device: Arc<Device>,
    deployments: Vec<(RolloutId, Deployment)>,
}

/// A rollout with what it needs close at hand.
#[derive(Debug)]
pub struct Campaign {
    pub(super) rollout: Arc<Rollout>,
    pub(super) release: Arc<Release>,
    group: Arc<Group>,
    /// Per phase, the devices that have been heard of.
    known: Vec<Counts>,
    /// Per phase, how many members there are, and in which generation they were counted.
    members: (u64, Vec<u64>),
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
}

/// Tells whether a device can be counted on: a revoked one is offered nothing.
pub(super) fn may_take_part(device: &Device) -> bool {
    device.status != Status::Revoked
}

/// Tells whether a change of a device may change who is a member of what.
fn moves(old: &Device, new: &Device) -> bool {
    old.tags != new.tags || may_take_part(old) != may_take_part(new)
}

impl Tables {
    /// Adds or replaces a product.
    pub fn put_product(&mut self, product: Product) {
        self.products.insert(product.id.clone(), Arc::new(product));
    }

    /// Adds or replaces a device.
    pub fn put_device(&mut self, device: Device) {
        match self.members.get_mut(&device.id) {
            Some(member) => {
                self.generation += u64::from(moves(&member.device, &device));
                member.device = Arc::new(device);
            }
            None => {
                self.generation += 1;
                let id = device.id.clone();
                let member = Member { device: Arc::new(device), deployments: Vec::new() };
                self.members.insert(id, member);
            }
        }
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
            if let Some(release) = releases.get(&key) {
                campaign.release = Arc::clone(release);
            }
        }
        self.releases.insert(product.clone(), releases);
    }

    /// Adds or replaces a rollout. Its release and group must be there.
    pub fn put_rollout(&mut self, rollout: Rollout) {
        let (id, product) = (rollout.id.clone(), rollout.product.clone());
        let phases = rollout.started().count();
        let rollout = Arc::new(rollout);
        if let Some(campaign) = self.campaigns.get_mut(&id) {
            campaign.rollout = rollout;
            campaign.known.resize(phases, Counts::default());
            campaign.members = Default::default();
        } else {
            let key = (rollout.channel.clone(), rollout.version.clone());
            let release = self.releases.get(&product).and_then(|releases| releases.get(&key));
            let (Some(release), Some(group)) = (release, self.groups.get(&rollout.group)) else {
                tracing::error!(rollout.id = %id, "a rollout without release or group is left out");
                return;
            };
            let (release, group) = (Arc::clone(release), Arc::clone(group));
            let known = vec![Counts::default(); phases];
            let members = Default::default();
            self.campaigns.insert(id, Campaign { rollout, release, group, known, members });
        }
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
        let Some(phase) = campaign.rollout.phase_of(device) else { return };
        let Some(known) = campaign.known.get_mut(phase) else { return };
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
        members.chain(releases).chain(rollouts).max().unwrap_or(0)
    }

    /// Returns the counts of a rollout if its members need not be counted again.
    pub(super) fn fresh_counts(&self, rollout: &RolloutId) -> Option<Vec<Counts>> {
        let Some(campaign) = self.campaigns.get(rollout) else { return Some(Vec::new()) };
        let (generation, members) = &campaign.members;
        if *generation != self.generation || members.len() != campaign.known.len() {
            return None;
        }
        let known = campaign.known.iter().zip(members);
        Some(known.map(|(counts, members)| with_waiting(*counts, *members)).collect())
    }

    /// Counts the members of a rollout again and returns its counts.
    pub(super) fn refresh_counts(&mut self, rollout: &RolloutId) -> Vec<Counts> {
        let Some(campaign) = self.campaigns.get(rollout) else { return Vec::new() };
        let mut members = vec![0; campaign.known.len()];
        for member in self.members.values() {
            let phase = if member.deployment(rollout).is_some() {
                campaign.rollout.phase_of(&member.device.id)
            } else {
                campaign.phase_of(&member.device).filter(|_| may_take_part(&member.device))
            };
            if let Some(count) = phase.and_then(|phase| members.get_mut(phase)) {
                *count += 1;
            }
        }
        if let Some(campaign) = self.campaigns.get_mut(rollout) {
            campaign.members = (self.generation, members);
        }
        self.fresh_counts(rollout).unwrap_or_default()
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

/// Completes the counts of a phase: members nothing is known of are waiting.
fn with_waiting(mut known: Counts, members: u64) -> Counts {
    known.add_many(State::Waiting, members.saturating_sub(known.total()));
    known
}
