//! A new image proves itself: self-test, then an authentic answer of the server, then it stays.

use core::time::Duration;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State as Reached;

use super::soak::Soaking;
use super::{Action, Event, Memory, State};
use crate::journal::{Phase, Slots};
use crate::ports::SelfTest;

/// How often an undecided self-test is asked again.
const SELF_TEST_INTERVAL: Duration = Duration::from_secs(1);

/// The application tests itself.
#[derive(Debug)]
pub(super) struct Testing {
    /// `None` for an image that somebody else installed.
    slots: Option<Slots>,
    deadline: Duration,
    /// The test needs time until then.
    paused_until: Option<Duration>,
}

impl Testing {
    pub(super) fn begin(memory: &Memory, now: Duration, slots: Option<Slots>) -> State {
        let deadline = now + memory.policy.self_test_max;
        State::Testing(Self { slots, deadline, paused_until: None })
    }

    pub(super) fn on(mut self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::SelfTested(SelfTest::Failed(_)) => {
                Rejecting::begin(memory, self.slots, ErrorCode::SELF_TEST)
            }
            Event::SelfTested(SelfTest::Passed) => Contacting::begin(memory, now, self.slots),
            Event::SelfTested(SelfTest::Running) if now >= self.deadline => {
                Rejecting::begin(memory, self.slots, ErrorCode::TRIAL_TIMEOUT)
            }
            Event::SelfTested(SelfTest::Running) => {
                self.paused_until = Some(now + SELF_TEST_INTERVAL);
                State::Testing(self)
            }
            Event::Tick => {
                self.paused_until = self.paused_until.filter(|until| now < *until);
                State::Testing(self)
            }
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Done
            | Event::Failed(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::Transferred(_) => State::Testing(self),
        }
    }

    pub(super) fn action(&self) -> Action {
        self.paused_until.map_or(Action::SelfTest, |until| Action::Wait { until })
    }
}

/// The new image must reach the server, or it could never be updated again (D18).
#[derive(Debug)]
pub(super) struct Contacting {
    slots: Option<Slots>,
    deadline: Duration,
    paused_until: Option<Duration>,
}

impl Contacting {
    fn begin(memory: &Memory, now: Duration, slots: Option<Slots>) -> State {
        let deadline = now + memory.policy.no_contact_max;
        State::Contacting(Self { slots, deadline, paused_until: None })
    }

    pub(super) fn on(mut self, memory: &mut Memory, now: Duration, event: Event) -> State {
        match event {
            Event::Answered(contact) => {
                memory.note(now, contact);
                Confirming::begin(memory, self.slots)
            }
            Event::Busy(_) | Event::Failed(_) if now >= self.deadline => {
                Rejecting::begin(memory, self.slots, ErrorCode::NO_CONTACT)
            }
            Event::Busy(wait) => {
                self.paused_until = Some(memory.later_until(now, wait).min(self.deadline));
                State::Contacting(self)
            }
            Event::Failed(_) => {
                self.paused_until = Some(memory.back_off_until(now).min(self.deadline));
                State::Contacting(self)
            }
            Event::PollRequested => {
                self.paused_until = None;
                State::Contacting(self)
            }
            Event::Tick => {
                self.paused_until = self.paused_until.filter(|until| now < *until);
                State::Contacting(self)
            }
            Event::Done
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::SelfTested(_)
            | Event::Transferred(_) => State::Contacting(self),
        }
    }

    pub(super) fn action(&self) -> Action {
        self.paused_until.map_or(Action::Poll, |until| Action::Wait { until })
    }
}

/// The boot record is being written: the image stays.
#[derive(Debug)]
pub(super) struct Confirming {
    slots: Option<Slots>,
}

impl Confirming {
    pub(super) fn begin(memory: &mut Memory, slots: Option<Slots>) -> State {
        if let Some(slots) = slots {
            memory.set_phase(Phase::Confirming(slots));
        }
        State::Confirming(Self { slots })
    }

    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Done => match self.slots {
                None => memory.next_poll(now),
                Some(slots) => Soaking::begin(memory, now, slots),
            },
            Event::Failed(code) => match self.slots {
                None => memory.next_poll(now),
                Some(slots) => Rejecting::begin(memory, Some(slots), *code),
            },
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Confirming(self),
        }
    }
}

/// The new image gives itself up.
#[derive(Debug)]
pub(super) struct Rejecting {
    /// It is one that somebody else installed.
    pub(super) foreign: bool,
}

impl Rejecting {
    pub(super) fn begin(memory: &mut Memory, slots: Option<Slots>, code: ErrorCode) -> State {
        if let Some(slots) = slots {
            memory.set_phase(Phase::Rejecting { slots, code });
        }
        State::Rejecting(Self { foreign: slots.is_none() })
    }

    pub(super) fn on(self, event: &Event) -> State {
        match event {
            // Nothing else would boot. If it stays it can at least be updated.
            Event::Failed(_) if self.foreign => State::Confirming(Confirming { slots: None }),
            // Without a record that says so the boot loader goes back by itself, and if it does
            // not, the journal has the next boot try again.
            Event::Done | Event::Failed(_) => State::Rebooting,
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Rejecting(self),
        }
    }
}

/// The old image runs again and is being confirmed, for it had to be activated to come back.
#[derive(Debug)]
pub(super) struct Restoring {
    pub(super) code: ErrorCode,
}

impl Restoring {
    pub(super) fn on(self, memory: &mut Memory, now: Duration, event: &Event) -> State {
        match event {
            Event::Done | Event::Failed(_) => memory.conclude(now, Reached::RolledBack, self.code),
            Event::Answered(_)
            | Event::Busy(_)
            | Event::Compared(_)
            | Event::Health(_)
            | Event::Opened(_)
            | Event::Permitted(_)
            | Event::PollRequested
            | Event::SelfTested(_)
            | Event::Tick
            | Event::Transferred(_) => State::Restoring(self),
        }
    }
}
