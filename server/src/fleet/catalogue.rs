//! The catalogue: what changes seldom and every poll reads. It is replaced as a whole, so that a poll
//! reads it without waiting for anybody.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use semver::Version;
use waxwing_wire::report::State as Step;
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

use super::packed::Member;
use crate::domain::device::Status;
use crate::domain::rollout::{Route, Size, State};
use crate::domain::standing::Seat;
use crate::domain::{Deployment, Device, Group, Pins, Product, Release, Rollout};

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
    /// Every rollout, by its number.
    numbered: Vec<Arc<Campaign>>,
    ranked: BTreeMap<ProductId, Ranked>,
}

/// The rollouts of a product that were started, highest first.
#[derive(Clone, Debug, Default)]
struct Ranked {
    all: Arc<[Arc<Campaign>]>,
    /// How many of them, from the highest on, come before all others that may let a device begin.
    deciding: usize,
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
    pub(super) fn phase_of(&self, member: &Member<'_>) -> Option<usize> {
        let is_in =
            |group: &GroupId| self.canaries.get(group).is_some_and(|it| it.contains(member));
        self.is_for(member).then(|| self.rollout.phase_of(&member.id(), is_in))?
    }

    /// Tells whether a device is among those whom the rollout is for. Who switched may have left the group
    /// by that, if it is one of older versions; the way back is for it all the same.
    pub(super) fn is_for(&self, member: &Member<'_>) -> bool {
        match self.back_from {
            Some(rollout) => member.has_switched_by(rollout),
            None => self.group.contains(member),
        }
    }

    /// Tells whether a change of a device may be one of where it counts.
    pub(super) fn may_count_anew(&self, old: &Device, new: &Device) -> bool {
        may_take_part(old.status) != may_take_part(new.status) || self.may_differ(old, new)
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

    /// Returns the phase a device counts in. Whoever has begun counts for ever, others as long as they
    /// belong to the group, are not shut out, and are below the ceiling of the release.
    pub(super) fn counts_in(&self, member: &Member<'_>) -> Option<usize> {
        self.counts_with(member, self.counted(member).as_ref())
    }

    /// As [`Self::counts_in`], if this is what has become of it.
    pub(super) fn counts_with(
        &self,
        member: &Member<'_>,
        counted: Option<&Deployment>,
    ) -> Option<usize> {
        let began_in = counted.map(|deployment| usize::from(deployment.phase));
        began_in.or_else(|| self.would_count_in(member))
    }

    /// Returns what has become of a device, if that counts.
    pub(super) fn counted(&self, member: &Member<'_>) -> Option<Deployment> {
        member.deployment(self.number).filter(|it| self.still_counts(member, it))
    }

    /// Tells whether what has become of a device counts. Whose offer was taken back is where it began: if it
    /// has left the group since, it will never be offered anything again, and nobody must wait for it.
    pub(super) fn still_counts(&self, member: &Member<'_>, it: &Deployment) -> bool {
        it.state != Step::Waiting || it.hop > 0 || self.is_for(member)
    }

    /// Returns the phase a device of which nothing was heard counts in.
    pub(super) fn would_count_in(&self, member: &Member<'_>) -> Option<usize> {
        let is_able = may_take_part(member.status) && self.is_open_to(member);
        if is_able { self.phase_of(member) } else { None }
    }

    /// Tells whether a device may install the release as far as its ceiling goes (D10).
    fn is_open_to(&self, member: &Member<'_>) -> bool {
        self.release.ceiling_permille.is_none() || self.release.is_open_to(&member.id())
    }

    /// Returns a device's place in the rollout.
    pub(super) fn seat(&self, member: &Member<'_>) -> Option<Seat<'_>> {
        let deployment = member.deployment(self.number);
        let phase = match deployment {
            // Who leaves the group keeps what it began.
            Some(deployment) => Some(usize::from(deployment.phase)),
            None if may_take_part(member.status) => self.phase_of(member),
            None => None,
        }?;
        let open = self.is_open_to(member);
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
pub(super) fn may_take_part(status: Status) -> bool {
    status != Status::Revoked
}

impl Catalogue {
    /// Returns the rollouts of a product that were started, highest first.
    pub(super) fn ranked(&self, product: &str) -> &[Arc<Campaign>] {
        self.ranked.get(product).map_or(&[], |ranked| &ranked.all)
    }

    /// Returns a device's places in the rollouts that have started and reach it, highest first.
    pub(super) fn seats(&self, member: &Member<'_>) -> Vec<Seat<'_>> {
        let ranked = self.ranked(member.product).iter();
        ranked.filter_map(|campaign| campaign.seat(member)).collect()
    }

    /// Returns those of a device's places on which the answer to a poll depends, highest first: where
    /// the device is under way, and down to the first rollout that decides what begins for it. What
    /// else there is, such as rollouts of years ago, costs nothing; when the device came to an end in
    /// them, it knows itself ([`Member::settled_at`]).
    pub(super) fn deciding_seats(&self, member: &Member<'_>) -> Vec<Seat<'_>> {
        let under_way = member.open().filter_map(|(number, _)| self.numbered(number));
        let mut seats: Vec<_> = under_way.filter_map(|campaign| campaign.seat(member)).collect();
        for campaign in self.deciding(member.product) {
            let Some(seat) = campaign.seat(member) else { continue };
            let gives_way = seat.gives_way();
            if seat.deployment.is_none_or(|deployment| deployment.state.is_final()) {
                seats.push(seat);
            }
            if !gives_way {
                break;
            }
        }
        seats.sort_unstable_by_key(|seat| Reverse(precedence(seat.rollout)));
        seats
    }

    /// Returns the rollouts of a product down to the last one that may let a device begin.
    fn deciding(&self, product: &str) -> &[Arc<Campaign>] {
        let ranked = self.ranked.get(product);
        ranked.and_then(|ranked| ranked.all.get(..ranked.deciding)).unwrap_or_default()
    }

    /// Returns the rollouts of a product.
    pub(super) fn of_product(&self, product: &str) -> impl Iterator<Item = &Arc<Campaign>> {
        self.campaigns.values().filter(move |it| it.rollout.product.as_str() == product)
    }

    /// Returns the rollouts that are not over.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.campaigns.values().filter(|campaign| !campaign.rollout.state.is_final())
    }

    /// Returns the rollouts that a device takes or took part in.
    pub(super) fn campaigns_of(&self, member: &Member<'_>) -> impl Iterator<Item = &Arc<Campaign>> {
        member.deployments().filter_map(|(number, _)| self.numbered(number))
    }

    /// Returns the number of a rollout.
    pub(super) fn number(&self, rollout: &RolloutId) -> Option<u32> {
        self.campaigns.get(rollout).map(|campaign| campaign.number)
    }

    /// Returns the rollout with a number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Arc<Campaign>> {
        self.numbered.get(usize::try_from(number).ok()?)
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
        let product = rollout.product.clone();
        let Some(campaign) = self.campaign(Arc::new(rollout)) else { return false };
        self.put_campaign(campaign);
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
        let rollouts: Vec<_> = self
            .of_product(product.as_str())
            .map(|campaign| Arc::clone(&campaign.rollout))
            .collect();
        for rollout in rollouts {
            if let Some(campaign) = self.campaign(rollout) {
                self.put_campaign(campaign);
            }
        }
        self.rank(product);
    }

    fn put_campaign(&mut self, campaign: Campaign) {
        let campaign = Arc::new(campaign);
        let place = usize::try_from(campaign.number).ok();
        match place.and_then(|place| self.numbered.get_mut(place)) {
            Some(before) => *before = Arc::clone(&campaign),
            None => self.numbered.push(Arc::clone(&campaign)),
        }
        self.campaigns.insert(campaign.rollout.id.clone(), campaign);
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
        let next = || u32::try_from(self.numbered.len()).unwrap_or(u32::MAX);
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

    fn rank(&mut self, product: &ProductId) {
        let started = self
            .of_product(product.as_str())
            .filter(|campaign| campaign.rollout.started_at.is_some());
        let mut all: Vec<_> = started.map(Arc::clone).collect();
        all.sort_by(|one, other| precedence(&other.rollout).cmp(&precedence(&one.rollout)));
        let last = all.iter().rposition(|campaign| campaign.rollout.state == State::Running);
        let ranked = Ranked { all: all.into(), deciding: last.map_or(0, |last| last + 1) };
        self.ranked.insert(product.clone(), ranked);
    }
}

/// Whose plan says so comes first, then whoever was started last.
fn precedence(rollout: &Rollout) -> (u8, Option<u64>, &RolloutId) {
    (rollout.plan.priority, rollout.started_at, &rollout.id)
}

#[cfg(test)]
mod tests;
