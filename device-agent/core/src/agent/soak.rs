//! A confirmed image is watched; the old one stays untouched until that is over (D19), and until then
//! the floor lets it come back (D2).

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::{SOAK_S_MAX, State as Reached};

use super::{Action, Event, Memory, State};
use crate::journal::{Phase, SOAKED_S, Slots};
use crate::ports::Health;

/// How often the application is asked how it is.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// How often the journal learns how long the image was watched: a reset costs at most this much.
const PROGRESS_INTERVAL: Duration = Duration::from_mins(15);

/// The image is kept and watched.
#[derive(Debug)]
pub(super) struct Soaking {
    slots: Slots,
    resets: u32,
    /// Seconds watched in earlier boots.
    soaked_s: u32,
    /// Uptime from which this boot counts.
    since: Duration,
    /// Uptime of the last note in the journal.
    noted: Duration,
    until: Duration,
    next_health: Duration,
    next_poll: Duration,
    doing: Doing,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    CheckingHealth,
    Polling,
    Waiting,
}

impl Soaking {
    /// The image has just been confirmed.
    pub(super) fn begin(memory: &mut Memory, now: Duration, slots: Slots) -> State {
        memory.report(now, Reached::Confirmed, ErrorCode::NONE);
        memory.set_phase(Phase::Soaking { slots, resets: 0, soaked_s: 0 });
        Self::resume(memory, now, slots, 0, 0)
    }

    /// The image was confirmed before this boot, or just now.
    pub(super) fn resume(
        memory: &mut Memory,
        now: Duration,
        slots: Slots,
        resets: u32,
        soaked_s: u32,
    ) -> State {
        let soak_s = memory.record.update.as_ref().map_or(0, |update| update.deployment.soak_s);
        let soak_s = soak_s.min(SOAK_S_MAX);
        let until = now + Duration::from_secs(soak_s.saturating_sub(soaked_s).into());
        let next_poll = memory.next_poll_at(now);
        let (since, noted, next_health, doing) = (now, now, now, Doing::CheckingHealth);
        State::Soaking(Self {
            slots,
            resets,
            soaked_s,
            since,
            noted,
            until,
            next_health,
            next_poll,
            doing,
        })
    }

    pub(super) fn on(mut self, memory: &mut Memory, now: Duration, event: Event) -> State {
        match (self.doing, event) {
            (Doing::CheckingHealth, Event::Health(Health::Bad(_))) => {
                return Reverting::begin(memory, self.slots, ErrorCode::SELF_TEST);
            }
            (Doing::CheckingHealth, Event::Health(Health::Good)) if now >= self.until => {
                memory.raise_floor();
                return Burning::begin(memory, now, self.slots);
            }
            (Doing::CheckingHealth, Event::Health(Health::Good)) => {
                self.next_health = (now + HEALTH_INTERVAL).min(self.until);
                self.doing = Doing::Waiting;
            }
            (Doing::Polling, Event::Answered(contact)) => {
                memory.note(now, contact);
                self.next_poll = memory.next_poll_at(now);
                self.doing = Doing::Waiting;
            }
            (Doing::Polling, Event::Busy(wait)) => {
                self.next_poll = memory.later_until(now, wait);
                self.doing = Doing::Waiting;
            }
            (Doing::Polling, Event::Failed(_)) => {
                self.next_poll = memory.back_off_until(now);
                self.doing = Doing::Waiting;
            }
            (Doing::Waiting, Event::PollRequested) => self.doing = Doing::Polling,
            (Doing::Waiting, Event::Tick) => self.wake(memory, now),
            (Doing::CheckingHealth | Doing::Polling | Doing::Waiting, _) => {}
        }
        State::Soaking(self)
    }

    fn wake(&mut self, memory: &mut Memory, now: Duration) {
        if now >= self.next_health {
            self.doing = Doing::CheckingHealth;
        } else if now >= self.next_poll {
            self.doing = Doing::Polling;
        }
        if now >= self.noted + PROGRESS_INTERVAL {
            self.noted = now;
            let watched = now.saturating_sub(self.since).as_secs();
            let soaked_s = u64::from(self.soaked_s).saturating_add(watched);
            memory.set_phase(Phase::Soaking {
                slots: self.slots,
                resets: self.resets,
                soaked_s: u32::try_from(soaked_s).unwrap_or(u32::MAX),
            });
        }
    }

    pub(super) fn action(&self) -> Action {
        match self.doing {
            Doing::CheckingHealth => Action::CheckHealth,
            Doing::Polling => Action::Poll,
            Doing::Waiting => Action::Wait { until: self.next_health.min(self.next_poll) },
        }
    }
}

/// The image stays for good: what is older must not boot any more, where the product burns eFuses.
#[derive(Debug)]
pub(super) struct Burning {
    secure_version: u32,
}

impl Burning {
    /// D2: not before the image has soaked, and not before the journal knows: from then on no reset
    /// and no illness brings the old image back.
    pub(super) fn begin(memory: &mut Memory, now: Duration, slots: Slots) -> State {
        let signed = memory.record.update.as_ref().map(|update| update.deployment.secure_version);
        // Whatever the journal says: what runs must boot again.
        let own = memory.firmware.secure_version;
        let burned = signed.map(|signed| signed.min(own));
        let Some(secure_version) = burned.filter(|it| *it > memory.view.secure_version) else {
            return memory.conclude(now, Reached::Healthy, ErrorCode::NONE);
        };
        memory.set_phase(Phase::Soaking { slots, resets: 0, soaked_s: SOAKED_S });
        State::Burning(Self { secure_version })
    }

    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            // What cannot be burned is still refused by the floor in the journal.
            Event::Done | Event::Failed(_) => {
                memory.conclude(now, Reached::Healthy, ErrorCode::NONE)
            }
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Burning(self),
        }
    }

    pub(super) const fn action(&self) -> Action {
        Action::Burn { secure_version: self.secure_version }
    }
}

/// The way back to the old image, after the new one was confirmed.
#[derive(Debug)]
pub(super) struct Reverting {
    slots: Slots,
    code: ErrorCode,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The old image's boot record is gone: give it another.
    ActivateOld,
    /// The old image's boot record is still there: it counts when the new one's does not.
    RejectNew,
}

impl Reverting {
    pub(super) fn begin(memory: &mut Memory, slots: Slots, code: ErrorCode) -> State {
        memory.set_phase(Phase::Reverting { slots, code });
        State::Reverting(Self { slots, code, way: Way::RejectNew })
    }

    pub(super) fn on(mut self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match (event, self.way) {
            (Event::Done, _) => State::Rebooting,
            (Event::Failed(_), Way::RejectNew) => {
                self.way = Way::ActivateOld;
                State::Reverting(self)
            }
            // There is no way back: stay, and say why.
            (Event::Failed(_), Way::ActivateOld) => memory.fail(now, self.code),
            (
                Event::Answered(_)
                | Event::Busy(_)
                | Event::Compared(_)
                | Event::Health(_)
                | Event::Opened(_)
                | Event::Permitted(_)
                | Event::PollRequested
                | Event::SelfTested(_)
                | Event::Tick
                | Event::Transferred(_),
                _,
            ) => State::Reverting(self),
        }
    }

    pub(super) const fn action(&self) -> Action {
        match self.way {
            Way::ActivateOld => {
                Action::Activate { slot: self.slots.old, sha256: self.slots.old_sha256 }
            }
            Way::RejectNew => Action::Reject,
        }
    }
}
