//! HTTP: what is asked, who may ask, and how it is answered. The work is done elsewhere.

pub mod error;

pub use error::Problem;
