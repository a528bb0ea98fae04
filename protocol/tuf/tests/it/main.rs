//! The promises of the crate, each kept by a test of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code stops at the first surprise"
)]

mod delegations;
mod limits;
mod roots;
mod signatures;
mod support;
mod uptane;
mod workflow;
