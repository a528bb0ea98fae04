//! The fleet in memory: everything that answering a poll needs, so that a poll reads no database.
//!
//! Loaded when the server starts and brought up to date by whoever changes the database, right
//! after the commit and before the next writer begins. A poll takes the lock for reading, looks at
//! one device and the rollouts of its product, and leaves a [`Sighting`] that is written behind.
//! Not here: SQL, signing, and what the rules are.

mod index;
mod load;
mod news;
mod search;
mod sightings;
mod tables;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use waxwing_wire::{Channel, DeviceId, Digest, GroupId, ProductId, RolloutId};

pub use self::index::Index;
pub use self::search::{Found, Page};
pub use self::sightings::Sightings;
pub use self::tables::{Campaign, Member, Tables};
use crate::domain::decision::{Decision, Seat, decide};
use crate::domain::rollout::{Counts, State};
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
    tables: RwLock<Tables>,
    sightings: Sightings,
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
    /// How far the device is, if it has been heard of.
    pub deployment: Option<Deployment>,
    /// The phase the device belongs to.
    pub phase: usize,
}

impl Fleet {
    /// Puts a loaded fleet into service.
    pub fn new(tables: Tables) -> Self {
        let stamp = AtomicU64::new(tables.latest_change());
        let shared = Shared { tables: RwLock::new(tables), stamp, ..Shared::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Decides what a device should run now, and remembers that it was seen. `None` if there is no
    /// such device.
    pub fn poll(&self, device: &DeviceId, running: &Running, now_ms: u64) -> Option<Decision> {
        let decision = self.decide(device, &running.sha256)?;
        self.shared.sightings.note(device, Sighting::of(running, &decision, now_ms));
        Some(decision)
    }

    /// Decides what a device should run now, and remembers nothing.
    pub fn decide(&self, device: &DeviceId, running: &Digest) -> Option<Decision> {
        let tables = self.read();
        let member = tables.members.get(device)?;
        let seats = tables.campaigns_of(&member.device.product).filter_map(|campaign| {
            let (phase, inside) = campaign.seat_of(member)?;
            let deployment = member.deployment(&campaign.rollout.id);
            let (rollout, release) = (&campaign.rollout, &campaign.release);
            let open = release.is_open_to(device);
            Some(Seat { rollout, release, deployment, member: inside, open, phase })
        });
        let pins = tables.pins.get(&member.device.product).copied();
        Some(decide(member.device.changed_at, pins, running, seats))
    }

    /// Returns a device.
    pub fn device(&self, id: &DeviceId) -> Option<Arc<Device>> {
        self.read().members.get(id).map(|member| Arc::clone(&member.device))
    }

    /// Returns the place of a device in a rollout; `None` if the rollout never reached it.
    pub fn place(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Place> {
        let tables = self.read();
        let (member, campaign) = (tables.members.get(device)?, tables.campaigns.get(rollout)?);
        let deployment = member.deployment(rollout);
        let phase = match deployment {
            Some(_) => campaign.rollout.phase_of(device)?,
            None if !campaign.release.is_open_to(device) => return None,
            None => campaign.phase_of(&member.device)?,
        };
        let (rollout, release) = (Arc::clone(&campaign.rollout), Arc::clone(&campaign.release));
        Some(Place { rollout, release, deployment, phase })
    }

    /// Tells whether a device may begin a rollout: the rollout runs and reaches it, and nothing has
    /// been heard of it yet.
    pub fn may_begin(&self, rollout: &RolloutId, device: &DeviceId) -> bool {
        let tables = self.read();
        let (member, campaign) = (tables.members.get(device), tables.campaigns.get(rollout));
        let (Some(member), Some(campaign)) = (member, campaign) else { return false };
        campaign.rollout.state == State::Running
            && campaign.phase_of(&member.device).is_some()
            && campaign.release.is_open_to(device)
            && tables::may_take_part(&member.device)
            && member.deployment(rollout).is_none()
    }

    /// Returns how far a device is in a rollout, if it has been heard of.
    pub fn deployment(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Deployment> {
        self.read().members.get(device)?.deployment(rollout)
    }

    /// Returns a product.
    pub fn product(&self, id: &ProductId) -> Option<Arc<Product>> {
        self.read().products.get(id).cloned()
    }

    /// Returns a group.
    pub fn group(&self, id: &GroupId) -> Option<Arc<Group>> {
        self.read().groups.get(id).cloned()
    }

    /// Returns a release, listed or not.
    pub fn release(
        &self,
        product: &ProductId,
        channel: &Channel,
        version: &semver::Version,
    ) -> Option<Arc<Release>> {
        self.read().releases.get(product)?.get(&(channel.clone(), version.clone())).cloned()
    }

    /// Returns the pins of a product.
    pub fn pins(&self, product: &ProductId) -> Option<Pins> {
        self.read().pins.get(product).copied()
    }

    /// Returns all releases of a product, listed or not.
    pub fn releases(&self, product: &ProductId) -> Vec<Arc<Release>> {
        let tables = self.read();
        let releases = tables.releases.get(product).into_iter();
        releases.flat_map(|all| all.values().cloned()).collect()
    }

    /// Tells whether a device may read an image, or the list of its chunks: those of a listed release of
    /// its product.
    pub fn may_read_image(&self, device: &DeviceId, sha256: &Digest) -> bool {
        let tables = self.read();
        let Some(member) = tables.members.get(device) else { return false };
        let releases = tables.releases.get(&member.device.product);
        let is_of = |release: &Release| {
            release.listed && (release.sha256 == *sha256 || release.chunks == Some(*sha256))
        };
        releases.into_iter().flat_map(|all| all.values()).any(|release| is_of(release))
    }

    /// Returns a rollout.
    pub fn rollout(&self, id: &RolloutId) -> Option<Arc<Rollout>> {
        self.read().campaigns.get(id).map(|campaign| Arc::clone(&campaign.rollout))
    }

    /// Returns what a rollout brings.
    pub fn release_of(&self, rollout: &RolloutId) -> Option<Arc<Release>> {
        self.read().campaigns.get(rollout).map(|campaign| Arc::clone(&campaign.release))
    }

    /// Returns the rollouts after a name, by name.
    pub fn rollouts(&self, after: &str, limit: u32) -> Vec<Arc<Rollout>> {
        let tables = self.read();
        let rollouts = tables.campaigns.values().map(|campaign| &campaign.rollout);
        let rollouts = rollouts.filter(|rollout| rollout.id.as_str() > after);
        rollouts.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Returns the groups after a name, by name.
    pub fn groups(&self, after: &str, limit: u32) -> Vec<Arc<Group>> {
        let tables = self.read();
        let groups = tables.groups.values().filter(|group| group.id.as_str() > after);
        groups.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Returns a device's part in all rollouts that it was heard of in, latest change last.
    pub fn deployments_of(&self, device: &DeviceId) -> Vec<(RolloutId, Deployment)> {
        self.read().members.get(device).map(Member::deployments).unwrap_or_default()
    }

    /// Returns the rollouts that are not over, by name.
    pub fn open_rollouts(&self) -> Vec<Arc<Rollout>> {
        let tables = self.read();
        let rollouts = tables.campaigns.values().map(|campaign| &campaign.rollout);
        rollouts.filter(|rollout| !rollout.state.is_final()).cloned().collect()
    }

    /// Returns the counts of each started phase, members nothing is known of counted as waiting.
    pub fn counts(&self, rollout: &RolloutId) -> Vec<Counts> {
        self.read().counts(rollout)
    }

    /// Returns the time for a change made now: later than every change before it, even when the
    /// clock was set back (D3).
    pub fn stamp(&self, now_ms: u64) -> u64 {
        let last = self.shared.stamp.fetch_max(now_ms, Ordering::SeqCst);
        if last < now_ms { now_ms } else { self.shared.stamp.fetch_add(1, Ordering::SeqCst) + 1 }
    }

    /// Returns what was seen and is not written yet.
    pub fn sightings(&self) -> &Sightings {
        &self.shared.sightings
    }

    /// Brings a deployment up to date after it was committed.
    pub fn put_deployment(&self, device: &DeviceId, rollout: &RolloutId, deployment: Deployment) {
        self.write().put_deployment(device, rollout, deployment);
    }

    /// Brings a device up to date after it was committed.
    pub fn put_device(&self, device: Device) {
        self.write().put_device(device);
    }

    /// Brings a group up to date after it was committed.
    pub fn put_group(&self, group: Group) {
        self.write().put_group(group);
    }

    /// Brings the pins of a product up to date after they were committed.
    pub fn put_pins(&self, product: &ProductId, pins: Pins) {
        self.write().put_pins(product, pins);
    }

    /// Brings a product up to date after it was committed.
    pub fn put_product(&self, product: Product) {
        self.write().put_product(product);
    }

    /// Brings the releases of a product up to date after they were committed.
    pub fn put_releases(&self, product: &ProductId, releases: Vec<Release>) {
        self.write().put_releases(product, releases);
    }

    /// Brings a rollout up to date after it was committed.
    pub fn put_rollout(&self, rollout: Rollout) {
        self.write().put_rollout(rollout);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // No writer leaves the tables half-changed: each change is one insertion.
        self.shared.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.shared.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}
