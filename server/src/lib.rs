//! The Waxwing server: chooses, per device and poll, which signed release a device should run.
//!
//! Arrows inside: `http, mqtt, jobs -> store -> domain`. `domain` is pure and knows none of the
//! others; `store` holds the only SQL; [`fleet`] is the copy in memory that answers polls.
//! Not here: release keys. Nothing in this crate can make a release.

pub mod clock;
pub mod http;
pub mod random;
pub mod store;
