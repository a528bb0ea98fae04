//! The fleet in memory: everything that answering a poll needs, so that a poll reads no database.
//!
//! Loaded when the server starts and brought up to date by whoever changes the database, right
//! after the commit and before the next writer begins. A poll reads the catalogue, which nobody locks,
//! and one device, and leaves a [`Sighting`] that is written behind; counts and clocks are in the
//! ledger, where polls do not look. Not here: SQL, signing, and what the rules are.

mod arena;
mod catalogue;
mod effects;
mod health;
mod index;
mod ledger;
mod load;
mod members;
mod news;
mod packed;
mod places;
mod rehearsal;
mod search;
mod sightings;
mod sizes;
mod tally;
mod writing;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, ProductId, RolloutId};

use self::catalogue::{Campaign, Catalogue};
use self::ledger::Ledger;
pub use self::load::Records;
use self::members::Members;
use self::places::Rooms;
pub use self::rehearsal::{Part, Position};
pub use self::search::{Found, Page};
pub use self::sightings::Sightings;
use self::tally::Tally;
use crate::domain::decision::{Beginning, Decision, begin, decide};
use crate::domain::effect::NewDeployment;
use crate::domain::rollout::{Counts, Evidence, Route};
use crate::domain::standing::Moment;
use crate::domain::{
    Deployment, Device, Group, Pins, Product, Release, Rollout, Running, Sighting,
};

/// The fleet in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    catalogue: ArcSwap<Catalogue>,
    members: Members,
    /// Held by whoever changes anything.
    ledger: Mutex<Ledger>,
    sightings: Sightings,
    tally: Tally,
    /// The latest stamp given to a change: decisions are versions and must rise (D3).
    stamp: AtomicU64,
}

/// A device's place in a rollout.
#[derive(Clone, Debug)]
pub struct Place {
    /// The rollout.
    pub rollout: Arc<Rollout>,
    /// What it brings.
    pub release: Arc<Release>,
    /// What devices that are older must run in between, oldest first.
    pub stones: Stones,
    /// How far the device is, if it has been heard of.
    pub deployment: Option<Deployment>,
    /// The phase the device belongs to.
    pub phase: usize,
}

/// What a device is told in a poll.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// What it should run.
    pub decision: Decision,
    /// Whether it should ask again soon: an offer is about to be made.
    pub soon: bool,
}

/// What devices that are older must run in between, oldest first.
pub type Stones = Arc<[Arc<Release>]>;

impl Place {
    /// Returns what the rollout brings.
    pub fn route(&self) -> Route<'_> {
        Route { stones: &self.stones, end: &self.release }
    }

    /// Returns the deployment; of whom nothing was heard, it begins in its phase.
    pub fn begun(&self) -> Deployment {
        let phase = u8::try_from(self.phase).unwrap_or(u8::MAX);
        self.deployment.unwrap_or(Deployment::in_phase(phase))
    }
}

impl Fleet {
    /// Decides what a device should run now, and remembers that it was seen. `None` if there is no
    /// such device.
    pub fn poll(&self, device: &DeviceId, running: &Running, now_ms: u64) -> Option<Told> {
        let catalogue = self.shared.catalogue.load();
        let (decision, begins) = self.shared.members.with(device, |member| {
            let (seats, zone) = (catalogue.deciding_seats(member), member.zone());
            let moment = Moment { zone: &zone, now_ms };
            let pins = catalogue.pins.get(member.product).copied();
            let decision = decide(member.settled_at(), pins, &seats, moment);
            (decision, begin(&seats, running, moment))
        })?;
        let begins = begins.filter(|begins| has_room(&catalogue, begins));
        let soon = matches!(begins, Some(Beginning::Offer(..)));
        let sighting = Sighting { at: now_ms, running: running.clone(), begins };
        self.shared.sightings.note(device, sighting);
        Some(Told { decision, soon })
    }

    /// Decides what a device should run now, and remembers nothing.
    pub fn decide(&self, device: &DeviceId, now_ms: u64) -> Option<Decision> {
        let catalogue = self.shared.catalogue.load();
        self.shared.members.with(device, |member| {
            let (seats, zone) = (catalogue.deciding_seats(member), member.zone());
            let pins = catalogue.pins.get(member.product).copied();
            decide(member.settled_at(), pins, &seats, Moment { zone: &zone, now_ms })
        })
    }

    /// Returns what begins for devices that polled, as many as there are places for. Called by the
    /// only writer, who writes it before anybody is told.
    pub fn beginnings(&self, polls: &[(DeviceId, Sighting)]) -> Vec<NewDeployment> {
        let mut rooms = Rooms::new(self);
        polls.iter().flat_map(|(device, sighting)| rooms.beginning(device, sighting)).collect()
    }

    /// Lets the clocks of all rollouts go on to a time: who is overdue by then is counted so. Also of
    /// those that are over: who switched there comes to an end there, before anything else begins.
    pub fn look(&self, now_ms: u64) {
        for campaign in self.shared.catalogue.load_full().campaigns.values() {
            self.ledger().look(campaign, now_ms);
            if !campaign.rollout.state.is_final() {
                self.see_room(campaign, now_ms);
            }
        }
    }

    /// Returns what becomes of the deployments whose time has run out, at most `limit` of them.
    pub fn timed_out(&self, now_ms: u64, limit: usize) -> Vec<NewDeployment> {
        let catalogue = self.shared.catalogue.load_full();
        let ledger = self.ledger();
        let given_up = |campaign: &Arc<Campaign>, place| {
            self.shared.members.at(place, |member| {
                let deployment = ledger.given_up(campaign, member, now_ms)?;
                Some((campaign.rollout.id.clone(), member.id(), deployment))
            })?
        };
        let timed_out = catalogue.campaigns.values().flat_map(|campaign| {
            let due = ledger.timed_out(campaign.number, now_ms, limit).into_iter();
            due.filter_map(|place| given_up(campaign, place))
        });
        timed_out.take(limit).collect()
    }

    /// Returns a device.
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        Some(self.shared.members.get(id)?.member().device())
    }

    /// Returns the place of a device in a rollout; `None` if the rollout never reached it.
    pub fn place(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Place> {
        let catalogue = self.shared.catalogue.load();
        let campaign = catalogue.campaigns.get(rollout)?;
        self.shared.members.with(device, |member| {
            let deployment = member.deployment(campaign.number);
            let phase = match deployment {
                Some(deployment) => usize::from(deployment.phase),
                None if !campaign.release.is_open_to(device) => return None,
                None => campaign.phase_of(member)?,
            };
            Some(Place {
                rollout: Arc::clone(&campaign.rollout),
                release: Arc::clone(&campaign.release),
                stones: Arc::clone(&campaign.stones),
                deployment,
                phase,
            })
        })?
    }

    /// Returns how far a device is in a rollout, if it has been heard of.
    pub fn deployment(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Deployment> {
        let number = self.shared.catalogue.load().number(rollout)?;
        self.shared.members.with(device, |member| member.deployment(number))?
    }

    /// Returns a product.
    pub fn product(&self, id: &ProductId) -> Option<Arc<Product>> {
        self.shared.catalogue.load().products.get(id).cloned()
    }

    /// Returns a group.
    pub fn group(&self, id: &GroupId) -> Option<Arc<Group>> {
        self.shared.catalogue.load().groups.get(id).cloned()
    }

    /// Returns a release, listed or not.
    pub fn release(
        &self,
        product: &ProductId,
        channel: &Channel,
        version: &semver::Version,
    ) -> Option<Arc<Release>> {
        let catalogue = self.shared.catalogue.load();
        catalogue.releases.get(product)?.get(&(channel.clone(), version.clone())).cloned()
    }

    /// Returns the pins of a product.
    pub fn pins(&self, product: &ProductId) -> Option<Pins> {
        self.shared.catalogue.load().pins.get(product).copied()
    }

    /// Returns all releases of a product, listed or not.
    pub fn releases(&self, product: &ProductId) -> Vec<Arc<Release>> {
        let catalogue = self.shared.catalogue.load();
        let releases = catalogue.releases.get(product).into_iter();
        releases.flat_map(|all| all.values().cloned()).collect()
    }

    /// Tells whether a device may read an image, or the list of its chunks: those of a listed release of
    /// its product.
    pub fn may_read_image(&self, device: &DeviceId, sha256: &Digest) -> bool {
        let catalogue = self.shared.catalogue.load();
        let Some(device) = self.device(device) else { return false };
        let releases = catalogue.releases.get(&device.product);
        let is_of = |release: &Release| {
            release.listed && (release.sha256 == *sha256 || release.chunks == Some(*sha256))
        };
        releases.into_iter().flat_map(|all| all.values()).any(|release| is_of(release))
    }

    /// Returns a rollout.
    pub fn rollout(&self, id: &RolloutId) -> Option<Arc<Rollout>> {
        let catalogue = self.shared.catalogue.load();
        catalogue.campaigns.get(id).map(|campaign| Arc::clone(&campaign.rollout))
    }

    /// Returns what a rollout brings: the release, and the stepping stones to it.
    pub fn route_of(&self, rollout: &RolloutId) -> Option<(Arc<Release>, Stones)> {
        let catalogue = self.shared.catalogue.load();
        let campaign = catalogue.campaigns.get(rollout)?;
        Some((Arc::clone(&campaign.release), Arc::clone(&campaign.stones)))
    }

    /// Returns the rollouts after a name, by name.
    pub fn rollouts(&self, after: &str, limit: u32) -> Vec<Arc<Rollout>> {
        let catalogue = self.shared.catalogue.load();
        let rollouts = catalogue.campaigns.values().map(|campaign| &campaign.rollout);
        let rollouts = rollouts.filter(|rollout| rollout.id.as_str() > after);
        rollouts.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Returns the groups after a name, by name.
    pub fn groups(&self, after: &str, limit: u32) -> Vec<Arc<Group>> {
        let catalogue = self.shared.catalogue.load();
        let groups = catalogue.groups.values().filter(|group| group.id.as_str() > after);
        groups.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Returns a device's part in all rollouts that it was heard of in, latest change last.
    pub fn deployments_of(&self, device: &DeviceId) -> Vec<(RolloutId, Deployment)> {
        let catalogue = self.shared.catalogue.load();
        let Some(packed) = self.shared.members.get(device) else { return Vec::new() };
        let mut deployments: Vec<_> = packed.member().deployments().collect();
        deployments.sort_by_key(|(_, deployment)| deployment.changed_at);
        let named = |(number, deployment)| {
            Some((catalogue.numbered(number)?.rollout.id.clone(), deployment))
        };
        deployments.into_iter().filter_map(named).collect()
    }

    /// Returns the rollouts that are not over, by name.
    pub fn open_rollouts(&self) -> Vec<Arc<Rollout>> {
        let catalogue = self.shared.catalogue.load();
        catalogue.open().map(|campaign| Arc::clone(&campaign.rollout)).collect()
    }

    /// Returns how many more devices a rollout could let in, as far as was known a moment ago.
    pub fn room(&self, rollout: &RolloutId) -> u64 {
        let catalogue = self.shared.catalogue.load();
        catalogue.campaigns.get(rollout).map_or(0, |campaign| campaign.room())
    }

    /// Returns what is known of each started phase.
    pub fn evidence(&self, rollout: &RolloutId) -> Vec<Evidence> {
        let catalogue = self.shared.catalogue.load();
        let campaign = catalogue.campaigns.get(rollout);
        campaign.map(|campaign| self.evidence_of(campaign)).unwrap_or_default()
    }

    /// Returns the counts of each started phase, members nothing is known of counted as waiting.
    pub fn counts(&self, rollout: &RolloutId) -> Vec<Counts> {
        self.evidence(rollout).iter().map(|evidence| evidence.counts).collect()
    }

    /// Returns the time for a change made now: later than every change before it, even when the
    /// clock was set back (D3).
    pub fn stamp(&self, now_ms: u64) -> u64 {
        let last = self.shared.stamp.fetch_max(now_ms, Ordering::SeqCst);
        if last < now_ms { now_ms } else { self.shared.stamp.fetch_add(1, Ordering::SeqCst) + 1 }
    }

    /// Takes note of a change that was made at a time: what comes is later.
    fn was_stamped(&self, at: u64) {
        self.shared.stamp.fetch_max(at, Ordering::SeqCst);
    }

    /// Adds what the fleet counts to the metrics of the server.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.tally.register(registry);
    }

    /// Returns what was seen and is not written yet.
    pub fn sightings(&self) -> &Sightings {
        &self.shared.sightings
    }

    /// Takes note of how many devices could be let in at a time, for the polls to come: whom the byte
    /// budget has no room for is not called back soon.
    fn see_room(&self, campaign: &Campaign, now_ms: u64) {
        let places = self.places(campaign);
        campaign.set_room(places.min(self.ledger().affordable(campaign, now_ms)));
    }

    fn evidence_of(&self, campaign: &Campaign) -> Vec<Evidence> {
        let ledger = self.ledger();
        ledger.evidence(campaign.number, || self.searching(&ledger).able(&campaign.group).len())
    }

    fn places(&self, campaign: &Campaign) -> u64 {
        let evidence = Evidence::sum(&self.evidence_of(campaign));
        campaign.rollout.plan.places(&evidence)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Counts are put right by the next restart at the latest.
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wish for which there is no place need not be written down, and nobody is told to come back soon for
/// a place that somebody else was told to come back for.
fn has_room(catalogue: &Catalogue, begins: &Beginning) -> bool {
    match begins {
        Beginning::Offer(rollout, _) => {
            catalogue.campaigns.get(&rollout.id).is_some_and(|campaign| campaign.take_room())
        }
        Beginning::Skip(_) => true,
    }
}
