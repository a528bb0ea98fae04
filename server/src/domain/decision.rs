//! The decision: what one device should run now, and since when that is so (D3).
//!
//! Pure, so that every replica and every restart signs the same bytes. The newest rollout that
//! reaches the device decides; older ones never overrule it, or a device would be sent back and
//! forth. Not here: signing, and which parts of the answer the device lacks.

use std::sync::Arc;

use waxwing_wire::Digest;

use super::rollout::State;
use super::{Deployment, Pins, Release, Rollout};

/// What one device should run now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Since when this is the decision, in Unix milliseconds: rises with every change of it.
    pub decided_at_ms: u64,
    /// What to install; `None`: nothing.
    pub offer: Option<Offer>,
    /// By what the device should know us: the same for all devices of its product (D15).
    pub pins: Option<Pins>,
    /// A rollout with nothing to do for the device, because it already runs the image.
    pub skip: Option<Arc<Rollout>>,
}

/// A release offered to one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The rollout that the device takes part in.
    pub rollout: Arc<Rollout>,
    /// What it brings.
    pub release: Arc<Release>,
}

/// One device's place in one rollout that has started.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// The rollout.
    pub rollout: &'a Arc<Rollout>,
    /// What it brings.
    pub release: &'a Arc<Release>,
    /// How far the device is, if it has been heard of.
    pub deployment: Option<Deployment>,
    /// Whether the device is in the rollout's group. One that left it takes what it has begun to its
    /// end, and nothing else.
    pub member: bool,
    /// Whether the device may install the release as far as its ceiling goes (D10).
    pub open: bool,
    /// The phase the device belongs to.
    pub phase: usize,
}

/// Decides for a device. `changed_at` is when the device itself last changed; `pins` are those of its
/// product; `seats` are its places in the rollouts that have started and reach it, newest first;
/// `running` is the image it runs.
pub fn decide<'a>(
    changed_at: u64,
    pins: Option<Pins>,
    running: &Digest,
    seats: impl Iterator<Item = Seat<'a>>,
) -> Decision {
    let decided_at_ms = changed_at.max(pins.map_or(0, |pins| pins.changed_at));
    let mut decision = Decision { decided_at_ms, offer: None, pins, skip: None };
    for seat in seats {
        decision.decided_at_ms = decision.decided_at_ms.max(seat.changed_at());
        if seat.gives_way() {
            continue;
        }
        if seat.offers() && seat.already_runs(running) {
            decision.skip = Some(Arc::clone(seat.rollout));
        } else if seat.offers() {
            let (rollout, release) = (Arc::clone(seat.rollout), Arc::clone(seat.release));
            decision.offer = Some(Offer { rollout, release });
        }
        break;
    }
    decision
}

impl Seat<'_> {
    /// Returns when something last changed that may have changed the answer to this device. The
    /// next phase is for others, and once its deployment has ended nothing is offered whatever
    /// becomes of the rollout: neither makes the fleet fetch metadata again.
    fn changed_at(&self) -> u64 {
        let phase = self.rollout.started().nth(self.phase).map_or(0, |phase| phase.at);
        let ended = self.deployment.filter(|deployment| deployment.state.is_final());
        let state = match ended {
            Some(deployment) if !self.member || !self.gives_way() => deployment.changed_at,
            Some(_) | None => self.rollout.changed_at,
        };
        phase.max(state).max(self.release.changed_at)
    }

    /// Tells whether an older rollout decides instead: this one was cancelled before the device
    /// switched to its image, or is for others, or the device left it and has ended.
    fn gives_way(&self) -> bool {
        let ended = self.deployment.is_none_or(|deployment| deployment.state.is_final());
        if !self.member && ended {
            return true;
        }
        let past_recall = self.deployment.is_some_and(|deployment| deployment.is_past_recall());
        (self.rollout.state == State::Cancelled || !self.open) && !past_recall
    }

    /// Tells whether the release is offered: a rollout that does not run withdraws its offer (D17),
    /// and a deployment that has ended, well or badly, is not begun again.
    fn offers(&self) -> bool {
        let ended = self.deployment.is_some_and(|deployment| deployment.state.is_final());
        self.rollout.state == State::Running && self.release.listed && self.open && !ended
    }

    /// Tells whether there is nothing to do: the device had the image before it was offered.
    fn already_runs(&self, running: &Digest) -> bool {
        self.deployment.is_none() && self.release.sha256 == *running
    }
}

#[cfg(test)]
mod tests {
    use waxwing_wire::report;

    use super::*;
    use crate::domain::release::tests::release;
    use crate::domain::rollout::Change;
    use crate::domain::rollout::tests::{device, rollout};

    const OLD: Digest = Digest([1; 32]);

    struct Place {
        rollout: Rollout,
        release: Release,
        deployment: Option<Deployment>,
    }

    fn place(id: &str, started_at: u64) -> Place {
        let mut rollout = rollout(id, &[50, 100]);
        rollout.start([device(0), device(1)].iter(), started_at).unwrap();
        rollout.start_next_phase([device(0), device(1)].iter(), started_at);
        Place { rollout, release: release("1.1.0"), deployment: None }
    }

    impl Place {
        fn deployed(mut self, state: report::State, changed_at: u64) -> Self {
            self.deployment = Some(Deployment { state, changed_at, ..Deployment::waiting() });
            self
        }

        fn changed(mut self, change: Change, at: u64) -> Self {
            self.rollout.change(change, at).unwrap();
            self
        }
    }

    /// Decides for newest-first places; gives the time and the rollout offered.
    fn check(places: &[Place]) -> (u64, Option<String>) {
        let decision = decided(places, &OLD);
        (decision.decided_at_ms, decision.offer.map(|offer| offer.rollout.id.to_string()))
    }

    fn decided(places: &[Place], running: &Digest) -> Decision {
        let owned: Vec<_> = places
            .iter()
            .map(|p| (Arc::new(p.rollout.clone()), Arc::new(p.release.clone()), p.deployment))
            .collect();
        let seats = owned.iter().map(|(rollout, release, deployment)| Seat {
            rollout,
            release,
            deployment: *deployment,
            member: true,
            open: release.is_open_to(&device(0)),
            phase: 0,
        });
        decide(5, None, running, seats)
    }

    #[test]
    fn a_device_in_no_rollout_is_offered_nothing_since_it_last_changed() {
        assert_eq!(check(&[]), (5, None));
    }

    #[test]
    fn other_pins_are_a_decision_of_their_own() {
        let pins = |changed_at| Pins { length: 1, sha256: OLD, changed_at };
        let decided_at = |pins| decide(5, pins, &OLD, [].into_iter()).decided_at_ms;
        assert_eq!(decided_at(Some(pins(9))), 9);
        assert_eq!(decided_at(Some(pins(3))), 5);
        assert_eq!(decide(5, Some(pins(9)), &OLD, [].into_iter()).pins, Some(pins(9)));
    }

    #[test]
    fn a_running_rollout_offers_until_the_deployment_ends() {
        use report::State;
        assert_eq!(check(&[place("r", 10)]), (10, Some("r".into())));
        for state in State::ALL {
            let (at, offer) = check(&[place("r", 10).deployed(state, 20)]);
            assert_eq!(offer.is_none(), state.is_final(), "{state}");
            assert_eq!(at, if state.is_final() { 20 } else { 10 }, "{state}");
        }
    }

    #[test]
    fn a_rollout_that_does_not_run_withdraws_its_offer() {
        let verified = || place("r", 10).deployed(report::State::Verified, 12);
        assert_eq!(check(&[verified().changed(Change::Pause, 30)]), (30, None));
        assert_eq!(check(&[verified().changed(Change::Cancel, 30)]), (30, None));
        let again = verified().changed(Change::Pause, 30).changed(Change::Resume, 40);
        assert_eq!(check(&[again]), (40, Some("r".into())));
        let mut halted = verified();
        halted.rollout.halt(&crate::domain::rollout::tests::reason(), 30);
        assert_eq!(check(&[halted]), (30, None));
    }

    #[test]
    fn a_release_that_is_delisted_is_offered_no_more() {
        let mut place = place("r", 10);
        (place.release.listed, place.release.changed_at) = (false, 50);
        assert_eq!(check(&[place]), (50, None));
    }

    #[test]
    fn a_release_with_a_ceiling_is_offered_below_it_only() {
        let limited = |permille, changed_at| {
            let mut place = place("new", 20);
            place.release.ceiling_permille = Some(permille);
            place.release.changed_at = changed_at;
            place
        };
        assert_eq!(check(&[limited(1000, 30), place("old", 10)]), (30, Some("new".into())));
        // The time still rises, and the older rollout decides.
        assert_eq!(check(&[limited(0, 40), place("old", 10)]), (40, Some("old".into())));
        let switched = limited(0, 40).deployed(report::State::Activated, 25);
        assert_eq!(check(&[switched, place("old", 10)]), (40, None));
    }

    #[test]
    fn the_newest_rollout_decides_even_when_it_has_nothing_to_offer() {
        let done = place("new", 20).deployed(report::State::Healthy, 25);
        assert_eq!(check(&[done, place("old", 10)]), (25, None));
        assert_eq!(check(&[place("new", 20), place("old", 10)]), (20, Some("new".into())));
    }

    #[test]
    fn a_rollout_cancelled_before_the_switch_gives_way_to_the_older_one() {
        let new = || place("new", 20).deployed(report::State::Verified, 25);
        let cancelled = new().changed(Change::Cancel, 30);
        assert_eq!(check(&[cancelled, place("old", 10)]), (30, Some("old".into())));
        let switched = place("new", 20).deployed(report::State::Healthy, 25);
        let cancelled = switched.changed(Change::Cancel, 30);
        assert_eq!(check(&[cancelled, place("old", 10)]), (25, None));
    }

    #[test]
    fn whoever_left_the_group_ends_what_it_began_and_then_follows_the_others() {
        use report::State;
        let (new, old) = (place("new", 20), place("old", 10));
        let decided = |state, changed_at| {
            let deployment = Deployment { state, changed_at, ..Deployment::waiting() };
            let (new, old) = [&new, &old]
                .map(|p| (Arc::new(p.rollout.clone()), Arc::new(p.release.clone())))
                .into();
            let seat = |place: &(Arc<Rollout>, Arc<Release>), member: bool| (place.clone(), member);
            let places = [seat(&new, false), seat(&old, true)];
            let seats = places.iter().map(|((rollout, release), member)| Seat {
                rollout,
                release,
                deployment: (!member).then_some(deployment),
                member: *member,
                open: true,
                phase: 0,
            });
            let decision = decide(5, None, &OLD, seats);
            (decision.decided_at_ms, decision.offer.map(|offer| offer.rollout.id.to_string()))
        };
        assert_eq!(decided(State::Downloading, 22), (20, Some("new".into())));
        // Another decision, so a later one (D3).
        assert_eq!(decided(State::Healthy, 25), (25, Some("old".into())));
    }

    #[test]
    fn the_end_of_a_rollout_changes_nothing_for_devices_that_are_done() {
        let mut done = place("r", 10).deployed(report::State::Healthy, 25);
        done.rollout.finish(90);
        assert_eq!(check(&[done]), (25, None));
    }

    #[test]
    fn a_device_that_had_the_image_before_is_skipped() {
        let running = release("1.1.0").sha256;
        let decision = decided(&[place("r", 10)], &running);
        assert_eq!((decision.offer, decision.skip.is_some()), (None, true));
        // It was offered, so the device itself says how it went.
        let offered = place("r", 10).deployed(report::State::Offered, 11);
        assert!(decided(&[offered], &running).offer.is_some());
    }
}
