//! Shares in thousandths, as people write them in plans.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Thousandths of a whole.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(try_from = "u16")]
pub struct Permille(u16);

/// More than a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a share is 0 to 1000 thousandths")]
pub struct NoShare;

impl Permille {
    /// None at all.
    pub const NOTHING: Self = Self(0);
    /// Two per cent.
    pub const TWO_IN_A_HUNDRED: Self = Self(20);
    /// 95 per cent.
    pub const NINETEEN_IN_TWENTY: Self = Self(950);

    /// Checks a share.
    ///
    /// # Errors
    ///
    /// [`NoShare`] above 1000.
    pub const fn new(thousandths: u16) -> Result<Self, NoShare> {
        if thousandths > 1000 { Err(NoShare) } else { Ok(Self(thousandths)) }
    }

    /// Returns the thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns what is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(1000 - self.0)
    }

    /// Returns the share, from 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// As people say it: `2.5%`.
impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
    }
}

impl TryFrom<u16> for Permille {
    type Error = NoShare;

    fn try_from(thousandths: u16) -> Result<Self, NoShare> {
        Self::new(thousandths)
    }
}
