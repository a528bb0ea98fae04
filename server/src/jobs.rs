//! What time drives: each job is one step that takes `now`, may be repeated, and does nothing when
//! there is nothing to do. A loop calls it on a timer and logs what it returns.
//!
//! Not here: retries. A step that failed runs again with the next tick.

pub mod advance;
pub mod clock_mark;
pub mod flush;
pub mod forget;

pub use advance::advance_rollouts;
pub use clock_mark::{keep_clock_mark, renew_if_restored};
pub use flush::flush_sightings;
pub use forget::forget_messages;

#[cfg(test)]
mod tests;
