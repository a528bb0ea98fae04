//! Keeps the newest record over power cuts.
//!
//! Not here: wear levelling beyond taking turns.

use alloc::vec;

use super::{RECORD_BYTES_MAX, Record};
use crate::ports::{FlashError, Journal};

/// The code of a page that is not what was written to it.
const NOT_KEPT: i32 = -1;

/// The pages of a journal: the newest whole record counts, the next page is replaced.
#[derive(Debug)]
pub struct Pages<J> {
    port: J,
    /// Where the newest record is.
    page: u8,
    /// Its sequence number.
    sequence: u32,
    condition: Condition,
}

/// What became of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// Nothing was ever written to it.
    Blank,
    /// Its newest record cannot be read: the device began anew, and should say so.
    Lost,
    /// Its newest record was read.
    Read,
}

/// A record that was found, and where.
struct Found {
    page: u8,
    sequence: u32,
    /// `None` when only a later firmware can read it.
    record: Option<Record>,
}

impl<J: Journal> Pages<J> {
    /// Finds the newest record. Without one, or with one that cannot be read, the device begins
    /// anew: an older record would say what has long been undone. Only what must never fall is taken
    /// from every record there is.
    pub fn open(mut port: J) -> (Self, Record) {
        let mut newest: Option<Found> = None;
        let mut kept = Record::default();
        let mut is_blank = true;
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        for page in 0..port.pages() {
            let was_read = port.read_page(page, &mut bytes).is_ok();
            is_blank &= was_read && bytes.iter().all(|byte| *byte == 0xff);
            let Some(found) = was_read.then(|| Found::within(page, &bytes)).flatten() else {
                continue;
            };
            if let Some(record) = &found.record {
                kept.security_version = kept.security_version.max(record.security_version);
                kept.command = kept.command.max(record.command);
                kept.order = kept.order.max(record.order);
            }
            if newest.as_ref().is_none_or(|other| found.sequence > other.sequence) {
                newest = Some(found);
            }
        }
        let nothing = Found { page: port.pages().saturating_sub(1), sequence: 0, record: None };
        let Found { page, sequence, record } = newest.unwrap_or(nothing);
        let condition = match &record {
            None if is_blank => Condition::Blank,
            None => Condition::Lost,
            Some(_) => Condition::Read,
        };
        let Record { security_version, command, order, .. } = kept;
        let record = Record { security_version, command, order, ..record.unwrap_or_default() };
        (Self { port, page, sequence, condition }, record)
    }

    /// Tells what became of the journal.
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// Saves a record and returns when it is safe. Until then the one before it counts. A page that
    /// does not keep what was written is passed over.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when no page keeps it, or the record is too long.
    pub fn save(&mut self, record: &Record) -> Result<(), FlashError> {
        let sequence = self.sequence.wrapping_add(1);
        let bytes = record.encode(sequence).map_err(|_| FlashError::OutOfSlot)?;
        let pages = self.port.pages();
        let (mut page, mut outcome) = (self.page, Err(FlashError::OutOfSlot));
        // The page of the newest record is not given up, where there is one.
        for _ in u8::from(self.sequence > 0)..pages {
            page = if page + 1 < pages { page + 1 } else { 0 };
            outcome = self.replace(page, &bytes);
            if outcome.is_ok() {
                (self.page, self.sequence) = (page, sequence);
                break;
            }
        }
        outcome
    }

    fn replace(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        self.port.replace_page(page, bytes)?;
        let mut kept = vec![0; bytes.len()];
        self.port.read_page(page, &mut kept)?;
        if kept == bytes { Ok(()) } else { Err(FlashError::Device(NOT_KEPT)) }
    }
}

impl Found {
    fn within(page: u8, bytes: &[u8]) -> Option<Self> {
        let sequence = Record::sequence(bytes).ok()?;
        let record = Record::decode(bytes).ok().map(|(_, record)| record);
        Some(Self { page, sequence, record })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two pages; the power can fail in the middle of replacing one.
    #[derive(Clone)]
    struct Flash {
        pages: [Vec<u8>; 2],
        cut_after_bytes: Option<usize>,
    }

    impl Journal for &mut Flash {
        fn pages(&self) -> u8 {
            2
        }

        fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
            bytes.copy_from_slice(&self.pages[usize::from(page)][..bytes.len()]);
            Ok(())
        }

        fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
            let page = &mut self.pages[usize::from(page)];
            page.fill(0xff);
            let written = self.cut_after_bytes.unwrap_or(bytes.len()).min(bytes.len());
            page[..written].copy_from_slice(&bytes[..written]);
            if written < bytes.len() { Err(FlashError::Device(-1)) } else { Ok(()) }
        }
    }

    fn flash() -> Flash {
        Flash { pages: [vec![0xff; 4096], vec![0xff; 4096]], cut_after_bytes: None }
    }

    fn record(security_version: u32) -> Record {
        Record { security_version, ..Record::default() }
    }

    #[test]
    fn a_journal_never_written_gives_the_default_record() {
        assert_eq!(Pages::open(&mut flash()).1, Record::default());
    }

    #[test]
    fn a_power_cut_while_saving_leaves_the_record_before_or_the_new_one() {
        let length = record(0).encode(1).unwrap().len();
        for saves in 1..4 {
            for cut in 0..length {
                let mut flash = flash();
                let mut pages = Pages::open(&mut flash).0;
                (1..=saves).for_each(|n| pages.save(&record(n)).unwrap());
                flash.cut_after_bytes = Some(cut);
                let mut pages = Pages::open(&mut flash).0;
                assert!(pages.save(&record(99)).is_err());
                assert_eq!(Pages::open(&mut flash).1, record(saves), "cut at {cut}");
            }
        }
    }

    /// Four pages, some of which keep nothing.
    struct Worn {
        pages: [Vec<u8>; 4],
        bad: [bool; 4],
        broken: [bool; 4],
    }

    impl Journal for &mut Worn {
        fn pages(&self) -> u8 {
            4
        }

        fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
            if self.broken[usize::from(page)] {
                return Err(FlashError::Device(-1));
            }
            bytes.copy_from_slice(&self.pages[usize::from(page)][..bytes.len()]);
            Ok(())
        }

        fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
            if !self.bad[usize::from(page)] {
                self.pages[usize::from(page)][..bytes.len()].copy_from_slice(bytes);
            }
            Ok(())
        }
    }

    fn worn(bad: [bool; 4], broken: [bool; 4]) -> Worn {
        Worn { pages: [(); 4].map(|()| vec![0xff; 4096]), bad, broken }
    }

    #[test]
    fn pages_that_keep_nothing_are_passed_over_as_long_as_two_are_left() {
        for bad in 0..16_u8 {
            let bad = [0, 1, 2, 3].map(|page| bad >> page & 1 == 1);
            let mut flash = worn(bad, [false; 4]);
            let mut saved = 0;
            for version in 1..=9 {
                let mut pages = Pages::open(&mut flash).0;
                saved = if pages.save(&record(version)).is_ok() { version } else { saved };
            }
            let good = bad.iter().filter(|bad| !**bad).count();
            let expected = match good {
                0 => 0,
                // The only good page holds the newest record, and is not given up for a newer one.
                1 => 1,
                _ => 9,
            };
            assert_eq!(saved, expected, "{bad:?}");
            assert_eq!(Pages::open(&mut flash).1, record(saved), "{bad:?}");
        }
    }

    #[test]
    fn pages_that_cannot_be_read_keep_no_device_from_starting() {
        let mut flash = worn([false; 4], [false, true, false, true]);
        assert_eq!(Pages::open(&mut flash).0.condition(), Condition::Lost);
        for version in 1..=5 {
            Pages::open(&mut flash).0.save(&record(version)).unwrap();
        }
        let (pages, found) = Pages::open(&mut flash);
        assert_eq!((pages.condition(), found), (Condition::Read, record(5)));
        flash.broken = [true; 4];
        let (mut pages, found) = Pages::open(&mut flash);
        assert_eq!((pages.condition(), found), (Condition::Lost, Record::default()));
        assert!(pages.save(&record(6)).is_err());
    }

    #[test]
    fn garbage_is_a_journal_that_was_lost_and_the_next_record_is_kept() {
        let mut flash = flash();
        assert_eq!(Pages::open(&mut flash).0.condition(), Condition::Blank);
        flash.pages[1].fill(0x5a);
        let (mut pages, found) = Pages::open(&mut flash);
        assert_eq!((pages.condition(), found), (Condition::Lost, Record::default()));
        pages.save(&record(1)).unwrap();
        assert_eq!(Pages::open(&mut flash).1, record(1));
    }

    #[test]
    fn an_older_record_never_stands_for_a_newer_one_that_cannot_be_read() {
        let mut flash = flash();
        let mut pages = Pages::open(&mut flash).0;
        let before = Record { failed: vec![FAILED], command: 8, order: 9, ..record(7) };
        pages.save(&before).unwrap();
        // What the next firmware writes: another version, a higher number.
        let mut later = record(9).encode(2).unwrap();
        later[3] += 1;
        let end = later.len() - 4;
        let crc = super::super::codec::crc32(&later[..end]).to_le_bytes();
        later[end..].copy_from_slice(&crc);
        flash.pages[1][..later.len()].copy_from_slice(&later);
        let (mut pages, found) = Pages::open(&mut flash);
        assert_eq!(pages.condition(), Condition::Lost);
        // Floor and numbers of commands are minima, whoever wrote them when.
        assert_eq!(found, Record { command: 8, order: 9, ..record(7) });
        pages.save(&found).unwrap();
        let (pages, again) = Pages::open(&mut flash);
        assert_eq!((pages.condition(), again), (Condition::Read, found));
    }

    const FAILED: crate::journal::FailedImage =
        crate::journal::FailedImage { sha256: waxwing_wire::Digest([1; 32]), times: 1 };

    proptest! {
        #[test]
        fn the_last_saved_record_is_found_again(mut versions in prop::collection::vec(any::<u32>(), 1..20)) {
            // A floor does not fall.
            versions.sort_unstable();
            let mut flash = flash();
            for version in &versions {
                let mut pages = Pages::open(&mut flash).0;
                pages.save(&record(*version)).unwrap();
            }
            prop_assert_eq!(Pages::open(&mut flash).1, record(*versions.last().unwrap()));
        }
    }
}
