//! The clock of the world, which connections to this machine and limits of a run live in.

use std::time::Instant;

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "this is where the emulator meets the world")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
