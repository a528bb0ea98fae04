//! The members of the fleet: every device with its part in the rollouts, in shards. A poll waits at
//! most for a change of a device in the same shard.

use std::hash::BuildHasher as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hashbrown::{DefaultHashBuilder, HashTable};
use waxwing_wire::DeviceId;

use super::arena::Arena;
use super::packed::{Member, Packed};

/// Polls of different devices hardly ever meet.
const SHARDS: u32 = 64;

/// All members.
#[derive(Debug)]
pub(super) struct Members {
    /// A quick one: names are given by operators, and nobody else can make them collide.
    hasher: DefaultHashBuilder,
    shards: Vec<RwLock<Shard>>,
}

/// Some of them.
#[derive(Debug, Default)]
struct Shard {
    members: Arena,
    /// The number of each of them, by its name.
    by_name: HashTable<u32>,
}

/// Where a member lies, for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place(u32);

impl Default for Members {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { hasher: DefaultHashBuilder::default(), shards }
    }
}

impl Members {
    /// Looks at a member.
    pub(super) fn with<T>(
        &self,
        device: &DeviceId,
        look: impl FnOnce(&Member<'_>) -> T,
    ) -> Option<T> {
        let (hash, shard) = self.home(device.as_str());
        let shard = self.read(shard)?;
        Some(look(&Member::read(shard.find(hash, device.as_str())?)))
    }

    /// Looks at the member at a place.
    pub(super) fn at<T>(&self, place: Place, look: impl FnOnce(&Member<'_>) -> T) -> Option<T> {
        let shard = self.read(place.shard())?;
        Some(look(&Member::read(shard.members.get(place.slot())?)))
    }

    /// Returns a copy of a member.
    pub(super) fn get(&self, device: &DeviceId) -> Option<Packed> {
        let (hash, shard) = self.home(device.as_str());
        self.read(shard)?.find(hash, device.as_str()).map(Packed::copied)
    }

    /// Adds or replaces a member; returns where it lies.
    ///
    /// # Panics
    ///
    /// With more than four thousand million devices.
    pub(super) fn put(&self, member: &Packed) -> Place {
        let (hash, number) = self.home(member.id());
        let shard = self.shards.get(number).expect("the home of a member is a shard");
        // One statement each: no writer leaves a shard half-changed.
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let slot = shard.put(hash, member, |name| self.hasher.hash_one(name));
        Place::new(number, slot)
    }

    /// Looks at all members, in no order.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Member<'_>)) {
        for shard in 0..self.shards.len() {
            let shard = self.read(shard);
            let members = shard.iter().flat_map(|shard| shard.members.iter());
            members.for_each(|member| look(&Member::read(member)));
        }
    }

    fn read(&self, shard: usize) -> Option<RwLockReadGuard<'_, Shard>> {
        Some(self.shards.get(shard)?.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the hash of a name, and the shard whose it is. The table of the shard looks at other
    /// bits of the hash.
    fn home(&self, name: &str) -> (u64, usize) {
        let hash = self.hasher.hash_one(name);
        let shard = (hash >> 32) % u64::from(SHARDS);
        (hash, usize::try_from(shard).unwrap_or(0))
    }
}

impl Shard {
    fn find(&self, hash: u64, name: &str) -> Option<&[u8]> {
        let slot = self.by_name.find(hash, |slot| self.is_at(*slot, name))?;
        self.at(*slot)
    }

    fn put(&mut self, hash: u64, member: &Packed, hash_of: impl Fn(&str) -> u64) -> u32 {
        let name = member.id();
        if let Some(slot) = self.by_name.find(hash, |slot| self.is_at(*slot, name)).copied() {
            self.members.replace(usize::try_from(slot).unwrap_or(usize::MAX), member.bytes());
            return slot;
        }
        let slot = u32::try_from(self.members.len()).expect("a fleet fits into memory");
        self.members.push(member.bytes());
        let Self { members, by_name } = self;
        let name = |slot: &u32| members.get(usize::try_from(*slot).ok()?).map(Member::id_in);
        by_name.insert_unique(hash, slot, |slot| name(slot).map_or(0, &hash_of));
        slot
    }

    fn at(&self, slot: u32) -> Option<&[u8]> {
        self.members.get(usize::try_from(slot).ok()?)
    }

    fn is_at(&self, slot: u32, name: &str) -> bool {
        self.at(slot).is_some_and(|member| Member::id_in(member) == name)
    }
}

impl Place {
    fn new(shard: usize, slot: u32) -> Self {
        let shard = u32::try_from(shard).unwrap_or(0);
        Self(
            slot.checked_mul(SHARDS)
                .and_then(|at| at.checked_add(shard))
                .expect("a fleet fits into memory"),
        )
    }

    fn shard(self) -> usize {
        usize::try_from(self.0 % SHARDS).unwrap_or(0)
    }

    fn slot(self) -> usize {
        usize::try_from(self.0 / SHARDS).unwrap_or(0)
    }
}
