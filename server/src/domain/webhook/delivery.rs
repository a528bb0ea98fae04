//! A delivery: one message on its way to one webhook, again and again until somebody takes it.
//!
//! ```text
//!       begin              2xx
//! due ---------> in flight ----> delivered
//!  ^               | | |             |
//!  |--no, for now--' | '--gone, or a day later--> dead
//!  |                 |                              |
//!  '--began anew-----'<--------redelivered----------'
//! ```
//!
//! What was in flight when the server ended is sent again: at least once, with the same identifier.
//! Not here: which message of which webhook this is.

use std::fmt;
use std::str::FromStr;

use crate::domain::words;

/// The wait after the first attempt, in milliseconds: a restart of the receiver.
const FIRST_WAIT_MS: u64 = 5_000;

/// Each wait is so many times the one before.
const WAIT_FACTOR: u64 = 4;

/// The longest wait, in milliseconds: four hours.
const WAIT_MS_MAX: u64 = 4 * 3600 * 1000;

/// How long a message is tried, in milliseconds: a day, so that an outage of a night is no loss.
const PATIENCE_MS: u64 = 24 * 3600 * 1000;

/// The receiver wants no such message any more (Standard Webhooks, "Delivery success and failure").
const GONE: u16 = 410;

/// The mailbox does not take it (RFC 5321, section 4.2.2: x5z is about the mail system, 5yz for good). What
/// else is refused for good, such as a login, somebody may set right meanwhile.
const NO_MAILBOX: u16 = 550;
const NO_MAILBOX_MAX: u16 = 559;

words!(
    /// How far a delivery is.
    State {
        /// To be sent, now or later.
        Due "due",
        /// Sent, without an answer yet.
        InFlight "in_flight",
        /// The receiver has it.
        Delivered "delivered",
        /// Given up.
        Dead "dead",
    }
);

words!(
    /// Why there was no answer.
    Failure {
        /// The name leads to machines that are not to be asked.
        AddressRefused "address_refused",
        /// No connection, or no TLS that can be believed.
        NotReached "not_reached",
        /// No answer in time.
        TimedOut "timed_out",
    }
);

/// What came of an attempt. Never what the receiver said: that is not ours to keep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The receiver answered with this HTTP status.
    Answered(u16),
    /// The mail server replied with this code (RFC 5321, section 4.2).
    Replied(u16),
    /// It did not.
    Failed(Failure),
}

/// One message on its way to one webhook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// How far it is.
    pub state: State,
    /// How often it was sent since then.
    pub attempts: u32,
    /// Since when it is tried, in Unix milliseconds.
    pub since: u64,
    /// When it is sent next, if it is due, in Unix milliseconds.
    pub due_at: u64,
    /// What came of the last attempt.
    pub outcome: Option<Outcome>,
    /// When any of this last changed, in Unix milliseconds.
    pub changed_at: u64,
}

/// The message is on its way: it need not be sent once more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the message is still on its way")]
pub struct OnItsWay;

impl Delivery {
    /// Begins: due at once.
    pub const fn new(now_ms: u64) -> Self {
        Self {
            state: State::Due,
            attempts: 0,
            since: now_ms,
            due_at: now_ms,
            outcome: None,
            changed_at: now_ms,
        }
    }

    /// Sends it, if it is to be sent now. What is in flight although nobody waits for an answer is sent
    /// again: the server ended, or could not write down what came of it.
    #[must_use]
    pub fn begin(self, now_ms: u64) -> Option<Self> {
        match self.state {
            State::Due | State::InFlight if self.is_due(now_ms) => Some(Self {
                state: State::InFlight,
                attempts: self.attempts.saturating_add(1),
                since: self.since.min(now_ms),
                changed_at: now_ms,
                ..self
            }),
            State::Due | State::InFlight | State::Delivered | State::Dead => None,
        }
    }

    /// Tells whether its time has come. What was written in the future does not wait for the time that a
    /// clock showed before it was set back.
    const fn is_due(&self, now_ms: u64) -> bool {
        self.due_at <= now_ms || self.changed_at > now_ms
    }

    /// Takes note of what came of the attempt. `jitter` is any number: where many receivers failed at
    /// once, they are not all asked at once again.
    #[must_use]
    pub fn on_outcome(self, outcome: Outcome, now_ms: u64, jitter: u16) -> Self {
        let since = self.since.min(now_ms);
        let next = Self { outcome: Some(outcome), since, changed_at: now_ms, ..self };
        let due_at = now_ms.saturating_add(wait_ms(self.attempts, jitter));
        let is_late = due_at > since.saturating_add(PATIENCE_MS);
        match outcome {
            Outcome::Answered(200..=299) | Outcome::Replied(200..=299) => {
                Self { state: State::Delivered, ..next }
            }
            Outcome::Answered(GONE) | Outcome::Replied(NO_MAILBOX..=NO_MAILBOX_MAX) => {
                Self { state: State::Dead, ..next }
            }
            Outcome::Answered(_) | Outcome::Replied(_) | Outcome::Failed(_) if is_late => {
                Self { state: State::Dead, ..next }
            }
            Outcome::Answered(_) | Outcome::Replied(_) | Outcome::Failed(_) => {
                Self { state: State::Due, due_at, ..next }
            }
        }
    }

    /// Sends it once more, with all patience, as somebody asked.
    ///
    /// # Errors
    ///
    /// [`OnItsWay`] unless it was delivered or given up.
    pub const fn again(self, now_ms: u64) -> Result<Self, OnItsWay> {
        match self.state {
            State::Due | State::InFlight => Err(OnItsWay),
            State::Delivered | State::Dead => {
                Ok(Self { outcome: self.outcome, ..Self::new(now_ms) })
            }
        }
    }
}

/// Returns how long to wait after so many attempts: between half of the wait and all of it.
fn wait_ms(attempts: u32, jitter: u16) -> u64 {
    let factor = WAIT_FACTOR.saturating_pow(attempts.saturating_sub(1));
    let half = FIRST_WAIT_MS.saturating_mul(factor).min(WAIT_MS_MAX) / 2;
    half + half * u64::from(jitter) / u64::from(u16::MAX)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "http_{status}"),
            Self::Replied(code) => write!(f, "smtp_{code}"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

/// The text is no outcome.
#[derive(Debug, thiserror::Error)]
#[error("no outcome of an attempt")]
pub struct NoOutcome;

impl FromStr for Outcome {
    type Err = NoOutcome;

    fn from_str(text: &str) -> Result<Self, NoOutcome> {
        if let Some(code) = text.strip_prefix("smtp_") {
            return code.parse().map(Self::Replied).map_err(|_| NoOutcome);
        }
        let Some(status) = text.strip_prefix("http_") else {
            return Failure::parse(text).map(Self::Failed).ok_or(NoOutcome);
        };
        status.parse().map(Self::Answered).map_err(|_| NoOutcome)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof};
    use proptest::strategy::{Just, Strategy};

    use super::*;

    const FAILED: Outcome = Outcome::Answered(500);

    #[track_caller]
    fn attempt(delivery: Delivery, outcome: Outcome, jitter: u16) -> Delivery {
        let begun = delivery.begin(delivery.due_at).unwrap();
        begun.on_outcome(outcome, delivery.due_at, jitter)
    }

    #[test]
    fn waits_grow_from_seconds_to_hours() {
        let waits: Vec<_> = (1..9).map(|attempts| wait_ms(attempts, u16::MAX) / 1000).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280, 5120, 14_400, 14_400]);
        assert_eq!(wait_ms(1, 0), FIRST_WAIT_MS / 2);
        assert_eq!(wait_ms(u32::MAX, 0), WAIT_MS_MAX / 2);
    }

    #[test]
    fn a_message_is_tried_for_a_day_and_no_longer() {
        let mut delivery = Delivery::new(1_000);
        while delivery.state == State::Due {
            delivery = attempt(delivery, FAILED, u16::MAX);
        }
        assert_eq!(delivery.state, State::Dead);
        assert!(delivery.changed_at <= 1_000 + PATIENCE_MS);
        assert!(delivery.changed_at > 1_000 + PATIENCE_MS - WAIT_MS_MAX);
        assert_eq!(delivery.begin(u64::MAX), None);
    }

    #[test]
    fn only_success_is_success_and_gone_is_the_end() {
        for (outcome, state) in [
            (Outcome::Answered(200), State::Delivered),
            (Outcome::Answered(204), State::Delivered),
            (Outcome::Answered(199), State::Due),
            (Outcome::Answered(301), State::Due),
            (Outcome::Answered(404), State::Due),
            (Outcome::Answered(GONE), State::Dead),
            (Outcome::Replied(250), State::Delivered),
            (Outcome::Replied(451), State::Due),
            (Outcome::Replied(535), State::Due),
            (Outcome::Replied(550), State::Dead),
            (Outcome::Replied(559), State::Dead),
            (Outcome::Replied(560), State::Due),
            (Outcome::Failed(Failure::TimedOut), State::Due),
        ] {
            assert_eq!(attempt(Delivery::new(1), outcome, 0).state, state, "{outcome}");
        }
    }

    #[test]
    fn what_was_in_flight_when_the_server_ended_is_sent_again() {
        let begun = Delivery::new(1).begin(1).unwrap();
        assert_eq!(begun.state, State::InFlight);
        assert_eq!(begun.begin(2).unwrap().attempts, 2);
    }

    #[test]
    fn nothing_waits_for_the_time_that_a_clock_showed_before_it_was_set_back() {
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let new = Delivery::new(YEAR_MS);
        let tried = attempt(new, FAILED, 0);
        let in_flight = tried.begin(tried.due_at).unwrap();
        assert_eq!(tried.begin(YEAR_MS), None, "the clock is as it was");
        for ahead in [new, tried, in_flight] {
            let begun = ahead.begin(7).unwrap();
            assert_eq!((begun.changed_at, begun.since), (7, 7));
            assert_eq!(begun.attempts, ahead.attempts + 1);
            let mut delivery = begun.on_outcome(FAILED, 9, 0);
            assert_eq!(delivery.begin(9), None, "from then on it waits as any other");
            while delivery.state == State::Due {
                delivery = attempt(delivery, FAILED, u16::MAX);
            }
            assert!(delivery.changed_at <= 7 + PATIENCE_MS, "and for a day at most");
        }
        let ended = in_flight.on_outcome(FAILED, 7, 0);
        assert_eq!((ended.state, ended.since), (State::Due, 7), "set back while it was in flight");
    }

    #[test]
    fn only_what_came_to_an_end_is_sent_once_more() {
        let due = Delivery::new(1);
        assert_eq!(due.again(2), Err(OnItsWay));
        assert_eq!(due.begin(1).unwrap().again(2), Err(OnItsWay));
        let dead = attempt(due, Outcome::Answered(GONE), 0);
        let again = dead.again(5).unwrap();
        assert_eq!((again.state, again.attempts, again.since), (State::Due, 0, 5));
        assert_eq!(again.outcome, dead.outcome);
    }

    #[test]
    fn an_outcome_is_read_as_it_was_written() {
        for outcome in [FAILED, Outcome::Failed(Failure::AddressRefused)] {
            assert_eq!(outcome.to_string().parse::<Outcome>().unwrap(), outcome);
        }
        assert!("http_".parse::<Outcome>().is_err() && "never".parse::<Outcome>().is_err());
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            (100_u16..600).prop_map(Outcome::Answered),
            Just(Outcome::Failed(Failure::NotReached)),
        ]
    }

    proptest::proptest! {
        #[test]
        fn whatever_receivers_answer_each_wait_is_longer_than_none_and_it_ends(
            answers in proptest::collection::vec((outcomes(), any::<u16>()), 0..64),
        ) {
            let mut delivery = Delivery::new(7);
            for (outcome, jitter) in answers {
                let Some(begun) = delivery.begin(delivery.due_at) else { break };
                prop_assert_eq!(begun.attempts, delivery.attempts + 1);
                let next = begun.on_outcome(outcome, delivery.due_at, jitter);
                if next.state == State::Due {
                    prop_assert!(next.due_at > delivery.due_at);
                    prop_assert!(next.due_at <= next.since + PATIENCE_MS);
                }
                delivery = next;
            }
        }
    }
}
