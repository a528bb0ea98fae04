//! What devices ask over their own listener, with their certificate.

pub mod admission;
pub mod range;
