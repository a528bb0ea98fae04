//! What devices and servers say to each other, and the limits of it.
//!
//! `no_std + alloc`, no I/O, no clock, no trust: nothing in this crate decides whether to believe
//! a message, that is `waxwing-tuf`. Devices encode by hand; the feature `serde` adds decoding for
//! servers and tools. `docs/protocol.md` shows the golden vectors that the tests here pin.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod bundle;
pub mod chunks;
pub mod code;
pub mod command;
pub mod enrol_uri;
pub mod envelope;
#[cfg(feature = "serde")]
pub mod existing;
pub mod frame;
pub mod id;
mod json;
#[cfg(feature = "serde")]
mod malformed;
#[cfg(feature = "serde")]
mod named;
pub mod poll;
pub mod provision;
#[cfg(feature = "serde")]
pub mod relay;
pub mod report;
pub mod topic;

pub use code::ErrorCode;
pub use command::Command;
pub use enrol_uri::EnrolUri;
pub use id::{
    Channel, CommandName, DeviceId, Digest, GroupId, Hardware, MessageId, Nonce, ProductId,
    RolloutId, SinkId,
};
#[cfg(feature = "serde")]
pub use malformed::Malformed;
pub use provision::Provision;
pub use report::Report;
