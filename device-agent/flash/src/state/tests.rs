//! Files, with and without power cuts and damage.

use proptest::prelude::*;
use waxwing_esp_image::partition::Partition;

use super::*;
use crate::fake::FakeChip;
use crate::layout;

const SECTORS: u32 = 8;

fn chip() -> FakeChip {
    FakeChip::erased(8)
}

fn state(chip: &FakeChip) -> State<FakeChip> {
    let partition = Partition::new("wx_state", layout::STATE, 0, SECTORS * SECTOR_BYTES);
    State::open(Region::new(chip.clone(), &partition)).unwrap()
}

fn file(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect()
}

#[test]
fn files_outlive_a_restart() {
    let chip = chip();
    let long = file(9_000, 1);
    state(&chip).save("image/root.json", &long).unwrap();
    state(&chip).save("key", b"secret").unwrap();
    assert_eq!(state(&chip).load("image/root.json").unwrap(), Some(long));
    assert_eq!(state(&chip).load("key").unwrap(), Some(b"secret".to_vec()));
    state(&chip).remove("key").unwrap();
    assert_eq!(state(&chip).load("key").unwrap(), None);
}

#[test]
fn a_power_cut_leaves_the_old_file_or_the_new_one_and_all_others() {
    let before = chip();
    state(&before).save("other", &file(3_000, 7)).unwrap();
    state(&before).save("file", &file(4_000, 1)).unwrap();
    let mut cut = 0;
    loop {
        for after_bytes in [0, 2, 9, 700, usize::MAX] {
            let chip = before.copy();
            chip.cut_power(cut, after_bytes);
            let saved = state(&chip).save("file", &file(6_000, 2));
            let state = state(&chip.copy());
            let found = state.load("file").unwrap().unwrap();
            assert!(found == file(4_000, 1) || found == file(6_000, 2), "cut at {cut}");
            assert_eq!(state.load("other").unwrap(), Some(file(3_000, 7)));
            // And it goes on working.
            state.save("file", &file(5_000, 3)).unwrap();
            assert_eq!(state.load("file").unwrap(), Some(file(5_000, 3)));
            if saved.is_ok() && chip.operations() <= cut {
                return;
            }
        }
        cut += 1;
    }
}

#[test]
fn a_damaged_file_is_replaced_or_removed_and_no_other_is_touched() {
    let state = state(&chip());
    state.save("identity", b"secret").unwrap();
    let damage = |name: &str, index| {
        state.save(name, &file(3_000, 1)).unwrap();
        state.0.borrow_mut().store(key(name, 0, index), b"other").unwrap();
        assert_eq!(state.load(name), Err(StateError::Corrupt));
    };
    let mut drawer = state.drawer("image");
    for index in [1, HEAD] {
        damage("image/root.json", index);
        assert_eq!(drawer.load("root.json"), Ok(None));
        drawer.save("root.json", &file(2_000, 2)).unwrap();
        assert_eq!(drawer.load("root.json"), Ok(Some(file(2_000, 2))));
        drawer.remove("root.json").unwrap();
        damage("pending-key", index);
        state.remove("pending-key").unwrap();
        assert_eq!(state.load("pending-key"), Ok(None));
    }
    assert_eq!(state.load("identity"), Ok(Some(b"secret".to_vec())));
}

/// A chip that answers nothing.
#[derive(Clone)]
struct Silent;

impl waxwing_esp_image::Flash for Silent {
    type Error = FlashError;

    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), FlashError> {
        Err(FlashError::Device(1))
    }

    fn erase_sector(&mut self, _: u32) -> Result<(), FlashError> {
        Err(FlashError::Device(1))
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), FlashError> {
        Err(FlashError::Device(1))
    }
}

#[test]
fn a_fault_of_the_chip_is_neither_damage_nor_absence() {
    let partition = Partition::new("wx_state", layout::STATE, 0, SECTORS * SECTOR_BYTES);
    let state = State::open(Region::new(Silent, &partition)).unwrap();
    assert_eq!(state.load("identity"), Err(StateError::Flash));
    assert_eq!(state.remove("identity"), Err(StateError::Flash));
    assert_eq!(state.drawer("image").load("root.json"), Err(StoreError));
}

#[test]
fn writing_again_and_again_never_fills_the_partition() {
    let chip = chip();
    let state = state(&chip);
    for turn in 0..200_u8 {
        state.save("image/targets.json", &file(5_000 + usize::from(turn), turn)).unwrap();
        state.save("image/timestamp.json", &file(600, turn)).unwrap();
    }
    assert_eq!(state.load("image/timestamp.json").unwrap(), Some(file(600, 199)));
}

#[test]
fn the_same_content_again_writes_nothing() {
    let chip = chip();
    state(&chip).save("file", &file(2_000, 1)).unwrap();
    let operations = chip.operations();
    state(&chip).save("file", &file(2_000, 1)).unwrap();
    assert_eq!(chip.operations(), operations);
}

#[test]
fn a_full_partition_keeps_what_it_has() {
    let state = state(&chip());
    state.save("file", &file(8_000, 1)).unwrap();
    assert_eq!(state.save("large", &file(30_000, 2)), Err(StateError::Full));
    assert_eq!(state.save("huge", &file(FILE_BYTES_MAX + 1, 2)), Err(StateError::TooLong));
    assert_eq!(state.load("file").unwrap(), Some(file(8_000, 1)));
    assert_eq!(state.load("large").unwrap(), None);
}

#[test]
fn damage_is_told_from_absence_and_can_be_erased() {
    let chip = chip();
    state(&chip).save("file", &file(1_000, 1)).unwrap();
    chip.fill(0, &vec![0; 8 * 4096]);
    assert_eq!(state(&chip).load("file"), Err(StateError::Corrupt));
    state(&chip).erase().unwrap();
    assert_eq!(state(&chip).load("file").unwrap(), None);
}

proptest! {
    #[test]
    fn whatever_is_in_flash_nothing_panics_and_an_erased_state_works(
        bytes in prop::collection::vec(any::<u8>(), 4096),
        at in 0_usize..7 * 4096,
    ) {
        let chip = chip();
        state(&chip).save("file", &file(2_000, 1)).unwrap();
        chip.fill(at, &bytes);
        let damaged = state(&chip);
        let _ = damaged.load("file");
        let _ = damaged.save("file", &file(1_000, 2));
        damaged.erase().unwrap();
        damaged.save("file", &file(1_000, 2)).unwrap();
        prop_assert_eq!(damaged.load("file").unwrap(), Some(file(1_000, 2)));
    }
}
