//! What this crate promises, against real images, `esptool` and random input.
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod app;
mod esptool;
mod otadata;
mod partition;
mod samples;
