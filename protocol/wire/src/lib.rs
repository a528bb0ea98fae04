//! What devices and servers say to each other, and the limits of it.
//!
//! `no_std + alloc`, no I/O, no clock, no trust: nothing in this crate decides whether to believe
//! a message, that is `waxwing-tuf`. Devices encode by hand; the feature `serde` adds decoding for
//! servers and tools. `docs/protocol.md` shows the golden vectors that the tests here pin.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod id;

pub use id::{Channel, DeviceId, Digest, GroupId, MessageId, Nonce, ProductId, RolloutId};
