//! The update agent of a device.
//!
//! Decisions live in machines that only think: no I/O, no clock, no randomness of their own. One
//! event goes into [`Agent::step`], one action comes out; whoever drives the agent carries it out
//! through what [`ports`] names, on a board, in a simulator or on a Linux host.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod agent;
pub mod boot;
pub mod chunks;
pub mod download;
pub mod driver;
pub mod found;
pub mod guard;
pub mod journal;
pub mod local;
pub mod network;
pub mod offer;
pub mod pins;
pub mod policy;
pub mod ports;
pub mod trust;

pub use agent::{Action, Agent, Comparison, Event, Firmware, Seed};
pub use offer::{Contact, Decision, Offer};
