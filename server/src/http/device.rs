//! What devices ask over their own listener, with their certificate.

pub mod admission;
pub mod gateway;
pub mod images;
pub mod poll;
pub mod range;
pub mod tuf;
