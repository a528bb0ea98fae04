//! What time drives: each job is one step that takes `now`, may be repeated, and does nothing when
//! there is nothing to do. A loop calls it on a timer and logs what it returns.
//!
//! Not here: retries. A step that failed runs again with the next tick.

pub mod advance;
pub mod check_audit;
pub mod clock_mark;
pub mod deliver;
pub mod flush;
pub mod forget;
pub mod send_mail;
pub mod sign_audit;
pub mod watch_alerts;
pub mod watch_expiries;
pub mod write_heard;

pub use advance::advance_rollouts;
pub use check_audit::check_audit;
pub use clock_mark::{keep_clock_mark, renew_if_restored};
pub use deliver::deliver_webhooks;
pub use flush::flush_sightings;
pub use forget::forget;
pub use send_mail::send_mail;
pub use sign_audit::sign_audit_if_due;
pub use watch_alerts::watch_alerts;
pub use watch_expiries::watch_expiries;
pub use write_heard::write_heard;

#[cfg(test)]
mod tests;
