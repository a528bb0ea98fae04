//! Commands: what a server may ask a device to do, and what the device answers.
//!
//! They travel signed by the Director's online key (D7); `waxwing-tuf` checks them. In the signed part a
//! command is an object of texts: signed files hold no numbers but integers, and nothing of what an
//! application is asked may get lost. None of them changes keys, channels, server or floors.

mod answer;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

pub use answer::{ANSWER_DETAIL_BYTES_MAX, Answer, Outcome};

use crate::id::CommandName;

/// Longest arguments of a command of an application, in bytes of JSON: the signed command fits into 2 KiB,
/// also when every byte of them has to be escaped.
pub const ARGUMENTS_BYTES_MAX: usize = 512;

/// Shortest time between polls that can be asked for, in seconds.
pub const INTERVAL_S_MIN: u32 = 60;
/// Longest time between polls that can be asked for, in seconds: a day. A device that polls less often is
/// as good as lost.
pub const INTERVAL_S_MAX: u32 = 24 * 3600;

/// What a device is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Something that only the application knows.
    Application {
        /// What it is called.
        name: CommandName,
        /// With what: a JSON object.
        arguments: String,
    },
    /// Send the newest lines of the log.
    CollectLogs,
    /// Poll now.
    Poll,
    /// Restart.
    Reboot,
    /// Poll so often, whatever the server says in its answers; 0: as the server says.
    SetInterval {
        /// Seconds from poll to poll.
        seconds: u32,
    },
}

/// A command, as it is signed for a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Rises with every command for the device: each is carried out once, and answered.
    pub number: u64,
    /// What is asked for.
    pub command: Command,
}

impl Command {
    /// Returns the word of what it does.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Application { .. } => "application",
            Self::CollectLogs => "collect_logs",
            Self::Poll => "poll",
            Self::Reboot => "reboot",
            Self::SetInterval { .. } => "set_interval",
        }
    }
}

impl Order {
    /// Writes what is signed, as fields of texts.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let name = ("name", self.command.as_str().to_string());
        let number = ("number", self.number.to_string());
        let what = match &self.command {
            Command::Application { name, arguments } => {
                alloc::vec![("application", name.to_string()), ("arguments", arguments.clone())]
            }
            Command::SetInterval { seconds } => alloc::vec![("seconds", seconds.to_string())],
            Command::CollectLogs | Command::Poll | Command::Reboot => Vec::new(),
        };
        what.into_iter().chain([name, number]).collect()
    }

    /// Reads what was signed: `field` returns the text of a field. Fields of later servers are passed
    /// over; `None` for a command that is not known here.
    pub fn read(field: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = field("number")?.parse().ok()?;
        let command = match field("name")?.as_str() {
            "application" => {
                let arguments = field("arguments")?;
                let fits = arguments.len() <= ARGUMENTS_BYTES_MAX;
                let name = field("application")?.parse().ok().filter(|_| fits)?;
                Command::Application { name, arguments }
            }
            "collect_logs" => Command::CollectLogs,
            "poll" => Command::Poll,
            "reboot" => Command::Reboot,
            "set_interval" => {
                let seconds = field("seconds")?.parse().ok()?;
                let is_interval = seconds == 0 || is_interval(seconds);
                Some(Command::SetInterval { seconds }).filter(|_| is_interval)?
            }
            _ => return None,
        };
        Some(Self { number, command })
    }
}

/// Tells whether a device may be asked to poll so often.
pub const fn is_interval(seconds: u32) -> bool {
    INTERVAL_S_MIN <= seconds && seconds <= INTERVAL_S_MAX
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application { name, .. } => name.fmt(f),
            Self::CollectLogs | Self::Poll | Self::Reboot | Self::SetInterval { .. } => {
                f.write_str(self.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn command() -> impl Strategy<Value = Command> {
        let application = ("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", ".{0,100}");
        prop_oneof![
            application.prop_map(|(name, arguments)| {
                Command::Application { name: name.parse().unwrap(), arguments }
            }),
            Just(Command::CollectLogs),
            Just(Command::Poll),
            Just(Command::Reboot),
            Just(Command::SetInterval { seconds: 0 }),
            (INTERVAL_S_MIN..=INTERVAL_S_MAX).prop_map(|seconds| Command::SetInterval { seconds }),
        ]
    }

    fn read(fields: &[(&'static str, String)]) -> Option<Order> {
        let fields: BTreeMap<_, _> = fields.iter().cloned().collect();
        Order::read(|name| fields.get(name).cloned())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, command in command()) {
            let order = Order { number, command };
            prop_assert_eq!(read(&order.fields()), Some(order));
        }
    }

    #[test]
    fn what_is_no_command_is_none() {
        let field = |name, value: &str| (name, value.to_owned());
        let long = "x".repeat(ARGUMENTS_BYTES_MAX + 1);
        let numbered = |fields: &[_]| [fields, &[field("number", "7")]].concat();
        for fields in [
            vec![],
            vec![field("name", "poll")],
            vec![field("name", "poll"), field("number", "-1")],
            vec![field("name", "poll"), field("number", "")],
            numbered(&[]),
            numbered(&[field("name", "set_root")]),
            numbered(&[field("name", "Poll")]),
            numbered(&[field("name", "set_interval")]),
            numbered(&[field("name", "set_interval"), field("seconds", "59")]),
            numbered(&[field("name", "set_interval"), field("seconds", "86401")]),
            numbered(&[field("name", "application"), field("application", "beep")]),
            numbered(&[
                field("name", "application"),
                field("application", "../x"),
                field("arguments", "{}"),
            ]),
            numbered(&[
                field("name", "application"),
                field("application", "x"),
                field("arguments", &long),
            ]),
        ] {
            assert_eq!(read(&fields), None, "{fields:?}");
        }
        let later = numbered(&[field("name", "poll"), field("wait", "later")]);
        assert_eq!(read(&later), Some(Order { number: 7, command: Command::Poll }));
    }
}
