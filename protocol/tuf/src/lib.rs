#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "author")), no_std)]

extern crate alloc;

#[cfg(feature = "author")]
pub mod author;
pub mod client;
pub mod command;
mod dialect;
mod hex;
pub mod json;
pub mod key;
pub mod path;
pub mod refusal;
pub mod role;
pub mod store;
pub mod time;
pub mod uptane;
pub mod verify;

pub use client::{Limits, Repository};
pub use command::Command;
pub use refusal::{Cause, Fault, Refusal};
pub use store::{Delivered, Fetch, FetchError, MemoryStore, Store, StoreError};
pub use time::Time;
pub use verify::{ContentCheck, Verified};
