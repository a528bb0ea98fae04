//! A whole Waxwing in a folder: ceremony, server, operator, fleet, each the real program.
//!
//! The demo and the end-to-end tests tell their stories with these parts. Nothing here stands in
//! for a part of ours, and nothing waits by sleeping: each wait is for a line, a file or an exit.
#![expect(clippy::indexing_slicing, reason = "test code: a missing JSON field reads as null")]

pub mod ceremony;
pub mod chip;
mod files;
pub mod fleet;
pub mod gateway;
pub mod image;
pub mod memory;
pub mod operator;
pub mod process;
pub mod program;
pub mod server;
pub mod story;
pub mod world;
