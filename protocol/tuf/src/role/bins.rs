//! Succinct hash bins (TAP 15): one entry that delegates to 2^n roles, each for its share of all paths.

use alloc::format;
use alloc::string::String;

use super::targets::{Delegation, Paths};
use super::{Signers, name};
use crate::json::Value;
use crate::path;
use crate::refusal::Cause;

/// Most bits of a path's hash that choose its bin: TAP 15 allows 1 to 32.
const BITS_MAX: u32 = 32;

/// Bits that one digit of a bin's name stands for.
const BITS_PER_DIGIT: u32 = 4;

/// A `succinct_roles` object.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    prefix: String,
    bits: u32,
    signers: Signers,
}

impl Bins {
    pub(super) fn decode(roles: Value<'_>, keys: Value<'_>) -> Result<Self, Cause> {
        const BAD: Cause = Cause::BadField("succinct_roles");
        let bits = roles.field("bit_length").and_then(Value::as_u64);
        let bits = bits.and_then(|bits| u32::try_from(bits).ok());
        Ok(Self {
            prefix: roles.field("name_prefix").and_then(name).ok_or(BAD)?,
            bits: bits.filter(|bits| (1..=BITS_MAX).contains(bits)).ok_or(BAD)?,
            signers: Signers::decode(roles, keys)?,
        })
    }

    /// The bin that may list `path`.
    pub(super) fn of<'a>(&self, path: &str) -> Delegation<'a> {
        self.bin(path::bin(path, self.bits))
    }

    /// All bins in order; there may be four billion of them.
    pub(super) fn all<'a>(self) -> impl Iterator<Item = Delegation<'a>> {
        let last = u32::MAX >> (BITS_MAX - self.bits);
        (0..=last).map(move |index| self.bin(index))
    }

    /// TAP 15: the name is the prefix, a hyphen, and the index in just as many digits as the last bin
    /// needs. It never is that of a top-level role.
    fn bin<'a>(&self, index: u32) -> Delegation<'a> {
        let digits = usize::try_from(self.bits.div_ceil(BITS_PER_DIGIT)).unwrap_or_default();
        Delegation {
            role: format!("{}-{index:0digits$x}", self.prefix),
            signers: self.signers.clone(),
            // Nobody else has a bin for this path.
            terminating: true,
            paths: Paths::Bin { index, bits: self.bits },
        }
    }
}
