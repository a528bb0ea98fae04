//! How an agent starts, and why it does not.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use crate::agent::{Agent, Firmware, Seed};
use crate::journal::Record;
use crate::policy::Policy;
use crate::ports::{BootError, BootView};

/// The agent could not be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartError {
    /// The boot records cannot be read.
    Boot(BootError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(_) => f.write_str("boot records cannot be read"),
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Boot(error) => Some(error),
        }
    }
}

/// Makes the agent in its place: it is large, and copies of it would stay on the stack.
#[inline(never)]
pub(super) fn begin(
    firmware: Firmware,
    policy: Policy,
    record: Record,
    view: BootView,
    seed: Seed,
    now: Duration,
    unix_s: u64,
) -> Box<Agent> {
    Box::new(Agent::boot(firmware, policy, record, view, seed, now, unix_s))
}
