//! The catalogue: what changes seldom and every poll reads. It is replaced as a whole, so that a poll
//! reads it without waiting for anybody.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use semver::Version;
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

use super::members::Member;
use crate::domain::device::Status;
use crate::domain::rollout::{Route, Size};
use crate::domain::standing::Seat;
use crate::domain::{Device, Group, Pins, Product, Release, Rollout};

/// The releases of a product.
type Releases = BTreeMap<(Channel, Version), Arc<Release>>;

/// What changes seldom.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    pub(super) campaigns: BTreeMap<RolloutId, Arc<Campaign>>,
    pub(super) groups: BTreeMap<GroupId, Arc<Group>>,
    pub(super) pins: BTreeMap<ProductId, Pins>,
    pub(super) products: BTreeMap<ProductId, Arc<Product>>,
    pub(super) releases: BTreeMap<ProductId, Arc<Releases>>,
    /// Rollouts that were started, highest first.
    ranked: BTreeMap<ProductId, Arc<[Arc<Campaign>]>>,
}

/// A rollout with what it needs close at hand.
#[derive(Clone, Debug)]
pub(super) struct Campaign {
    /// Stands for its name where there are many.
    pub(super) number: u32,
    pub(super) rollout: Arc<Rollout>,
    pub(super) release: Arc<Release>,
    pub(super) stones: Arc<[Arc<Release>]>,
    pub(super) group: Arc<Group>,
    /// The rollout whose devices it is for, if it is the way back from one.
    pub(super) back_from: Option<u32>,
    /// The other groups that its plan names.
    canaries: BTreeMap<GroupId, Arc<Group>>,
    /// How many more devices could be let in, as far as was known a moment ago.
    room: Arc<AtomicU64>,
}

impl Campaign {
    /// Returns what the rollout brings.
    pub(super) fn route(&self) -> Route<'_> {
        Route { stones: &self.stones, end: &self.release }
    }

    /// Returns how many more devices could be let in, as far as was known a moment ago.
    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Takes one of the places that were left; tells whether there was one.
    pub(super) fn take_room(&self) -> bool {
        let take = |room: u64| room.checked_sub(1);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn set_room(&self, places: u64) {
        self.room.store(places, Ordering::Relaxed);
    }

    /// Returns the phase a device belongs to, if a started one reaches it.
    pub(super) fn phase_of(&self, member: &Member) -> Option<usize> {
        let device = &member.device;
        let is_in =
            |group: &GroupId| self.canaries.get(group).is_some_and(|it| it.contains(device));
        self.is_for(member).then(|| self.rollout.phase_of(&device.id, is_in))?
    }

    /// Tells whether a device is among those whom the rollout is for.
    pub(super) fn is_for(&self, member: &Member) -> bool {
        let switched = |rollout| member.deployment(rollout).is_some_and(|it| it.keeps_image());
        self.group.contains(&member.device) && self.back_from.is_none_or(switched)
    }

    /// Tells whether a change of a device may be one of where it counts.
    pub(super) fn may_count_anew(&self, old: &Device, new: &Device) -> bool {
        may_take_part(old) != may_take_part(new) || self.may_differ(old, new)
    }

    /// Tells whether a change of a device may be one of what it should run.
    pub(super) fn concerns(&self, old: &Device, new: &Device) -> bool {
        let is_in = |device| self.groups().map(|group| group.contains(device)).collect::<Vec<_>>();
        self.may_differ(old, new) && is_in(old) != is_in(new)
    }

    fn may_differ(&self, old: &Device, new: &Device) -> bool {
        self.groups().any(|group| group.may_differ(old, new))
    }

    /// Its group, and the others that its plan names.
    fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        iter::once(&self.group).chain(self.canaries.values())
    }

    /// Returns the phase a device counts in. Whoever has been heard of counts for ever, others as long
    /// as they belong to the group, are not shut out, and are below the ceiling of the release.
    pub(super) fn counts_in(&self, member: &Member) -> Option<usize> {
        let began_in =
            member.deployment(self.number).map(|deployment| usize::from(deployment.phase));
        began_in.or_else(|| self.would_count_in(member))
    }

    /// Returns the phase a device of which nothing was heard counts in.
    pub(super) fn would_count_in(&self, member: &Member) -> Option<usize> {
        let device = &member.device;
        let able = may_take_part(device) && self.release.is_open_to(&device.id);
        self.phase_of(member).filter(|_| able)
    }

    /// Returns a device's place in the rollout.
    pub(super) fn seat(&self, member: &Member) -> Option<Seat<'_>> {
        let deployment = member.deployment(self.number);
        let phase = match deployment {
            // Who leaves the group keeps what it began; see `Fleet::left_by`.
            Some(deployment) => Some(usize::from(deployment.phase)),
            None => self.phase_of(member).filter(|_| may_take_part(&member.device)),
        }?;
        let open = self.release.is_open_to(&member.device.id);
        let (rollout, route, member) = (&self.rollout, self.route(), self.is_for(member));
        Some(Seat { rollout, route, deployment, member, open, phase })
    }

    /// Tells whether devices may have moved to or from its phases since.
    fn reaches_as(&self, before: &Self) -> bool {
        self.release.ceiling_permille == before.release.ceiling_permille
            && is_same(&self.group, &before.group)
            && self.canaries.iter().zip(&before.canaries).all(|(a, b)| is_same(a.1, b.1))
    }
}

/// Tells whether the same devices belong to a group as before.
fn is_same(now: &Arc<Group>, before: &Arc<Group>) -> bool {
    Arc::ptr_eq(now, before) || now.members == before.members
}

/// Tells whether a device can be counted on: a revoked one is offered nothing.
pub(super) fn may_take_part(device: &Device) -> bool {
    device.status != Status::Revoked
}

impl Catalogue {
    /// Returns the rollouts of a product that were started, highest first.
    pub(super) fn ranked(&self, product: &ProductId) -> &[Arc<Campaign>] {
        self.ranked.get(product).map_or(&[], |ranked| ranked)
    }

    /// Returns a device's places in the rollouts that have started and reach it, highest first.
    pub(super) fn seats(&self, member: &Member) -> Vec<Seat<'_>> {
        let ranked = self.ranked(&member.device.product).iter();
        ranked.filter_map(|campaign| campaign.seat(member)).collect()
    }

    /// Returns the rollouts that are not over.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.campaigns.values().filter(|campaign| !campaign.rollout.state.is_final())
    }

    /// Returns the rollouts that a device takes or took part in.
    pub(super) fn campaigns_of(&self, member: &Member) -> impl Iterator<Item = &Arc<Campaign>> {
        let numbers = member.deployments().iter().map(|(number, _)| *number);
        numbers.filter_map(|number| self.numbered(number))
    }

    /// Returns the number of a rollout.
    pub(super) fn number(&self, rollout: &RolloutId) -> Option<u32> {
        self.campaigns.get(rollout).map(|campaign| campaign.number)
    }

    /// Returns the rollout with a number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Arc<Campaign>> {
        self.campaigns.values().find(|campaign| campaign.number == number)
    }

    /// Replaces the releases of a product.
    pub(super) fn put_releases(&mut self, product: &ProductId, releases: Vec<Release>) {
        let by_version = releases.into_iter().map(|release| {
            let key = (release.channel.clone(), release.version.clone());
            (key, Arc::new(release))
        });
        self.releases.insert(product.clone(), Arc::new(by_version.collect()));
        self.renew(product);
    }

    /// Adds or replaces a group.
    pub(super) fn put_group(&mut self, group: Group) {
        let product = group.product.clone();
        self.groups.insert(group.id.clone(), Arc::new(group));
        self.renew(&product);
    }

    /// Adds or replaces a rollout; tells whether its release and groups are there.
    pub(super) fn put_rollout(&mut self, rollout: Rollout) -> bool {
        let (id, product) = (rollout.id.clone(), rollout.product.clone());
        let Some(campaign) = self.campaign(Arc::new(rollout)) else { return false };
        self.campaigns.insert(id, Arc::new(campaign));
        self.rank(&product);
        true
    }

    /// Returns the rollouts whose phases may reach other devices than before.
    pub(super) fn moved_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = &'a Arc<Campaign>> {
        self.campaigns.values().filter(|campaign| {
            let old = before.campaigns.get(&campaign.rollout.id);
            old.is_none_or(|old| !campaign.reaches_as(old))
        })
    }

    /// Puts the rollouts of a product together anew.
    fn renew(&mut self, product: &ProductId) {
        let all = self.campaigns.values().filter(|it| it.rollout.product == *product);
        let rollouts: Vec<_> = all.map(|campaign| Arc::clone(&campaign.rollout)).collect();
        for rollout in rollouts {
            if let Some(campaign) = self.campaign(Arc::clone(&rollout)) {
                self.campaigns.insert(rollout.id.clone(), Arc::new(campaign));
            }
        }
        self.rank(product);
    }

    /// Puts a rollout together with its releases and groups.
    pub(super) fn campaign(&self, rollout: Arc<Rollout>) -> Option<Campaign> {
        let before = self.campaigns.get(&rollout.id);
        let releases = self.releases.get(&rollout.product)?;
        let release = |version: &Version| {
            releases.get(&(rollout.channel.clone(), version.clone())).map(Arc::clone)
        };
        let stones = rollout.plan.stepping_stones.iter().map(release);
        let named = rollout.plan.phases.iter().filter_map(|phase| match &phase.size {
            Size::Group(group) => Some(group),
            Size::Count(_) | Size::Percent(_) => None,
        });
        let canaries = named.map(|id| Some((id.clone(), Arc::clone(self.groups.get(id)?))));
        let next = || u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX);
        Some(Campaign {
            number: before.map_or_else(next, |before| before.number),
            release: release(&rollout.version)?,
            stones: stones.collect::<Option<_>>()?,
            group: Arc::clone(self.groups.get(&rollout.group)?),
            back_from: match &rollout.plan.switched_by {
                Some(rollout) => Some(self.number(rollout)?),
                None => None,
            },
            canaries: canaries.collect::<Option<_>>()?,
            room: before.map(|before| Arc::clone(&before.room)).unwrap_or_default(),
            rollout,
        })
    }

    /// Whose plan says so comes first, then whoever was started last.
    fn rank(&mut self, product: &ProductId) {
        let of_product = self.campaigns.values().filter(|it| it.rollout.product == *product);
        let started = of_product.filter(|campaign| campaign.rollout.started_at.is_some());
        let mut ranked: Vec<_> = started.map(Arc::clone).collect();
        ranked.sort_by_cached_key(|campaign| {
            let rollout = &campaign.rollout;
            Reverse((rollout.plan.priority, rollout.started_at, rollout.id.clone()))
        });
        self.ranked.insert(product.clone(), ranked.into());
    }
}
