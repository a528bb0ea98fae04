//! Changes to the records, each safe against a power cut in the middle of it.
//!
//! The rule behind all of them: a sector is only overwritten when the *other* one alone would boot
//! what should boot after a cut. Unlike ESP-IDF, which spares the record with the highest number,
//! the record of the *running* slot is spared: after a fallback those two differ, and then ESP-IDF
//! leaves the device with two records for the slot that does not work.

use core::fmt;

use super::{ENTRY_BYTES, Entry, Layout, OtaData, Sector, Slot, State};

impl OtaData {
    /// Plans how to make `target` boot next, on trial.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSuchSlot`] when there is no such OTA slot; [`Refused::OnTrial`] while
    /// the running image is neither confirmed nor rejected (it would not survive another trial);
    /// [`Refused::Running`] when `target` is the running slot.
    pub fn activate(&self, running: Slot, target: Slot) -> Result<Activation, Refused> {
        let Slot::Ota(slot) = target else { return Err(Refused::NoSuchSlot) };
        if slot >= self.layout.ota_slots() {
            return Err(Refused::NoSuchSlot);
        }
        if running == target {
            return Err(Refused::Running);
        }
        if self.sector_naming(running, |entry| entry.is_bootable() && !entry.is_settled()).is_some()
        {
            return Err(Refused::OnTrial);
        }
        Ok(match running {
            Slot::Factory => self.activate_from_factory(slot),
            Slot::Ota(running) => self.activate_from_ota(running, slot),
        })
    }

    /// Plans how to keep the running image for good; `None` when there is nothing to write.
    pub fn confirm(&self, running: Slot) -> Option<Write> {
        let Slot::Ota(slot) = running else { return None };
        let Some(sector) = self.sector_naming(running, Entry::is_bootable) else {
            return Some(self.protection(slot));
        };
        let entry = self.entry(sector);
        let valid = entry.with_state(State::Valid);
        (*entry != valid).then(|| Write::new(sector, &valid))
    }

    /// Plans how to give the running image up, so that the next boot takes another one.
    ///
    /// # Errors
    ///
    /// [`Refused::NoFallback`] when no other image is known that the next boot could take;
    /// [`Refused::Running`] when the running image is not in an OTA slot.
    pub fn reject(&self, running: Slot) -> Result<Write, Refused> {
        if running == Slot::Factory {
            return Err(Refused::Running);
        }
        // Already a fallback of the boot loader itself, or without a record: nothing to go back to.
        let sector = self.sector_naming(running, Entry::is_bootable).ok_or(Refused::NoFallback)?;
        if self.active() != Some(sector) {
            return Err(Refused::NoFallback);
        }
        let other = self.entry(sector.other());
        let other_slot = Slot::Ota(self.layout.slot_of(other.seq));
        let fallback = if other.is_bootable() {
            other_slot != running && other.state != State::PendingVerify
        } else {
            self.layout.has_factory()
        };
        if !fallback {
            return Err(Refused::NoFallback);
        }
        Ok(Write::new(sector, &self.entry(sector).with_state(State::Invalid)))
    }

    fn activate_from_ota(&self, running: u8, target: u8) -> Activation {
        let kept = self.sector_naming(Slot::Ota(running), Entry::is_settled);
        let direct = kept.and_then(|sector| {
            let seq = self.layout.next_seq(self.entry(sector).seq, target)?;
            Some(Write::new(sector.other(), &Entry::new(seq, State::New)))
        });
        if let Some(switch) = direct {
            return Activation { protect: None, switch };
        }
        // Nothing would bring the running image back after a failed trial, or the numbers have run
        // out: first give it a record with room above it.
        let protect = self.protection_below(running, target);
        let seq = self.layout.seq_above(protect.seq, target);
        let switch = Write::new(protect.sector.other(), &Entry::new(seq, State::New));
        Activation { protect: Some(protect), switch }
    }

    /// The factory image needs no record; but no record may be left that names the target, or a
    /// failed trial would be followed by a boot of the same image without one.
    fn activate_from_factory(&self, target: u8) -> Activation {
        let spare = self.spare();
        for sector in [spare, spare.other()] {
            let left = self.entry(sector.other());
            let base = match left.is_bootable() {
                true if self.layout.slot_of(left.seq) == target => continue,
                true => left.seq,
                false => 0,
            };
            if let Some(seq) = self.layout.next_seq(base, target) {
                let switch = Write::new(sector, &Entry::new(seq, State::New));
                return Activation { protect: None, switch };
            }
        }
        let protect = Write::new(spare, &self.entry(spare).with_state(State::Invalid));
        let seq = self.layout.seq_above(0, target);
        let switch = Write::new(spare.other(), &Entry::new(seq, State::New));
        Activation { protect: Some(protect), switch }
    }

    /// Returns the sector whose loss changes nothing: it does not decide what boots.
    fn spare(&self) -> Sector {
        self.active().map_or(Sector::First, Sector::other)
    }

    /// Records the running slot as confirmed, above the active record if there is room.
    fn protection(&self, running: u8) -> Write {
        let base = self.active().map_or(0, |sector| self.entry(sector).seq);
        let seq = self.layout.seq_above(base, running);
        Write::new(self.spare(), &Entry::new(seq, State::Valid))
    }

    /// As [`Self::protection`], with a number that leaves room for the target above it.
    fn protection_below(&self, running: u8, target: u8) -> Write {
        let protection = self.protection(running);
        if self.layout.next_seq(protection.seq, target).is_some() {
            return protection;
        }
        Write::new(self.spare(), &Entry::new(self.layout.seq_above(0, running), State::Valid))
    }
}

impl Layout {
    /// As [`Self::next_seq`], starting over from the lowest numbers when they have run out.
    fn seq_above(self, seq: u32, slot: u8) -> u32 {
        self.next_seq(seq, slot).unwrap_or(u32::from(slot) + 1)
    }
}

/// How to make another slot boot: one write, in rare cases two. They must be made in this order;
/// a cut in the first leaves everything as it was, a cut in the second boots the running image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Activation {
    /// What must be written before, when no good record names the running slot.
    pub protect: Option<Write>,
    /// The write that switches.
    pub switch: Write,
}

impl Activation {
    /// Returns the writes in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.protect.iter().chain([&self.switch])
    }
}

/// Erase this sector, then program these bytes at its beginning, in one go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Write {
    /// Which sector.
    pub sector: Sector,
    /// The 32 bytes.
    pub bytes: [u8; ENTRY_BYTES],
    seq: u32,
}

impl Write {
    fn new(sector: Sector, entry: &Entry) -> Self {
        Self { sector, bytes: entry.encode(), seq: entry.seq }
    }
}

/// Why a change was not planned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refused {
    /// Nothing else to boot.
    NoFallback,
    /// The partition table has no such OTA slot.
    NoSuchSlot,
    /// The running image is on trial.
    OnTrial,
    /// The slot is the one that runs, or the running image is not one that can be given up.
    Running,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFallback => "there is no other image to boot",
            Self::NoSuchSlot => "there is no such OTA slot",
            Self::OnTrial => "the running image is neither confirmed nor rejected yet",
            Self::Running => "the slot is in use",
        })
    }
}

impl core::error::Error for Refused {}
