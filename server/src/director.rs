//! The Director: signs, per device and poll, what that device should run now.
//!
//! Not here: the decision itself, which is made by `domain`, and release keys, which this server
//! does not have.

mod checkpoint;
pub mod clock_guard;
mod command;

use std::sync::Arc;

use waxwing_tuf::author::director::{self, Assignment, ServerCa};
use waxwing_tuf::author::{Error, Signer};
use waxwing_tuf::key::PublicKey;
use waxwing_wire::{DeviceId, Nonce};

use self::clock_guard::{ClockAhead, ClockGuard};
pub use self::command::COMMAND_LIFE;
use crate::domain::Decision;
use crate::domain::decision::Offer;

/// Signs with the Director's online key. The key sits behind a port, so that an HSM fits (D6).
pub struct Director {
    signer: Box<dyn Signer>,
    guard: Arc<ClockGuard>,
}

impl Director {
    /// Makes a Director of a key and a guard over its clock.
    pub fn new(signer: Box<dyn Signer>, guard: ClockGuard) -> Self {
        Self { signer, guard: Arc::new(guard) }
    }

    /// Returns the public half of the online key.
    pub fn public(&self) -> &PublicKey {
        self.signer.public()
    }

    /// Returns the guard over the clock.
    pub fn guard(&self) -> &Arc<ClockGuard> {
        &self.guard
    }

    /// Returns the present time in Unix milliseconds, if it may be signed.
    pub fn now_ms(&self) -> Result<u64, ClockAhead> {
        self.guard.now_ms()
    }

    /// Returns the present time in Unix milliseconds for what nobody signs; while the clock is not
    /// credible, the time that verifiably passed.
    pub fn steady_ms(&self) -> u64 {
        self.guard.now_ms().unwrap_or_else(|_| self.guard.credible_ms())
    }

    /// Returns the version under which a decision is signed now (D3).
    pub fn version(decision: &Decision, now_ms: u64) -> u64 {
        director::decision_version(decision.decided_at_ms, now_ms)
    }

    /// Signs the timestamp of one poll (D4).
    pub fn timestamp(
        &self,
        device: &DeviceId,
        nonce: Nonce,
        now_ms: u64,
        version: u64,
    ) -> Result<Vec<u8>, Error> {
        director::timestamp(self.signer.as_ref(), device.as_str(), &nonce.0, now_ms, version)
    }

    /// Signs the snapshot of a decision.
    pub fn snapshot(&self, version: u64) -> Result<Vec<u8>, Error> {
        director::snapshot(self.signer.as_ref(), version)
    }

    /// Signs a decision.
    pub fn targets(
        &self,
        device: &DeviceId,
        decision: &Decision,
        version: u64,
    ) -> Result<Vec<u8>, Error> {
        let assignment = decision.offer.as_ref().map(assignment);
        let pins =
            decision.pins.map(|pins| ServerCa { length: pins.length, sha256: pins.sha256.0 });
        director::targets(self.signer.as_ref(), device.as_str(), assignment, pins, version)
    }
}

fn assignment(offer: &Offer) -> Assignment<'_> {
    let release = &offer.release;
    Assignment {
        path: &release.path,
        length: release.length,
        sha256: release.sha256.0,
        r#match: &release.r#match,
        deploy: offer.rollout.id.as_str(),
        soak_s: offer.soak_s,
        deferrable: offer.rollout.plan.deferrable(),
        chunks: release.chunks.map(|list| list.0),
    }
}
