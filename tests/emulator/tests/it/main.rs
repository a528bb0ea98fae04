//! Tests of the whole model: programs of a few instructions, and the real boot loader.
#![expect(clippy::as_conversions, reason = "test code")]
#![expect(clippy::indexing_slicing, reason = "test code")]
#![expect(clippy::panic, reason = "test code")]
#![expect(clippy::unwrap_used, reason = "test code")]

mod boot;
mod chip;
mod program;
mod run;
