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
mod boot;
mod esptool;
mod flash;
mod otadata;
mod partition;
mod records;
mod samples;

/// The chip of self-made images where it does not matter.
const CHIP: waxwing_esp_image::Chip = waxwing_esp_image::Chip::Esp32c3;
