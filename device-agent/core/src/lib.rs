//! The update agent of a device.
//!
//! Decisions live in machines that only think: no I/O, no clock, no randomness of their own.
//! [`ports`] names what a board, a simulator or a Linux host must bring along.
#![no_std]

pub mod ports;
