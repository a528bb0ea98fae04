//! What others have a device do: from a command that was accepted to its answer.
//!
//! A command that is kept for the device is begun once: its number is in the journal before anything is
//! done, with what is to be said if the device restarts meanwhile. What was said is kept: who asks for the
//! same again was not told, whoever took the answer. Not here: whether a command is
//! authentic ([`Trust`](crate::trust::Trust)), nor what an application does.

use alloc::string::String;
use core::time::Duration;

use waxwing_wire::MessageId;
use waxwing_wire::command::{Answer, Command, Order, Outcome};

use super::{Action, Agent, Event, State};
use crate::journal::Record;
use crate::ports::Reply;

/// An authentic command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commanded {
    /// Its number among everything that was signed for this device.
    pub seq: u64,
    /// From when on it is void, in Unix seconds.
    pub expires_s: u64,
    /// What is asked for.
    pub order: Order,
}

/// What was commanded and is not yet done.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// When something was done last.
    done_at: Option<Duration>,
    /// Accepted.
    order: Option<Accepted>,
    /// Being saved; what is asked for comes after.
    saving: Option<Begun>,
    /// Saved, for the application.
    ready: Option<Command>,
    /// To be said until somebody took it ([`Record::told`]), and again when the server asks again.
    answer: Option<Answer>,
}

/// What waits for its turn.
#[derive(Debug)]
struct Accepted {
    number: u64,
    expires_s: u64,
    command: Command,
    due: Duration,
}

/// What is begun.
#[derive(Debug)]
struct Begun {
    command: Command,
    /// The interval before, should this one not be saved.
    interval_s: u32,
}

impl Commands {
    /// Goes on after a reset: what was begun has its answer.
    pub(super) fn after_boot(record: &Record) -> Self {
        let number = record.order;
        let answer = record.answer.map(|outcome| Answer { number, outcome, detail: String::new() });
        Self { answer, ..Self::default() }
    }
}

impl Agent {
    /// Takes note of an authentic command. It follows once its numbers are safe in the journal (D7). Of those
    /// that come within [`Policy::poll_min`](crate::policy::Policy::poll_min) after another one, the last is
    /// done, after that time: whoever commands cannot wear flash out. One that was begun before is not begun
    /// again, but answered again, and one whose time is over when its turn comes is not begun at all.
    pub fn accept_command(&mut self, now: Duration, commanded: Commanded) {
        let Commanded { seq, expires_s, order: Order { number, command } } = commanded;
        // Also of what was begun before: each copy is answered once.
        self.memory.record.command = seq;
        if number <= self.memory.record.order {
            self.say_again(number);
            return;
        }
        let earliest = self.commands.done_at.map_or(now, |at| at + self.memory.policy.poll_min);
        let due = earliest.max(now);
        self.commands.order = Some(Accepted { number, expires_s, command, due });
    }

    /// Says once more what became of a command, if it has come to that: a broker may have lost what it took.
    fn say_again(&mut self, number: u64) {
        if self.commands.answer.as_ref().is_some_and(|answer| answer.number == number) {
            self.memory.record.told = false;
        }
    }

    /// Returns what the application is to do, once. [`Agent::replied`] follows.
    pub fn take_command(&mut self) -> Option<Command> {
        self.commands.ready.take()
    }

    /// Takes note of what the application said to the command.
    pub fn replied(&mut self, reply: Reply) {
        self.answer(reply.outcome, reply.detail);
    }

    /// Returns what is to be said of the last command, and the id of that message: another one after a
    /// reset, for then there may be less to say.
    pub fn unsent_answer(&self) -> Option<(String, &Answer)> {
        let answer = self.commands.answer.as_ref().filter(|_| !self.memory.record.told)?;
        Some((alloc::format!("{:016x}-c{}", self.memory.boot(), answer.number), answer))
    }

    /// Takes note that the server knows the answer; false if the message is not that.
    pub(super) fn answer_acknowledged(&mut self, message: &MessageId) -> bool {
        let is_it = self.unsent_answer().is_some_and(|(id, _)| id == message.as_str());
        // Losing this costs a duplicate, not a write to flash.
        self.memory.record.told |= is_it;
        is_it
    }

    /// Returns when a command is due that can be begun as things are.
    pub(super) fn command_due(&self) -> Option<Duration> {
        let order = self.commands.order.as_ref()?;
        // A restart must not look like a failed trial.
        let is_held = order.command == Command::Reboot && !self.state.may_restart();
        (!is_held).then_some(order.due)
    }

    /// What waited for too long is not done: nobody wants it any more.
    fn drop_void(&mut self, now: Duration) {
        let now_s = self.memory.clock.estimate(now);
        drop(self.commands.order.take_if(|order| order.expires_s <= now_s));
    }

    /// Has what is due saved.
    pub(super) fn begin_command(&mut self, now: Duration) {
        let is_waiting = !self.saving && matches!(self.state.action(), Action::Wait { .. });
        self.drop_void(now);
        if !is_waiting || self.command_due().is_none_or(|due| now < due) {
            return;
        }
        let Some(Accepted { number, command, .. }) = self.commands.order.take() else { return };
        let record = &mut self.memory.record;
        drop(self.commands.answer.take_if(|_| record.told));
        record.told = false;
        record.order = number;
        record.answer = Some(said_after_reset(&command));
        let interval_s = record.interval_s;
        if let Command::SetInterval { seconds } = command {
            record.interval_s = seconds;
        }
        self.commands.saving = Some(Begun { command, interval_s });
        self.commands.done_at = Some(now);
        self.memory.set_unsaved();
    }

    /// Does what was saved.
    pub(super) fn command_saved(&mut self, now: Duration) {
        let Some(Begun { command, .. }) = self.commands.saving.take() else { return };
        match command {
            Command::Reboot => self.state = State::Rebooting,
            Command::Poll | Command::SetInterval { .. } => {
                self.answer(Outcome::Done, String::new());
                // The interval counts from the next poll on.
                self.advance(now, Event::PollRequested);
            }
            Command::Application { .. } | Command::CollectLogs => {
                self.commands.ready = Some(command);
            }
        }
    }

    /// What could come again after a reset is not done.
    pub(super) fn command_not_saved(&mut self) {
        if let Some(Begun { interval_s, .. }) = self.commands.saving.take() {
            self.memory.record.interval_s = interval_s;
            self.answer(Outcome::Failed, String::new());
        }
    }

    fn answer(&mut self, outcome: Outcome, detail: String) {
        let number = self.memory.record.order;
        self.memory.record.answer = Some(outcome);
        self.memory.record.told = false;
        self.commands.answer = Some(Answer { number, outcome, detail });
    }
}

/// What a restart means for a command that was begun.
const fn said_after_reset(command: &Command) -> Outcome {
    match command {
        Command::Application { .. } | Command::CollectLogs => Outcome::Interrupted,
        // Whoever restarted has polled since.
        Command::Poll | Command::Reboot | Command::SetInterval { .. } => Outcome::Done,
    }
}
