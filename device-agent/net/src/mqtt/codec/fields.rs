//! The fields that packets are made of. Not here: which packet has which.

use core::str;

use super::{Malformed, property, read_length};

/// Puts properties together to a set of them.
pub(super) const fn properties(list: &[u8]) -> u64 {
    let (mut set, mut rest) = (0, list);
    while let [property, behind @ ..] = rest {
        set |= 1 << *property;
        rest = behind;
    }
    set
}

/// Those that may come more than once.
const REPEATED: u64 = properties(&[property::SUBSCRIPTION, property::USER]);

/// What of a packet was not yet read.
#[derive(Debug)]
pub(super) struct Fields<'p>(pub(super) &'p [u8]);

impl<'p> Fields<'p> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(&mut self) -> &'p [u8] {
        core::mem::take(&mut self.0)
    }

    fn take(&mut self, count: usize) -> Result<&'p [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a number of so many bytes, four at most.
    fn number(&mut self, bytes: usize) -> Result<u32, Malformed> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        u8::try_from(self.number(1)?).map_err(|_| Malformed)
    }

    /// Reads a packet identifier, which is never zero.
    pub(super) fn packet(&mut self) -> Result<u16, Malformed> {
        u16::try_from(self.number(2)?).ok().filter(|packet| *packet > 0).ok_or(Malformed)
    }

    fn binary(&mut self) -> Result<&'p [u8], Malformed> {
        let length = usize::try_from(self.number(2)?).map_err(|_| Malformed)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'p str, Malformed> {
        str::from_utf8(self.binary()?).map_err(|_| Malformed)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let (length, bytes) = read_length(self.0)?.ok_or(Malformed)?;
        self.take(bytes)?;
        Ok(length)
    }

    /// Reads properties, of which each may be there once: `seen` is told the numbers, and 0 for what
    /// is not one.
    pub(super) fn properties(
        &mut self,
        allowed: u64,
        mut seen: impl FnMut(u8, u32) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let length = self.length()?;
        let (mut fields, mut left) = (Self(self.take(length)?), allowed);
        while !fields.is_empty() {
            let property = fields.byte()?;
            let bit = 1_u64.checked_shl(property.into()).unwrap_or(0);
            if left & bit == 0 {
                return Err(Malformed);
            }
            left &= !bit | REPEATED;
            let value = fields.value(property)?;
            seen(property, value)?;
        }
        Ok(())
    }

    fn value(&mut self, property: u8) -> Result<u32, Malformed> {
        match property {
            property::PAYLOAD_FORMAT
            | property::QOS_MAX
            | property::RETAIN
            | property::WILDCARDS
            | property::SUBSCRIPTION_IDS
            | property::SHARED => {
                let value = self.number(1)?;
                if value < 2 { Ok(value) } else { Err(Malformed) }
            }
            property::KEEP_ALIVE | property::RECEIVE_MAX | property::ALIAS_MAX => self.number(2),
            property::MESSAGE_EXPIRY | property::SESSION_EXPIRY | property::PACKET_MAX => {
                self.number(4)
            }
            property::SUBSCRIPTION => match self.length()? {
                0 => Err(Malformed),
                _ => Ok(0),
            },
            property::CORRELATION => self.binary().map(|_| 0),
            property::USER => self.text().and_then(|_| self.text()).map(|_| 0),
            _ => self.text().map(|_| 0),
        }
    }
}
