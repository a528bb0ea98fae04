//! The Director: signs, per device and poll, what that device should run now.
//!
//! Not here: the decision itself, which is made by `domain`, and release keys, which this server
//! does not have.

pub mod clock_guard;

use waxwing_tuf::author::Signer;
use waxwing_tuf::key::PublicKey;

use self::clock_guard::{ClockAhead, ClockGuard};

/// Signs with the Director's online key. The key sits behind a port, so that an HSM fits (D6).
pub struct Director {
    signer: Box<dyn Signer>,
    guard: ClockGuard,
}

impl Director {
    /// Makes a Director of a key and a guard over its clock.
    pub fn new(signer: Box<dyn Signer>, guard: ClockGuard) -> Self {
        Self { signer, guard }
    }

    /// Returns the public half of the online key.
    pub fn public(&self) -> &PublicKey {
        self.signer.public()
    }

    /// Returns the guard over the clock.
    pub fn guard(&self) -> &ClockGuard {
        &self.guard
    }

    /// Returns the present time in Unix milliseconds, if it may be signed.
    pub fn now_ms(&self) -> Result<u64, ClockAhead> {
        self.guard.now_ms()
    }
}
