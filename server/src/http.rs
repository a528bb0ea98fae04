//! HTTP: what is asked, who may ask, and how it is answered. The work is done elsewhere.

pub mod admin;
pub mod device;
pub mod error;
pub mod est;
pub mod ops;
pub mod router;
pub mod serve;

pub use error::Problem;
