//! The decision: what one device should run now, and since when that is so (D3).
//!
//! Pure, so that every replica and every restart signs the same bytes. A device takes part in one
//! rollout at a time: what it was offered it goes on being offered, until it has come to an end or a
//! rollout that ranks higher takes it over. What begins is up to the highest rollout that reaches it;
//! those below never overrule that one, or a device would be sent back and forth. Not here: signing,
//! and which parts of the answer the device lacks.

use std::sync::Arc;

use super::sighting::Running;
use super::standing::{Moment, Seat, Standing};
use super::{Pins, Release, Rollout};

/// What one device should run now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Since when this is the decision, in Unix milliseconds: rises with every change of it.
    pub decided_at_ms: u64,
    /// What to install; `None`: nothing.
    pub offer: Option<Offer>,
    /// By what the device should know us: the same for all devices of its product (D15).
    pub pins: Option<Pins>,
}

/// A release offered to one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The rollout that the device takes part in.
    pub rollout: Arc<Rollout>,
    /// What it brings.
    pub release: Arc<Release>,
    /// For how many seconds the device must stay well before it says so.
    pub soak_s: u32,
}

/// What should begin for a device. It is written before the device is told: what is in flight is never
/// more than what is known to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Beginning {
    /// The device should be offered the release at this place of the rollout's route, if there is a
    /// place among those in flight.
    Offer(Arc<Rollout>, u8),
    /// There is nothing to do for the device.
    Skip(Arc<Rollout>),
}

/// Decides for a device. `changed_at` is when the device itself last changed; `pins` are those of its
/// product; `seats` are its places in the rollouts that have started and reach it, highest first.
pub fn decide(
    changed_at: u64,
    pins: Option<Pins>,
    seats: &[Seat<'_>],
    moment: Moment<'_>,
) -> Decision {
    let since = seats.iter().map(|seat| seat.answered_at(moment));
    let since = since.chain(pins.map(|pins| pins.changed_at)).chain([changed_at]);
    Decision { decided_at_ms: since.max().unwrap_or(0), offer: offer(seats, moment), pins }
}

fn offer(seats: &[Seat<'_>], moment: Moment<'_>) -> Option<Offer> {
    let seat = seats.iter().find(|seat| seat.in_flight_deployment().is_some())?;
    let Standing::Offered(deployment) = seat.standing(None, moment) else { return None };
    let gate = seat.rollout.plan.phases.get(seat.phase).map(|phase| phase.gate);
    Some(Offer {
        rollout: Arc::clone(seat.rollout),
        release: Arc::clone(seat.route.release(deployment.hop)),
        soak_s: gate.map_or(0, |gate| gate.soak_s),
    })
}

/// Returns what should begin for a device that runs this. Who has switched to an image in another
/// rollout comes to an end there first.
pub fn begin(seats: &[Seat<'_>], running: &Running, moment: Moment<'_>) -> Option<Beginning> {
    let mut in_flight = seats.iter().filter_map(Seat::in_flight_deployment);
    if in_flight.any(|deployment| deployment.is_past_recall()) {
        return None;
    }
    let standings = seats.iter().map(|seat| (seat, seat.standing(Some(running), moment)));
    let mut deciding = standings.skip_while(|(_, standing)| standing.gives_way());
    let (seat, standing) = deciding.next()?;
    let rollout = || Arc::clone(seat.rollout);
    match standing {
        Standing::Waits => Some(Beginning::Offer(rollout(), seat.route.next(&running.version))),
        Standing::HasImage => Some(Beginning::Skip(rollout())),
        Standing::Revoked
        | Standing::NotMeant
        | Standing::PhaseToCome
        | Standing::AboveCeiling
        | Standing::Cancelled
        | Standing::Ended(_)
        | Standing::Unlisted
        | Standing::Stopped(_)
        | Standing::TooEarly(_)
        | Standing::Closed(_)
        | Standing::PutOff { .. }
        | Standing::TriesAgain { .. }
        | Standing::Offered(_) => None,
    }
}

impl Standing {
    /// Tells whether the device is offered a release.
    pub const fn is_offered(self) -> bool {
        matches!(self, Self::Offered(_))
    }

    /// Tells whether a rollout below decides instead: this one was cancelled before the device
    /// switched to its image, or is for others.
    pub const fn gives_way(self) -> bool {
        match self {
            Self::Revoked
            | Self::NotMeant
            | Self::PhaseToCome
            | Self::AboveCeiling
            | Self::Cancelled => true,
            Self::Ended(_)
            | Self::Unlisted
            | Self::Stopped(_)
            | Self::HasImage
            | Self::TooEarly(_)
            | Self::Closed(_)
            | Self::PutOff { .. }
            | Self::TriesAgain { .. }
            | Self::Waits
            | Self::Offered(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use semver::Version;
    use waxwing_wire::{Digest, report};

    use super::*;
    use crate::domain::Deployment;
    use crate::domain::release::tests::release;
    use crate::domain::rollout::tests::{device, finish, halt, rollout};
    use crate::domain::rollout::{Change, Route};

    const OLD: Digest = Digest([1; 32]);
    /// 2026-11-20, a Friday, at noon.
    const NOW_MS: u64 = 1_795_176_000_000;
    const MOMENT: Moment<'static> = Moment { zone: &TimeZone::UTC, now_ms: NOW_MS };

    struct Place {
        rollout: Rollout,
        stones: Vec<Release>,
        release: Release,
        deployment: Option<Deployment>,
        member: bool,
    }

    fn place(id: &str, started_at: u64) -> Place {
        let mut rollout = rollout(id, &[50, 100]);
        rollout.start([device(0), device(1)].iter(), started_at).unwrap();
        rollout.start_next_phase([device(0), device(1)].iter(), started_at);
        Place {
            rollout,
            stones: Vec::new(),
            release: release("1.1.0"),
            deployment: None,
            member: true,
        }
    }

    impl Place {
        /// Offered at 11, and since then this far.
        fn deployed(mut self, state: report::State, changed_at: u64) -> Self {
            let offered = Deployment::waiting().offered(0, 11);
            self.deployment = Some(Deployment { state, changed_at, ..offered });
            self
        }

        fn changed(mut self, change: Change, at: u64) -> Self {
            self.rollout.change(change, at).unwrap();
            self
        }

        fn planned(mut self, change: impl Fn(&mut Rollout)) -> Self {
            change(&mut self.rollout);
            self
        }
    }

    fn running(version: &str, sha256: Digest) -> Running {
        let version = Version::parse(version).unwrap();
        Running { version, sha256, security_version: 1, pins: None, out_s: 0 }
    }

    fn with_seats<T>(places: &[Place], then: impl FnOnce(&[Seat<'_>]) -> T) -> T {
        type Owned = (Arc<Rollout>, Vec<Arc<Release>>, Arc<Release>, Option<Deployment>, bool);
        let own = |place: &Place| -> Owned {
            let stones = place.stones.iter().cloned().map(Arc::new).collect();
            let release = Arc::new(place.release.clone());
            (Arc::new(place.rollout.clone()), stones, release, place.deployment, place.member)
        };
        let owned: Vec<Owned> = places.iter().map(own).collect();
        let seats: Vec<_> = owned
            .iter()
            .map(|(rollout, stones, release, deployment, member)| Seat {
                rollout,
                route: Route { stones, end: release },
                deployment: *deployment,
                member: *member,
                open: release.is_open_to(&device(0)),
                phase: 0,
            })
            .collect();
        then(&seats)
    }

    /// Decides for places, highest first; gives the time and the rollout offered.
    fn check(places: &[Place]) -> (u64, Option<String>) {
        let decision = with_seats(places, |seats| decide(5, None, seats, MOMENT));
        (decision.decided_at_ms, decision.offer.map(|offer| offer.rollout.id.to_string()))
    }

    /// Tells what begins for a device with this running.
    fn begins_for(places: &[Place], running: &Running) -> Option<String> {
        let begins = with_seats(places, |seats| begin(seats, running, MOMENT));
        begins.map(|begins| match begins {
            Beginning::Offer(rollout, hop) => format!("offer {} {hop}", rollout.id),
            Beginning::Skip(rollout) => format!("skip {}", rollout.id),
        })
    }

    fn begins(places: &[Place]) -> Option<String> {
        begins_for(places, &running("1.0.0", OLD))
    }

    #[test]
    fn a_device_in_no_rollout_is_offered_nothing_since_it_last_changed() {
        assert_eq!((check(&[]), begins(&[])), ((5, None), None));
    }

    #[test]
    fn other_pins_are_a_decision_of_their_own() {
        let pins = |changed_at| Pins { length: 1, sha256: OLD, changed_at };
        let decided_at = |pins| decide(5, pins, &[], MOMENT).decided_at_ms;
        assert_eq!(decided_at(Some(pins(9))), 9);
        assert_eq!(decided_at(Some(pins(3))), 5);
        assert_eq!(decide(5, Some(pins(9)), &[], MOMENT).pins, Some(pins(9)));
    }

    #[test]
    fn nothing_is_offered_before_it_is_written_that_it_is() {
        assert_eq!(check(&[place("r", 10)]), (5, None));
        assert_eq!(begins(&[place("r", 10)]).as_deref(), Some("offer r 0"));
    }

    #[test]
    fn what_was_offered_is_offered_until_the_deployment_ends() {
        use report::State;
        for state in State::ALL.into_iter().filter(|state| *state != State::Waiting) {
            let (at, offer) = check(&[place("r", 10).deployed(state, 20)]);
            assert_eq!(offer.is_none(), state.is_final(), "{state}");
            assert_eq!(at, if state.is_final() { 20 } else { 11 }, "{state}");
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
        halt(&mut halted.rollout, 30);
        assert_eq!(check(&[halted]), (30, None));
        assert_eq!(begins(&[place("r", 10).changed(Change::Pause, 30)]), None);
    }

    #[test]
    fn a_release_that_is_delisted_is_offered_no_more() {
        let delisted = |mut place: Place| {
            (place.release.listed, place.release.changed_at) = (false, 50);
            place
        };
        assert_eq!(begins(&[delisted(place("r", 10))]), None);
        let downloading = place("r", 10).deployed(report::State::Downloading, 12);
        assert_eq!(check(&[delisted(downloading)]), (50, None));
    }

    #[test]
    fn a_release_with_a_ceiling_is_offered_below_it_only() {
        let limited = |permille| {
            let mut place = place("new", 20);
            place.release.ceiling_permille = Some(permille);
            place.release.changed_at = 40;
            place
        };
        let begun = |permille| begins(&[limited(permille), place("old", 10)]);
        assert_eq!(begun(1000).as_deref(), Some("offer new 0"));
        assert_eq!(begun(0).as_deref(), Some("offer old 0"), "those above the ceiling");
        let offered = limited(0).deployed(report::State::Offered, 25);
        assert_eq!(check(&[offered, place("old", 10)]), (40, None));
        let switched = limited(0).deployed(report::State::Activated, 25);
        assert_eq!(check(&[switched, place("old", 10)]), (40, Some("new".into())));
    }

    #[test]
    fn the_highest_rollout_decides_even_when_it_has_nothing_to_offer() {
        let done = || place("new", 20).deployed(report::State::Healthy, 25);
        assert_eq!(begins(&[done(), place("old", 10)]), None);
        let paused = place("new", 20).changed(Change::Pause, 30);
        assert_eq!(begins(&[paused, place("old", 10)]), None);
        assert_eq!(begins(&[place("new", 20), place("old", 10)]).as_deref(), Some("offer new 0"));
    }

    #[test]
    fn what_has_begun_goes_on_until_a_higher_rollout_takes_the_device_over() {
        let old = |state| place("old", 10).deployed(state, 12);
        let loading = [place("new", 20), old(report::State::Downloading)];
        assert_eq!(check(&loading), (11, Some("old".into())));
        assert_eq!(begins(&loading).as_deref(), Some("offer new 0"));
        let switched = [place("new", 20), old(report::State::Booted)];
        assert_eq!(begins(&switched), None, "it comes to an end there first");
        let lower = [old(report::State::Downloading), place("new", 20)];
        assert_eq!(begins(&lower), None);
    }

    #[test]
    fn a_rollout_cancelled_before_the_switch_gives_way_to_the_one_below() {
        let new = |state| place("new", 20).deployed(state, 25);
        let cancelled = |place: Place| place.changed(Change::Cancel, 30);
        let verified = cancelled(new(report::State::Verified));
        assert_eq!(begins(&[verified, place("old", 10)]).as_deref(), Some("offer old 0"));
        let switched = cancelled(new(report::State::Healthy));
        assert_eq!(begins(&[switched, place("old", 10)]), None);
    }

    #[test]
    fn whoever_left_the_group_ends_what_it_began_and_then_follows_the_others() {
        let left = |state| Place { member: false, ..place("new", 20).deployed(state, 25) };
        let loading = [left(report::State::Downloading), place("old", 10)];
        assert_eq!(check(&loading), (20, Some("new".into())));
        assert_eq!(begins(&loading), None, "one rollout at a time");
        let done = [left(report::State::Healthy), place("old", 10)];
        assert_eq!(begins(&done).as_deref(), Some("offer old 0"));
        // Another decision, so a later one (D3).
        assert_eq!(check(&done), (25, None));
    }

    #[test]
    fn a_decision_never_becomes_older_when_the_device_switches() {
        let nightly = |place: Place| {
            place.planned(|rollout| rollout.plan.windows = vec!["Fri 10:00-14:00".parse().unwrap()])
        };
        let opened = NOW_MS - 2 * 3_600_000;
        let verified = nightly(place("r", 10).deployed(report::State::Verified, opened + 5));
        assert_eq!(check(&[verified]), (opened, Some("r".into())));
        let switched = nightly(place("r", 10).deployed(report::State::Activated, opened + 9));
        assert_eq!(check(&[switched]), (opened, Some("r".into())));
    }

    #[test]
    fn the_end_of_a_rollout_changes_nothing_for_devices_that_are_done() {
        let mut done = place("r", 10).deployed(report::State::Healthy, 25);
        finish(&mut done.rollout, 90);
        assert_eq!(check(&[done]), (25, None));
    }

    #[test]
    fn a_device_that_had_the_image_before_is_skipped() {
        let has_image = running("1.1.0", release("1.1.0").sha256);
        assert_eq!(begins_for(&[place("r", 10)], &has_image).as_deref(), Some("skip r"));
        // It was offered, so the device itself says how it went.
        let offered = place("r", 10).deployed(report::State::Offered, 11);
        assert_eq!(begins_for(&[offered], &has_image), None);
    }

    #[test]
    fn a_device_that_is_too_old_gets_the_stepping_stone_first() {
        let stony = || {
            let mut place = place("r", 10);
            (place.stones, place.release) = (vec![release("1.1.0")], release("2.0.0"));
            place
        };
        let begun = |version| begins_for(&[stony()], &running(version, OLD));
        assert_eq!(begun("1.0.0").as_deref(), Some("offer r 0"));
        assert_eq!(begun("1.1.0").as_deref(), Some("offer r 1"));
        let offered = stony().deployed(report::State::Offered, 12);
        let offer = with_seats(&[offered], |seats| decide(5, None, seats, MOMENT).offer);
        assert_eq!(offer.unwrap().release.version, Version::new(1, 1, 0));
    }

    #[test]
    fn who_leaves_a_group_of_older_versions_on_a_stepping_stone_is_brought_to_the_end() {
        let standing_on = |hop| {
            let deployment = Some(Deployment { hop, ..Deployment::waiting() });
            let mut place = Place { deployment, member: false, ..place("r", 10) };
            (place.stones, place.release) = (vec![release("1.1.0")], release("2.0.0"));
            [place, self::place("old", 5)]
        };
        let begun = |hop| begins_for(&standing_on(hop), &running("1.1.0", OLD));
        assert_eq!(begun(1).as_deref(), Some("offer r 1"));
        assert_eq!(begun(0).as_deref(), Some("offer old 0"), "it has begun nothing");
    }

    #[test]
    fn who_put_it_off_or_failed_to_fetch_it_is_left_alone_until_then_and_by_lower_rollouts_too() {
        let until = |not_before| {
            let waiting = Deployment { not_before, deferred: 1, ..Deployment::waiting() };
            Place { deployment: Some(waiting), ..place("new", 20) }
        };
        assert_eq!(begins(&[until(NOW_MS + 1), place("old", 10)]), None);
        let over = until(NOW_MS);
        assert_eq!(begins(&[over, place("old", 10)]).as_deref(), Some("offer new 0"));
        let higher = [place("urgent", 30), until(NOW_MS + 1)];
        assert_eq!(begins(&higher).as_deref(), Some("offer urgent 0"));
    }

    #[test]
    fn outside_its_windows_a_rollout_offers_nothing_and_calls_back_who_has_not_switched() {
        let plan = |window: &'static str| {
            move |rollout: &mut Rollout| rollout.plan.windows = vec![window.parse().unwrap()]
        };
        let (open, closed) = ("Fri 11:00-13:00", "Fri 08:00-10:00");
        assert_eq!(begins(&[place("r", 10).planned(plan(closed))]), None);
        assert_eq!(begins(&[place("r", 10).planned(plan(open))]).as_deref(), Some("offer r 0"));
        let hour = 3_600_000;
        let at = |state, window| check(&[place("r", 10).deployed(state, 12).planned(plan(window))]);
        let verified = report::State::Verified;
        assert_eq!(at(verified, closed), (NOW_MS - 2 * hour, None));
        assert_eq!(at(verified, open), (NOW_MS - hour, Some("r".into())));
        assert_eq!(at(report::State::Booted, closed), (11, Some("r".into())));
    }

    #[test]
    fn a_security_fix_waits_for_no_window() {
        let urgent = place("r", 10).planned(|rollout| {
            rollout.plan.windows = vec!["Fri 08:00-10:00".parse().unwrap()];
            rollout.plan.urgency = crate::domain::rollout::Urgency::Security;
        });
        assert_eq!(begins(&[urgent]).as_deref(), Some("offer r 0"));
    }

    #[test]
    fn nothing_begins_before_the_plan_says() {
        let planned = |at| place("r", 10).planned(move |it| it.plan.not_before = Some(at));
        assert_eq!(begins(&[planned(NOW_MS + 1)]), None);
        assert_eq!(begins(&[planned(NOW_MS)]).as_deref(), Some("offer r 0"));
    }
}
