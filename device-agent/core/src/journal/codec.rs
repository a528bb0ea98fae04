//! The bytes of a record.
//!
//! ```text
//! "WXJ" u8 version | u32 sequence | u16 body length | body | u32 CRC-32 of everything before
//! ```
//!
//! Little endian. The body begins with the fields below in a fixed order; a later firmware may add
//! fields behind them, which this one skips, and finds defaults where an earlier one ended. An update
//! in a phase that it does not know is none, and a report of a state that it does not know is left
//! out. What a user put off is no part of a report here: after a reset it is said anew. The version changes only when that is not enough; then the record says no more than its
//! sequence number.

mod reader;
mod words;

use alloc::vec::Vec;
use core::fmt;

use semver::Version;
use waxwing_wire::{Digest, RolloutId};

use super::{
    Deployment, FAILED_IMAGES_MAX, FailedImage, KNOWN_IMAGES_MAX, KnownImage, Phase, PutOff,
    REPORTS_MAX, Record, Settled, Slots, UnsentReport, Update,
};
use crate::ports::Slot;
use reader::Reader;
pub(super) use words::crc32;
use words::{TOLD, outcome_number, state_number};

/// Longest record: every list full and every text at its limit, and room for later fields: three quarters
/// of a flash sector.
pub const RECORD_BYTES_MAX: usize = 3072;

const MAGIC: &[u8; 3] = b"WXJ";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 10;
const CRC_BYTES: usize = 4;

/// Longest release version kept in full. Anything longer would not be a version people can read.
const RELEASE_BYTES_MAX: usize = 64;

/// The bytes are no record: blank, torn, or of a firmware too new to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidRecord;

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a journal record")
    }
}

impl core::error::Error for InvalidRecord {}

impl Record {
    /// Encodes the record.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] when it would be longer than [`RECORD_BYTES_MAX`].
    pub fn encode(&self, sequence: u32) -> Result<Vec<u8>, InvalidRecord> {
        let mut body = Writer(Vec::new());
        body.record(self)?;
        let body = body.0;
        let length = u16::try_from(body.len()).map_err(|_| InvalidRecord)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + CRC_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&crc32(&out).to_le_bytes());
        if out.len() > RECORD_BYTES_MAX { Err(InvalidRecord) } else { Ok(out) }
    }

    /// Decodes a record and its sequence number. Bytes behind the record are ignored: a page of
    /// flash is longer.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] when the bytes are blank, torn or of another version.
    pub fn decode(page: &[u8]) -> Result<(u32, Self), InvalidRecord> {
        let Envelope { version, sequence, body } = Envelope::open(page)?;
        if version != VERSION {
            return Err(InvalidRecord);
        }
        Ok((sequence, Reader(body).record()?))
    }

    /// Returns the sequence number of a whole record of any version, however much of it this
    /// firmware can read.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] when the bytes are blank or torn.
    pub fn sequence(page: &[u8]) -> Result<u32, InvalidRecord> {
        Envelope::open(page).map(|envelope| envelope.sequence)
    }
}

/// What all versions have in common.
struct Envelope<'a> {
    version: u8,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn open(page: &'a [u8]) -> Result<Self, InvalidRecord> {
        let mut header = Reader(page);
        if header.array()? != *MAGIC {
            return Err(InvalidRecord);
        }
        let (version, sequence) = (header.u8()?, header.u32()?);
        let length = usize::from(header.u16()?);
        let body = header.take(length)?;
        let covered = page.get(..HEADER_BYTES + length).ok_or(InvalidRecord)?;
        if header.u32()? != crc32(covered) {
            return Err(InvalidRecord);
        }
        Ok(Self { version, sequence, body })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn record(&mut self, record: &Record) -> Result<(), InvalidRecord> {
        self.u32(record.security_version);
        self.option(record.update.as_ref(), Self::update)?;
        self.option(record.settled.as_ref(), |out, it| out.named(&it.rollout, &it.sha256))?;
        self.list(&record.known, |out, image| {
            out.digest(&image.sha256);
            out.version(&image.release)
        })?;
        self.list(&record.failed, |out, image| {
            out.digest(&image.sha256);
            out.u32(image.times);
            Ok(())
        })?;
        let reports = record.reports.iter().filter(|unsent| unsent.report.deferred.is_none());
        self.list(&reports.collect::<Vec<_>>(), |out, unsent| out.unsent(unsent))?;
        self.u64(record.command);
        self.option(record.put_off.as_ref(), |out, put_off| {
            out.named(&put_off.rollout, &put_off.sha256)?;
            out.0.push(put_off.deferral.times);
            out.u64(put_off.deferral.until);
            Ok(())
        })?;
        self.u64(record.order);
        self.0.push(outcome_number(record.answer) | if record.told { TOLD } else { 0 });
        self.u32(record.interval_s);
        Ok(())
    }

    fn named(&mut self, rollout: &RolloutId, sha256: &Digest) -> Result<(), InvalidRecord> {
        self.text(rollout.as_str())?;
        self.digest(sha256);
        Ok(())
    }

    fn update(&mut self, update: &Update) -> Result<(), InvalidRecord> {
        let deployment = &update.deployment;
        self.text(deployment.rollout.as_str())?;
        self.version(&deployment.release)?;
        self.digest(&deployment.sha256);
        self.u32(deployment.length);
        self.u32(deployment.security_version);
        self.u32(deployment.secure_version);
        self.u32(deployment.soak_s);
        self.u32(update.attempt);
        self.u32(update.repeats);
        self.phase(update.phase);
        Ok(())
    }

    /// A phase is a number, two values and the slots: the same length whatever it is.
    fn phase(&mut self, phase: Phase) {
        let (number, slots, first, second) = match phase {
            Phase::Fetching { stored } => (0, None, stored, 0),
            Phase::Activating(slots) => (1, Some(slots), 0, 0),
            Phase::Trial { slots, boots } => (2, Some(slots), boots, 0),
            Phase::Confirming(slots) => (3, Some(slots), 0, 0),
            Phase::Soaking { slots, resets, soaked_s } => (4, Some(slots), resets, soaked_s),
            Phase::Rejecting { slots, code } => (5, Some(slots), code.0.into(), 0),
            Phase::Reverting { slots, code } => (6, Some(slots), code.0.into(), 0),
        };
        self.0.push(number);
        self.u32(first);
        self.u32(second);
        if let Some(slots) = slots {
            self.slot(slots.new);
            self.slot(slots.old);
            self.digest(&slots.old_sha256);
        }
    }

    fn unsent(&mut self, unsent: &UnsentReport) -> Result<(), InvalidRecord> {
        self.u64(unsent.boot);
        self.u32(unsent.number);
        let report = &unsent.report;
        self.text(report.rollout.as_str())?;
        self.version(&report.release)?;
        self.0.push(state_number(report.state));
        self.u32(report.code.0.into());
        self.digest(&report.fw_sha256);
        self.u32(report.attempt);
        self.u64(report.measured_at);
        Ok(())
    }

    fn slot(&mut self, slot: Slot) {
        self.0.push(match slot {
            Slot::Factory => 0xff,
            Slot::Ota(index) => index,
        });
    }

    fn version(&mut self, version: &Version) -> Result<(), InvalidRecord> {
        let text = alloc::format!("{version}");
        if text.len() > RELEASE_BYTES_MAX {
            return Err(InvalidRecord);
        }
        self.text(&text)
    }

    fn text(&mut self, text: &str) -> Result<(), InvalidRecord> {
        self.0.push(u8::try_from(text.len()).map_err(|_| InvalidRecord)?);
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(&digest.0);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn option<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<(), InvalidRecord>,
    ) -> Result<(), InvalidRecord> {
        self.0.push(u8::from(value.is_some()));
        value.map_or(Ok(()), |value| write(self, value))
    }

    fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), InvalidRecord>,
    ) -> Result<(), InvalidRecord> {
        self.0.push(u8::try_from(items.len()).map_err(|_| InvalidRecord)?);
        items.iter().try_for_each(|item| write(self, item))
    }
}

#[cfg(test)]
mod tests;
