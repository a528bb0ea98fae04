//! What several rows need: repositories in the hands of an attacker, and a device to attack.

pub(crate) mod author;
pub(crate) mod board;
mod ports;
pub(crate) mod real;
pub(crate) mod world;
