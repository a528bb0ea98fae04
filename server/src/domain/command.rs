//! A command to a device, from the operator who sent it to the device's answer.
//!
//! ```text
//!  queued ──▶ sent ──▶ done, failed, interrupted, unknown
//!     └────────┴─────▶ cancelled, expired
//! ```
//!
//! One at a time is with a device: the next one follows when it was answered, cancelled or has expired.
//! The device carries out what has a higher number than the last, so one that is passed over stays
//! so. Not here: signatures, and the way to the device.

use std::time::Duration;

use serde_json::{Map, Value};
use waxwing_wire::command::{self, ARGUMENTS_BYTES_MAX, INTERVAL_S_MAX, INTERVAL_S_MIN, Outcome};
use waxwing_wire::{CommandName, DeviceId};

use super::words;

/// Commands that may wait for one device: a device that is further behind is not helped by more of them.
pub const OPEN_MAX: usize = 16;

/// Shortest life of a command.
pub const LIFE_MIN: Duration = Duration::from_secs(10);
/// Longest life of a command: a device that sleeps for a month is waited for, and an operator who sends
/// one remembers it.
pub const LIFE_MAX: Duration = Duration::from_hours(31 * 24);

/// How long a device has to answer before the same command goes out again: it knows one by its number.
pub const AGAIN_AFTER: Duration = Duration::from_mins(2);

words!(
    /// How far a command is.
    State {
        /// It waits for the device.
        Queued "queued",
        /// It is with the device, or was lost on the way there.
        Sent "sent",
        /// The device carried it out.
        Done "done",
        /// The device tried, and it did not work out.
        Failed "failed",
        /// The device restarted in the middle of it.
        Interrupted "interrupted",
        /// The device does not know it.
        Unknown "unknown",
        /// An operator took it back.
        Cancelled "cancelled",
        /// Its time was over before an answer came.
        Expired "expired",
    }
);

impl State {
    /// Tells whether something may still come of it by itself.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Sent)
    }

    /// Returns what an answer makes of it; `None` if the device has answered before. What was taken back
    /// or has expired may have been with the device by then: its word counts.
    pub const fn answered(self, outcome: Outcome) -> Option<Self> {
        match self {
            Self::Queued | Self::Sent | Self::Cancelled | Self::Expired => Some(match outcome {
                Outcome::Done => Self::Done,
                Outcome::Failed => Self::Failed,
                Outcome::Interrupted => Self::Interrupted,
                Outcome::Unknown => Self::Unknown,
            }),
            Self::Done | Self::Failed | Self::Interrupted | Self::Unknown => None,
        }
    }
}

/// A command to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Rises over all commands.
    pub number: u64,
    /// For whom.
    pub device: DeviceId,
    /// What is asked for.
    pub order: command::Command,
    /// How far it is.
    pub state: State,
    /// Who sent it.
    pub created_by: String,
    /// When, in Unix milliseconds.
    pub created_at: u64,
    /// From when on it is void.
    pub expires_at: u64,
    /// When it went to the device first.
    pub sent_at: Option<u64>,
    /// When it came to its end.
    pub ended_at: Option<u64>,
    /// What the device said besides.
    pub detail: String,
}

impl Command {
    /// Returns how far it is at a time: it may be void before somebody wrote that down.
    pub const fn state_at(&self, now_ms: u64) -> State {
        if self.state.is_open() && self.expires_at <= now_ms { State::Expired } else { self.state }
    }
}

/// Why an operator's request is no command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// An argument is not what the command takes; where, as a path, and why.
    Argument(String, String),
    /// The arguments are too long.
    TooLong,
}

/// What the server knows of a command by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Known {
    /// Send the log.
    CollectLogs,
    /// Poll now.
    Poll,
    /// Restart.
    Reboot,
    /// Poll so often.
    SetInterval,
}

impl Known {
    /// Every command that devices know without their application.
    pub const ALL: [Self; 4] = [Self::CollectLogs, Self::Poll, Self::Reboot, Self::SetInterval];

    /// Returns what it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CollectLogs => "collect_logs",
            Self::Poll => "poll",
            Self::Reboot => "reboot",
            Self::SetInterval => "set_interval",
        }
    }

    /// Returns the command of this name; the others are for applications to know.
    pub fn of(name: &CommandName) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name.as_str())
    }

    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// [`Refused`] names the argument that is missing or wrong.
    pub fn order(self, arguments: &Map<String, Value>) -> Result<command::Command, Refused> {
        let takes = if self == Self::SetInterval { Some("seconds") } else { None };
        if let Some(other) = arguments.keys().find(|key| Some(key.as_str()) != takes) {
            let why = format!("`{}` takes no such argument", self.as_str());
            return Err(Refused::Argument(other.clone(), why));
        }
        Ok(match self {
            Self::CollectLogs => command::Command::CollectLogs,
            Self::Poll => command::Command::Poll,
            Self::Reboot => command::Command::Reboot,
            Self::SetInterval => {
                command::Command::SetInterval { seconds: seconds(arguments.get("seconds"))? }
            }
        })
    }
}

fn seconds(value: Option<&Value>) -> Result<u32, Refused> {
    let seconds = value.and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
    seconds.filter(|it| *it == 0 || command::is_interval(*it)).ok_or_else(|| {
        let why = format!(
            "seconds from poll to poll are {INTERVAL_S_MIN} to {INTERVAL_S_MAX}, or 0 for as the server says"
        );
        Refused::Argument("seconds".to_owned(), why)
    })
}

/// Makes a command for an application, of arguments that its schema allows.
///
/// # Errors
///
/// [`Refused::TooLong`].
pub fn for_application(
    name: CommandName,
    arguments: Map<String, Value>,
) -> Result<command::Command, Refused> {
    let arguments = Value::Object(arguments).to_string();
    let fits = arguments.len() <= ARGUMENTS_BYTES_MAX;
    fits.then_some(command::Command::Application { name, arguments }).ok_or(Refused::TooLong)
}

/// Returns the arguments as the API shows them.
pub fn arguments(order: &command::Command) -> Value {
    match order {
        command::Command::Application { arguments, .. } => {
            serde_json::from_str(arguments).unwrap_or_default()
        }
        command::Command::SetInterval { seconds } => serde_json::json!({ "seconds": seconds }),
        command::Command::CollectLogs | command::Command::Poll | command::Command::Reboot => {
            Value::Object(Map::new())
        }
    }
}

/// Reads a command back from its name and arguments.
pub fn read(name: &str, arguments: &str) -> Option<command::Command> {
    let name: CommandName = name.parse().ok()?;
    let arguments: Map<String, Value> = serde_json::from_str(arguments).ok()?;
    match Known::of(&name) {
        Some(known) => known.order(&arguments).ok(),
        None => for_application(name, arguments).ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(name: &str, arguments: &Value) -> Result<command::Command, Refused> {
        let known = Known::of(&name.parse().unwrap()).unwrap();
        known.order(arguments.as_object().unwrap())
    }

    #[test]
    fn known_commands_take_their_arguments_and_no_others() {
        let interval = command::Command::SetInterval { seconds: 600 };
        assert_eq!(order("set_interval", &json!({ "seconds": 600 })), Ok(interval));
        assert_eq!(order("reboot", &json!({})), Ok(command::Command::Reboot));
        for (name, arguments, at) in [
            ("reboot", json!({ "now": true }), "now"),
            ("poll", json!({ "seconds": 60 }), "seconds"),
            ("set_interval", json!({}), "seconds"),
            ("set_interval", json!({ "seconds": 59 }), "seconds"),
            ("set_interval", json!({ "seconds": 86401 }), "seconds"),
            ("set_interval", json!({ "seconds": "600" }), "seconds"),
            ("set_interval", json!({ "seconds": 600.5 }), "seconds"),
            ("set_interval", json!({ "seconds": -600 }), "seconds"),
            ("set_interval", json!({ "seconds": 600, "of": "poll" }), "of"),
        ] {
            let Err(Refused::Argument(path, _)) = order(name, &arguments) else { panic!("{name}") };
            assert_eq!(path, at, "{name} {arguments}");
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let beep = for_application("beep".parse().unwrap(), Map::new()).unwrap();
        for order in [
            beep,
            command::Command::CollectLogs,
            command::Command::Poll,
            command::Command::Reboot,
            command::Command::SetInterval { seconds: 0 },
        ] {
            let kept = arguments(&order).to_string();
            assert_eq!(read(&order.to_string(), &kept), Some(order));
        }
    }

    #[test]
    fn the_first_answer_stands_and_the_devices_word_counts() {
        for state in State::ALL {
            for outcome in Outcome::ALL {
                let had_answer =
                    !state.is_open() && !matches!(state, State::Cancelled | State::Expired);
                let answered = state.answered(outcome);
                assert_eq!(answered.is_none(), had_answer, "{state} {outcome}");
                assert!(answered.is_none_or(|it| it.as_str() == outcome.as_str()));
            }
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let long = Map::from_iter([("text".to_owned(), Value::from("x".repeat(512)))]);
        assert_eq!(for_application("beep".parse().unwrap(), long), Err(Refused::TooLong));
    }
}
