//! Reading a record: every byte of it may be foreign.

use alloc::vec::Vec;
use core::str::FromStr;

use waxwing_wire::report::{Deferral, State};
use waxwing_wire::{Digest, ErrorCode, Report};

use super::words::{TOLD, outcome, state_number};
use super::{
    Deployment, FAILED_IMAGES_MAX, FailedImage, InvalidRecord, KNOWN_IMAGES_MAX, KnownImage, Phase,
    PutOff, REPORTS_MAX, Record, Settled, Slots, UnsentReport, Update,
};
use crate::ports::Slot;

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the fields this firmware knows; a shorter body leaves the rest at their defaults.
    pub(super) fn record(&mut self) -> Result<Record, InvalidRecord> {
        let mut record = Record { security_version: self.u32()?, ..Record::default() };
        record.update = self.option(Self::update)?.flatten();
        record.settled =
            self.option(|body| Ok(Settled { rollout: body.name()?, sha256: body.digest()? }))?;
        record.known = self.list(KNOWN_IMAGES_MAX, |body| {
            Ok(KnownImage { sha256: body.digest()?, release: body.name()? })
        })?;
        record.failed = self.list(FAILED_IMAGES_MAX, |body| {
            Ok(FailedImage { sha256: body.digest()?, times: body.u32()? })
        })?;
        let reports = self.list(REPORTS_MAX, Self::unsent)?;
        record.reports = reports.into_iter().flatten().collect();
        record.command = if self.0.is_empty() { 0 } else { self.u64()? };
        record.put_off = self.option(|body| {
            let (rollout, sha256) = (body.name()?, body.digest()?);
            let deferral = Deferral { times: body.u8()?, until: body.u64()? };
            Ok(PutOff { rollout, sha256, deferral })
        })?;
        if !self.0.is_empty() {
            record.order = self.u64()?;
            let answer = self.u8()?;
            (record.answer, record.told) = (outcome(answer & !TOLD), answer & TOLD != 0);
            record.interval_s = self.u32()?;
        }
        Ok(record)
    }

    /// `None` in a phase of a later firmware.
    fn update(&mut self) -> Result<Option<Update>, InvalidRecord> {
        let deployment = Deployment {
            rollout: self.name()?,
            release: self.name()?,
            sha256: self.digest()?,
            length: self.u32()?,
            security_version: self.u32()?,
            secure_version: self.u32()?,
            soak_s: self.u32()?,
        };
        let (attempt, repeats) = (self.u32()?, self.u32()?);
        let phase = self.phase()?;
        Ok(phase.map(|phase| Update { deployment, attempt, repeats, phase }))
    }

    fn phase(&mut self) -> Result<Option<Phase>, InvalidRecord> {
        let (number, first, second) = (self.u8()?, self.u32()?, self.u32()?);
        if number == 0 {
            return Ok(Some(Phase::Fetching { stored: first }));
        }
        let slots = Slots { new: self.slot()?, old: self.slot()?, old_sha256: self.digest()? };
        let code = || u16::try_from(first).map(ErrorCode).map_err(|_| InvalidRecord);
        Ok(Some(match number {
            1 => Phase::Activating(slots),
            2 => Phase::Trial { slots, boots: first },
            3 => Phase::Confirming(slots),
            4 => Phase::Soaking { slots, resets: first, soaked_s: second },
            5 => Phase::Rejecting { slots, code: code()? },
            6 => Phase::Reverting { slots, code: code()? },
            _ => return Ok(None),
        }))
    }

    /// `None` of a state of a later firmware.
    fn unsent(&mut self) -> Result<Option<UnsentReport>, InvalidRecord> {
        let (boot, number) = (self.u64()?, self.u32()?);
        let (rollout, release, state) = (self.name()?, self.name()?, self.u8()?);
        let code = u16::try_from(self.u32()?).map(ErrorCode).map_err(|_| InvalidRecord)?;
        let (fw_sha256, attempt, measured_at) = (self.digest()?, self.u32()?, self.u64()?);
        let state = State::ALL.into_iter().find(|known| state_number(*known) == state);
        Ok(state.map(|state| UnsentReport {
            boot,
            number,
            report: Report {
                rollout,
                release,
                state,
                code,
                fw_sha256,
                attempt,
                measured_at,
                deferred: None,
            },
        }))
    }

    fn slot(&mut self) -> Result<Slot, InvalidRecord> {
        Ok(match self.u8()? {
            0xff => Slot::Factory,
            index => Slot::Ota(index),
        })
    }

    /// Reads a text that has a type of its own.
    fn name<T: FromStr>(&mut self) -> Result<T, InvalidRecord> {
        let length = usize::from(self.u8()?);
        let text = core::str::from_utf8(self.take(length)?).map_err(|_| InvalidRecord)?;
        text.parse().map_err(|_| InvalidRecord)
    }

    fn digest(&mut self) -> Result<Digest, InvalidRecord> {
        self.array().map(Digest)
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, InvalidRecord>,
    ) -> Result<Option<T>, InvalidRecord> {
        if self.0.is_empty() {
            return Ok(None);
        }
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(InvalidRecord),
        }
    }

    fn list<T>(
        &mut self,
        items_max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, InvalidRecord>,
    ) -> Result<Vec<T>, InvalidRecord> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let items = usize::from(self.u8()?);
        if items > items_max {
            return Err(InvalidRecord);
        }
        (0..items).map(|_| read(self)).collect()
    }

    pub(super) fn u8(&mut self) -> Result<u8, InvalidRecord> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, InvalidRecord> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, InvalidRecord> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, InvalidRecord> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidRecord> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(InvalidRecord)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidRecord> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(InvalidRecord)?;
        self.0 = rest;
        Ok(bytes)
    }
}
