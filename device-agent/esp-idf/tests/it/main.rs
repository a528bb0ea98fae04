//! The ports on a stand-in for ESP-IDF, under the model of its boot loader.
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod idf;
mod update;
