//! Changes to the records, each one write, each safe against a power cut in the middle of it.
//!
//! The rule behind all of them: a sector is only overwritten when the *other* one alone leads to
//! the image that should boot after a cut. Unlike ESP-IDF, which spares the record with the highest
//! number, the record of the *running* slot is spared: after the boot loader fell back to another
//! slot those two differ, and then ESP-IDF leaves two records for the slot that does not work.

use core::fmt;

use super::{ENTRY_BYTES, Entry, OtaData, SEQ_MAX, Sector, Slot, State};

impl OtaData {
    /// Plans the next write that makes the running image the one that boots, whatever is written
    /// to the other slots; `None` when it is already. Must be repeated until then, before the first
    /// byte of an update is written: otherwise a record that names the slot of the update would
    /// start it as soon as it is complete, verified or not.
    ///
    /// On a healthy device there is nothing to do. At most three writes are needed.
    ///
    /// # Errors
    ///
    /// [`Refused::OnTrial`] while the running image is neither confirmed nor rejected.
    pub fn protect(&self, running: Slot) -> Result<Option<Write>, Refused> {
        if self.is_on_trial(running) {
            return Err(Refused::OnTrial);
        }
        Ok(match running {
            Slot::Factory => self.protect_factory(),
            Slot::Ota(slot) => self.protect_ota(slot),
        })
    }

    /// Plans the write that makes `target` boot next, on trial.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSuchSlot`] when there is no such OTA slot; [`Refused::OnTrial`] while the
    /// running image is neither confirmed nor rejected, since it would not survive another trial;
    /// [`Refused::Running`] when `target` is the running slot; [`Refused::Unprotected`] when
    /// [`OtaData::protect`] still has something to do.
    pub fn activate(&self, running: Slot, target: Slot) -> Result<Write, Refused> {
        let slot = match target {
            Slot::Ota(slot) if slot < self.layout.ota_slots() => slot,
            Slot::Factory | Slot::Ota(_) => return Err(Refused::NoSuchSlot),
        };
        if running == target {
            return Err(Refused::Running);
        }
        if self.protect(running)?.is_some() {
            return Err(Refused::Unprotected);
        }
        let (sector, base) = match self.spared(running) {
            Some(spared) => (spared.other(), self.entry(spared).seq),
            // Only the factory image is protected without a record.
            None => (Sector::First, 0),
        };
        let seq = self.layout.next_seq(base, slot).ok_or(Refused::Unprotected)?;
        Ok(Write::new(sector, &Entry::new(seq, State::New)))
    }

    /// Plans the write that keeps the running image for good; `None` when there is none to make.
    pub fn confirm(&self, running: Slot) -> Option<Write> {
        let Slot::Ota(slot) = running else { return None };
        let Some(sector) = self.sector_naming(running, Entry::is_bootable) else {
            return self.protect_ota(slot);
        };
        let entry = self.entry(sector);
        (entry.state != State::Valid).then(|| Write::new(sector, &entry.with_state(State::Valid)))
    }

    /// Plans the write that gives the running image up, so that the next boot takes another one.
    ///
    /// # Errors
    ///
    /// [`Refused::NoFallback`] when no other image is known that the next boot could take;
    /// [`Refused::NoSuchSlot`] for the factory image, which has no record.
    pub fn reject(&self, running: Slot) -> Result<Write, Refused> {
        if running == Slot::Factory {
            return Err(Refused::NoSuchSlot);
        }
        // When the record does not decide, the boot loader has already gone elsewhere in vain.
        let decides = |sector: &Sector| self.active() == Some(*sector);
        let sector = self.sector_naming(running, Entry::is_bootable).filter(decides);
        let sector = sector.ok_or(Refused::NoFallback)?;
        let other = self.entry(sector.other());
        let fallback = if other.is_bootable() {
            Slot::Ota(self.layout.slot_of(other.seq)) != running
                && other.state != State::PendingVerify
        } else {
            self.layout.has_factory()
        };
        if !fallback {
            return Err(Refused::NoFallback);
        }
        Ok(Write::new(sector, &self.entry(sector).with_state(State::Invalid)))
    }

    /// The factory image boots when no record is bootable. The one that decides goes last: until
    /// then the boot loader goes on trying it in vain and falling back.
    fn protect_factory(&self) -> Option<Write> {
        let active = self.active()?;
        let other = self.entry(active.other());
        let sector = if other.is_bootable() { active.other() } else { active };
        Some(Write::new(sector, &self.entry(sector).with_state(State::Invalid)))
    }

    fn protect_ota(&self, slot: u8) -> Option<Write> {
        let running = Slot::Ota(slot);
        let active = self.active();
        let Some(spared) = self.spared(running) else {
            // The sector that does not decide gets a record, above the one that does if the numbers
            // allow. If not, the next step retires the one that does.
            let sector = active.map_or(Sector::First, Sector::other);
            let base = active.map_or(0, |sector| self.entry(sector).seq);
            let seq = self.layout.next_seq(base, slot).filter(|seq| has_room_above(*seq));
            let seq = seq.unwrap_or(u32::from(slot) + 1);
            return Some(Write::new(sector, &Entry::new(seq, State::Valid)));
        };
        let names_other =
            |sector: &Sector| Slot::Ota(self.layout.slot_of(self.entry(*sector).seq)) != running;
        // A fallback of the boot loader: retire the record it followed in vain.
        let stale = active.filter(|active| *active == spared.other() && names_other(active))?;
        Some(Write::new(stale, &self.entry(stale).with_state(State::Invalid)))
    }

    /// Returns the sector that brings the running image back after a failed trial, if it leaves
    /// room for the numbers of an activation above its own.
    fn spared(&self, running: Slot) -> Option<Sector> {
        self.sector_naming(running, |entry| entry.is_settled() && has_room_above(entry.seq))
    }

    fn is_on_trial(&self, running: Slot) -> bool {
        let sector = self.sector_naming(running, Entry::is_bootable);
        sector.is_some_and(|sector| self.entry(sector).state.is_on_trial())
    }
}

/// Reports whether every slot has a usable sequence number above this one.
fn has_room_above(seq: u32) -> bool {
    seq <= SEQ_MAX - u32::from(super::OTA_SLOTS_MAX)
}

/// Erase this sector, then program these bytes at its beginning, in one go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Write {
    /// Which sector.
    pub sector: Sector,
    /// The 32 bytes.
    pub bytes: [u8; ENTRY_BYTES],
}

impl Write {
    fn new(sector: Sector, entry: &Entry) -> Self {
        Self { sector, bytes: entry.encode() }
    }
}

/// Why a change was not planned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Nothing else to boot.
    NoFallback,
    /// The partition table has no such OTA slot.
    NoSuchSlot,
    /// The running image is on trial.
    OnTrial,
    /// The slot is the one that runs.
    Running,
    /// The running image would not come back after a failed trial: see [`OtaData::protect`].
    Unprotected,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFallback => "there is no other image to boot",
            Self::NoSuchSlot => "there is no such OTA slot",
            Self::OnTrial => "the running image is neither confirmed nor rejected yet",
            Self::Running => "the slot is the one that runs",
            Self::Unprotected => "the boot records do not protect the running image yet",
        })
    }
}

impl core::error::Error for Refused {}
