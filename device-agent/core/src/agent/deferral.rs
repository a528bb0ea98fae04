//! What the device's user may put off, and has.
//!
//! Counted in the journal, by rollout and image: neither a reset nor an offer that is taken back and made
//! again gives a user more than the plan does. Not here: who asks the user.

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::{DEFERRAL_S_MAX, Deferral, State as Reached};

use super::Memory;
use crate::journal::{Deployment, PutOff};
use crate::offer::Offer;
use crate::ports::Deferrals;

impl Memory {
    /// Returns how far the device's user may put off the restart into what is offered.
    pub(super) fn deferrals(&self, now: Duration, offer: &Offer) -> Deferrals {
        let allowed = offer.deferrable();
        let left_s = self.seconds_until(now, allowed.until);
        let longest = Duration::from_secs(left_s.min(DEFERRAL_S_MAX.into()));
        let used = self.record.deferral_of(offer.deployment()).map_or(0, |it| it.times);
        let left = if longest.is_zero() { 0 } else { allowed.times.saturating_sub(used) };
        Deferrals { left, longest }
    }

    /// Remembers that the device's user puts the restart off, and says so.
    pub(super) fn put_off(&mut self, now: Duration, offer: &Offer, wait: Duration) {
        let deployment = offer.deployment();
        let times = self.record.deferral_of(deployment).map_or(1, |it| it.times.saturating_add(1));
        let until = self.clock.estimate(now).saturating_add(wait.as_secs());
        self.record.put_off = Some(PutOff {
            rollout: deployment.rollout.clone(),
            sha256: deployment.sha256,
            deferral: Deferral { times, until },
        });
        self.set_unsaved();
        self.report(now, Reached::Verified, ErrorCode::NONE);
    }

    /// Returns for how long the restart is still put off.
    pub(super) fn put_off_for(&self, now: Duration, deployment: &Deployment) -> Duration {
        let until = self.record.deferral_of(deployment).map_or(0, |it| it.until);
        Duration::from_secs(self.seconds_until(now, until).min(DEFERRAL_S_MAX.into()))
    }

    fn seconds_until(&self, now: Duration, unix_s: u64) -> u64 {
        unix_s.saturating_sub(self.clock.estimate(now))
    }
}
