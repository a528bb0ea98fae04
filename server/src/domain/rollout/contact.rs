//! Contact: devices that went back because they could not reach the server are no evidence while
//! devices without the image cannot reach it either (D18).
//!
//! Both are counted by the hour in which they were back and said so. Of the devices of a phase that came
//! to an end in an hour, as large a share may have gone back for want of contact as of the other devices
//! had none around that hour; those are *excused*. Until the hour after is over it cannot be told, for
//! others may not be back yet: so long they are *doubtful*, which lets nobody else in and halts
//! nothing. Not here: what a device says, and where it is kept.

use std::collections::{BTreeMap, HashSet};

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::domain::Deployment;

/// For how many seconds a device must have been without contact to count: as long as a new image may
/// be before it goes back (D18).
pub const LOST_S: u32 = 30 * 60;

const HOUR_MS: u64 = 3_600_000;

/// Who came to an end, and who had no contact, by hour.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    /// Devices with the image, by phase and hour.
    ended: BTreeMap<(u8, u64), Ended>,
    /// How many devices without the image were back after a time without contact, by hour.
    lost: BTreeMap<u64, u64>,
    /// The last hour, and who was back in it: each counts once.
    lately: (u64, HashSet<u32>),
}

/// Devices that came to an end in an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    all: u64,
    without_contact: u64,
}

/// Devices that went back for want of contact.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unreachable {
    /// It cannot be told yet whether it was the release.
    pub doubtful: u64,
    /// As many as it befell devices without the image as well.
    pub excused: u64,
}

/// Returns the hour of a time, in hours since 1970.
pub const fn hour_of(at_ms: u64) -> u64 {
    at_ms / HOUR_MS
}

impl Contact {
    /// Counts a device that came to an end with the image, or by trying it.
    pub fn add(&mut self, deployment: &Deployment) {
        let Some((key, without_contact)) = ending(deployment) else { return };
        let ended = self.ended.entry(key).or_default();
        ended.all += 1;
        ended.without_contact += u64::from(without_contact);
    }

    /// Takes back what [`Self::add`] counted.
    pub fn remove(&mut self, deployment: &Deployment) {
        let Some((key, without_contact)) = ending(deployment) else { return };
        let Some(ended) = self.ended.get_mut(&key) else { return };
        ended.all = ended.all.saturating_sub(1);
        ended.without_contact = ended.without_contact.saturating_sub(u64::from(without_contact));
    }

    /// Forgets who came to an end: they are counted anew.
    pub fn forget_ended(&mut self) {
        self.ended.clear();
    }

    /// Tells whether a device without the image that is back was already counted in this hour.
    pub fn has_lost(&self, device: u32, hour: u64) -> bool {
        self.lately.0 == hour && self.lately.1.contains(&device)
    }

    /// Counts so many devices without the image that are back in an hour, `who` among them.
    pub fn lose(&mut self, hour: u64, devices: u64, who: &[u32]) {
        if self.lately.0 != hour {
            self.lately = (hour, HashSet::new());
        }
        self.lately.1.extend(who);
        *self.lost.entry(hour).or_default() += devices;
    }

    /// Tells whether any device went back for want of contact.
    pub fn is_wanting(&self) -> bool {
        self.ended.values().any(|ended| ended.without_contact > 0)
    }

    /// Judges those devices of a phase that went back for want of contact. `without` is how many devices
    /// have not switched.
    pub fn unreachable(&self, phase: u8, without: u64, now_ms: u64) -> Unreachable {
        let mut found = Unreachable::default();
        for ((_, hour), ended) in self.ended.range((phase, 0)..=(phase, u64::MAX)) {
            if hour_of(now_ms) <= hour + 1 {
                found.doubtful += ended.without_contact;
            } else {
                let befell_all = share_of(ended.all, self.lost_around(*hour), without);
                found.excused += ended.without_contact.min(befell_all);
            }
        }
        found
    }

    fn lost_around(&self, hour: u64) -> u64 {
        self.lost.range(hour.saturating_sub(1)..=hour + 1).map(|(_, devices)| devices).sum()
    }
}

/// Tells where a deployment counts, if it came to an end by the word of the device, and whether it did
/// for want of contact.
fn ending(deployment: &Deployment) -> Option<((u8, u64), bool)> {
    let counts = matches!(deployment.state, State::Healthy | State::Failed | State::RolledBack);
    let key = (deployment.phase, hour_of(deployment.changed_at));
    counts.then_some((key, went_back_unreachable(deployment)))
}

/// Tells whether a device went back because it could not reach the server.
pub fn went_back_unreachable(deployment: &Deployment) -> bool {
    deployment.state == State::RolledBack && deployment.code == ErrorCode::NO_CONTACT
}

/// Returns `devices * part / whole`, rounded to the nearest; of no whole, none.
fn share_of(devices: u64, part: u64, whole: u64) -> u64 {
    let part = part.min(whole);
    (2 * devices * part + whole).checked_div(2 * whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 400_000 * HOUR_MS;
    /// The hour after is over.
    const LATER: u64 = NOON + 2 * HOUR_MS;

    fn ended(state: State, code: ErrorCode) -> Deployment {
        Deployment { state, code, changed_at: NOON, ..Deployment::in_phase(0) }
    }

    /// So many devices went back for want of contact, so many became healthy, so many others had no contact.
    fn contact(gone_back: u64, healthy: u64, lost: u32) -> Contact {
        let mut contact = Contact::default();
        (0..gone_back).for_each(|_| contact.add(&ended(State::RolledBack, ErrorCode::NO_CONTACT)));
        (0..healthy).for_each(|_| contact.add(&ended(State::Healthy, ErrorCode::NONE)));
        contact.lose(hour_of(NOON), lost.into(), &[]);
        contact
    }

    #[track_caller]
    fn check(contact: &Contact, without: u64, excused: u64) {
        let expected = Unreachable { doubtful: 0, excused };
        assert_eq!(contact.unreachable(0, without, LATER), expected);
    }

    #[test]
    fn who_went_back_while_nobody_had_contact_is_excused() {
        check(&contact(15, 0, 100), 100, 15);
        check(&contact(15, 15, 100), 100, 15);
    }

    #[test]
    fn who_went_back_while_others_had_contact_is_not() {
        check(&contact(15, 0, 0), 1000, 0);
        check(&contact(15, 0, 10), 1000, 0);
        check(&contact(1, 0, 0), 0, 0);
    }

    #[test]
    fn no_larger_a_share_is_excused_than_befell_the_others() {
        check(&contact(40, 60, 100), 1000, 10);
        check(&contact(5, 95, 100), 1000, 5);
        check(&contact(40, 60, 2000), 1000, 40);
        check(&contact(3, 0, 1), 2, 2);
        check(&contact(1, 0, 1), 3, 0);
    }

    #[test]
    fn only_who_came_to_an_end_by_its_own_word_is_compared() {
        for state in State::ALL {
            let mut contact = contact(4, 0, 50);
            (0..8).for_each(|_| contact.add(&ended(state, ErrorCode::NONE)));
            let counts = [State::Healthy, State::Failed, State::RolledBack].contains(&state);
            check(&contact, 100, if counts { 4 } else { 2 });
        }
    }

    #[test]
    fn as_long_as_others_may_not_be_back_it_cannot_be_told() {
        let contact = contact(3, 0, 100);
        for now_ms in [0, NOON, NOON + 2 * HOUR_MS - 1] {
            let doubtful = Unreachable { doubtful: 3, excused: 0 };
            assert_eq!(contact.unreachable(0, 100, now_ms), doubtful, "{now_ms}");
        }
        assert_eq!(contact.unreachable(1, 100, NOON), Unreachable::default(), "another phase");
    }

    #[test]
    fn only_who_was_without_contact_around_that_hour_counts() {
        for (hours, excused) in [(-2, 0), (-1, 3), (0, 3), (1, 3), (2, 0)] {
            let mut contact = contact(3, 0, 0);
            contact.lose(hour_of(NOON).checked_add_signed(hours).unwrap(), 1, &[1]);
            let found = contact.unreachable(0, 1, NOON + 4 * HOUR_MS);
            assert_eq!(found.excused, excused, "{hours}");
        }
    }

    #[test]
    fn a_device_counts_once_an_hour() {
        let (mut contact, hour) = (Contact::default(), hour_of(NOON));
        contact.lose(hour, 2, &[1, 2]);
        assert_eq!([1, 2, 3].map(|device| contact.has_lost(device, hour)), [true, true, false]);
        assert!(!contact.has_lost(1, hour + 1));
        contact.lose(hour + 1, 1, &[1]);
        assert_eq!([1, 2].map(|device| contact.has_lost(device, hour + 1)), [true, false]);
        assert_eq!(contact.lost_around(hour), 3);
    }

    #[test]
    fn what_is_counted_can_be_taken_back() {
        let mut contact = contact(2, 0, 100);
        contact.remove(&ended(State::RolledBack, ErrorCode::NO_CONTACT));
        check(&contact, 100, 1);
        for other in [
            ended(State::TimedOut, ErrorCode::NONE),
            ended(State::RolledBack, ErrorCode::SELF_TEST),
            ended(State::Booted, ErrorCode::NONE),
        ] {
            contact.add(&other);
        }
        check(&contact, 100, 1);
        contact.forget_ended();
        check(&contact, 100, 0);
    }
}
