//! The error of every decoder here.

use alloc::string::{String, ToString as _};
use core::fmt;

/// A message is not what it should be; the text names the field or the limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed(String);

impl Malformed {
    pub(crate) fn new(what: &str) -> Self {
        Self(what.to_string())
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Malformed {}
