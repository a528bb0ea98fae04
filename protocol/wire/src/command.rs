//! Commands: what a server may ask a connected device to do at once.
//!
//! They travel signed by the Director's online key (D7); `waxwing-tuf` checks them.

use core::fmt;

/// A command a device knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Command {
    /// Poll now.
    Poll,
}

impl Command {
    /// Returns the command of this name.
    pub fn parse(name: &str) -> Option<Self> {
        (name == Self::Poll.as_str()).then_some(Self::Poll)
    }

    /// Returns the name of the command.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_other_names_are_unknown() {
        assert_eq!(Command::parse("poll"), Some(Command::Poll));
        assert_eq!(Command::parse("set_root"), None);
    }
}
