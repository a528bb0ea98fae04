//! The Director: signs, per device and poll, what that device should run now.
//!
//! Not here: the decision itself, which is made by `domain`, and release keys, which this server
//! does not have.

pub mod clock_guard;
