//! The members of the fleet: every device with its part in the rollouts, in shards. A poll waits at
//! most for a change of a device in the same shard.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use waxwing_wire::DeviceId;
use waxwing_wire::report::State;

use crate::domain::{Deployment, Device};

/// Polls of different devices hardly ever meet.
const SHARDS: usize = 64;

/// A device and its part in the rollouts.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Stands for its name where there are many.
    pub(super) number: u32,
    pub(super) device: Arc<Device>,
    /// When it was last seen while it had a whole image that it has not switched to, in Unix
    /// milliseconds.
    pub(super) seen_at: u64,
    /// By the number of the rollout, latest change last.
    deployments: Vec<(u32, Deployment)>,
}

impl Member {
    pub(super) const fn new(number: u32, device: Arc<Device>) -> Self {
        Self { number, device, seen_at: 0, deployments: Vec::new() }
    }

    /// Returns the member after it was seen.
    pub(super) fn seen(&self, at_ms: u64) -> Self {
        Self { seen_at: at_ms, ..self.clone() }
    }

    /// Returns the member after a change of the device itself.
    pub(super) fn become_of(&self, device: &Arc<Device>) -> Self {
        Self { device: Arc::clone(device), ..self.clone() }
    }

    pub(super) fn deployment(&self, rollout: u32) -> Option<Deployment> {
        let mut deployments = self.deployments.iter();
        deployments.find(|(number, _)| *number == rollout).map(|(_, deployment)| *deployment)
    }

    pub(super) fn deployments(&self) -> &[(u32, Deployment)] {
        &self.deployments
    }

    /// Tells whether it has a whole image that it has not switched to.
    pub(super) fn is_about_to_switch(&self) -> bool {
        self.deployments.iter().any(|(_, deployment)| deployment.state == State::Verified)
    }

    pub(super) fn put_deployment(&mut self, rollout: u32, deployment: Deployment) {
        self.deployments.retain(|(number, _)| *number != rollout);
        self.deployments.push((rollout, deployment));
    }
}

// A set of members is searched by name.
impl Borrow<DeviceId> for Member {
    fn borrow(&self) -> &DeviceId {
        &self.device.id
    }
}

impl Hash for Member {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.device.id.hash(state);
    }
}

impl Eq for Member {}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.device.id == other.device.id
    }
}

/// All members.
#[derive(Debug)]
pub(super) struct Members {
    hasher: RandomState,
    shards: [RwLock<HashSet<Member>>; SHARDS],
}

impl Default for Members {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl Members {
    /// Looks at a member.
    pub(super) fn with<T>(&self, device: &DeviceId, look: impl FnOnce(&Member) -> T) -> Option<T> {
        let shard = self.shard(device)?.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(device).map(look)
    }

    /// Returns a copy of a member.
    pub(super) fn get(&self, device: &DeviceId) -> Option<Member> {
        self.with(device, Member::clone)
    }

    /// Adds or replaces a member.
    pub(super) fn put(&self, member: Member) {
        let Some(shard) = self.shard(&member.device.id) else { return };
        // One statement each: no writer leaves a shard half-changed.
        shard.write().unwrap_or_else(PoisonError::into_inner).replace(member);
    }

    /// Looks at all members, in no order.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Member)) {
        for shard in &self.shards {
            shard.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(&mut look);
        }
    }

    fn shard(&self, device: &DeviceId) -> Option<&RwLock<HashSet<Member>>> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let number = self.hasher.hash_one(device) % shards;
        self.shards.get(usize::try_from(number).ok()?)
    }
}
