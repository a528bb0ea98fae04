//! Keeps the newest record over power cuts.
//!
//! Not here: wear levelling beyond taking turns.

use alloc::vec;

use super::{RECORD_BYTES_MAX, Record};
use crate::ports::{FlashError, Journal};

/// The pages of a journal: the newest valid one counts, the next one is replaced.
#[derive(Debug)]
pub struct Pages<J> {
    port: J,
    /// Where the newest record is.
    page: u8,
    /// Its sequence number.
    sequence: u32,
}

impl<J: Journal> Pages<J> {
    /// Finds the newest record; a journal without any gives the default one.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the storage reports a fault.
    pub fn open(mut port: J) -> Result<(Self, Record), FlashError> {
        let mut newest: Option<(u8, u32, Record)> = None;
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        for page in 0..port.pages() {
            port.read_page(page, &mut bytes)?;
            if let Ok((sequence, record)) = Record::decode(&bytes)
                && newest.as_ref().is_none_or(|(_, other, _)| sequence > *other)
            {
                newest = Some((page, sequence, record));
            }
        }
        let last = port.pages().saturating_sub(1);
        let (page, sequence, record) = newest.unwrap_or((last, 0, Record::default()));
        Ok((Self { port, page, sequence }, record))
    }

    /// Saves a record and returns when it is safe. Until then the one before it counts.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the storage reports a fault or the record is too long.
    pub fn save(&mut self, record: &Record) -> Result<(), FlashError> {
        let sequence = self.sequence.wrapping_add(1);
        let bytes = record.encode(sequence).map_err(|_| FlashError::OutOfSlot)?;
        let page = if self.page + 1 < self.port.pages() { self.page + 1 } else { 0 };
        self.port.replace_page(page, &bytes)?;
        (self.page, self.sequence) = (page, sequence);
        Ok(())
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
        assert_eq!(Pages::open(&mut flash()).unwrap().1, Record::default());
    }

    #[test]
    fn a_power_cut_while_saving_leaves_the_record_before_or_the_new_one() {
        let length = record(0).encode(1).unwrap().len();
        for saves in 1..4 {
            for cut in 0..length {
                let mut flash = flash();
                let mut pages = Pages::open(&mut flash).unwrap().0;
                (1..=saves).for_each(|n| pages.save(&record(n)).unwrap());
                flash.cut_after_bytes = Some(cut);
                let mut pages = Pages::open(&mut flash).unwrap().0;
                assert!(pages.save(&record(99)).is_err());
                assert_eq!(Pages::open(&mut flash).unwrap().1, record(saves), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_last_saved_record_is_found_again(versions in prop::collection::vec(any::<u32>(), 1..20)) {
            let mut flash = flash();
            for version in &versions {
                let mut pages = Pages::open(&mut flash).unwrap().0;
                pages.save(&record(*version)).unwrap();
            }
            prop_assert_eq!(Pages::open(&mut flash).unwrap().1, record(*versions.last().unwrap()));
        }
    }
}
