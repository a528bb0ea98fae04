//! What is promised of the state partition. Not here: which tables have one.

use proptest::prelude::*;
use waxwing_agent::ports::FlashError;
use waxwing_esp_image::partition::Partition;

use super::files::{HEAD, key};
use super::*;
use crate::fake::FakeChip;
use crate::layout;

/// Every file that a device must be able to keep, with the greatest length that is legal.
const NEEDED: [(&str, usize); 10] = [
    ("identity", 2048),
    ("pending-key", 32),
    ("starts", 4),
    ("server-ca", 8192),
    ("director/root.json", 16_384),
    ("director/timestamp.json", 2048),
    ("director/snapshot.json", 4096),
    ("image/root.json", 16_384),
    ("image/timestamp.json", 2048),
    ("image/snapshot.json", 16_384),
];
const ROLES: [(&str, usize); 4] = [
    ("director/targets.json", 4096),
    ("image/targets.json", 16_384),
    ("image/stable.json", 16_384),
    ("image/pilot.json", 16_384),
];

fn chip() -> FakeChip {
    FakeChip::erased(usize::try_from(SECTORS_STANDARD).unwrap())
}

fn smallest() -> FakeChip {
    FakeChip::erased(usize::try_from(SECTORS_MIN).unwrap())
}

/// Opens the state in all of a chip.
fn state(chip: &FakeChip) -> State<FakeChip> {
    let bytes = u32::try_from(chip.bytes().len()).unwrap();
    let partition = Partition::new("wx_state", layout::STATE, 0, bytes);
    State::open(Region::new(chip.clone(), &partition)).unwrap()
}

/// Saves as the agent does: roles through the drawer of their repository.
fn put(state: &State<FakeChip>, name: &str, bytes: &[u8]) -> bool {
    match name.split_once('/') {
        Some(("director", file)) => state.drawer("director").save(file, bytes).is_ok(),
        Some((_, file)) => state.drawer("image").save(file, bytes).is_ok(),
        None => state.save(name, bytes).is_ok(),
    }
}

/// Saves every file that is needed, as long as may be, with content that was not there before.
fn assert_all_can_be_saved(state: &State<FakeChip>, seed: u8) {
    for (name, bytes) in NEEDED {
        let new = file(bytes, seed);
        assert!(put(state, name, &new), "{name} finds no room");
        assert_eq!(state.load(name).unwrap(), Some(new));
    }
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
    let damage = |name: &str| {
        state.save(name, &file(3_000, 1)).unwrap();
        state.0.borrow_mut().store(key(name, 0, 1), b"other").unwrap();
        assert_eq!(state.load(name), Err(StateError::Corrupt));
    };
    let behead = |name: &str| {
        state.save(name, &file(3_000, 1)).unwrap();
        state.0.borrow_mut().store(key(name, 0, HEAD), b"nonsense").unwrap();
        assert_eq!(state.load(name), Err(StateError::Corrupt));
    };
    let mut drawer = state.drawer("image");
    let ways: [&dyn Fn(&str); 2] = [&damage, &behead];
    for damage in ways {
        damage("image/root.json");
        assert_eq!(drawer.load("root.json"), Ok(None));
        drawer.save("root.json", &file(2_000, 2)).unwrap();
        assert_eq!(drawer.load("root.json"), Ok(Some(file(2_000, 2))));
        drawer.remove("root.json").unwrap();
        damage("pending-key");
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
    let partition = Partition::new("wx_state", layout::STATE, 0, 8 * SECTOR_BYTES);
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
fn all_files_as_long_as_may_be_can_be_replaced_in_the_smallest_partition() {
    let state = state(&smallest());
    for seed in 1..5 {
        assert_all_can_be_saved(&state, seed);
        // In a partition that has no room for them, roles are refused and nothing else.
        assert!(ROLES.iter().all(|(name, bytes)| !put(&state, name, &file(*bytes, seed))));
    }
    assert!(NEEDED.iter().all(|(name, bytes)| state.load(name) == Ok(Some(file(*bytes, 4)))));
}

#[test]
fn a_role_as_long_as_may_be_can_be_replaced_and_the_next_poll_remembered() {
    let state = state(&chip());
    for seed in 1..6 {
        assert_all_can_be_saved(&state, seed);
        assert!(put(&state, "director/targets.json", &file(2000, seed)));
        assert!(put(&state, "image/stable.json", &file(16_384, seed)));
        assert_eq!(state.load("image/stable.json").unwrap(), Some(file(16_384, seed)));
        assert!(put(&state, "director/timestamp.json", &file(900, seed)));
    }
    assert_eq!(state.load("director/targets.json").unwrap(), Some(file(2000, 5)));
}

#[test]
fn a_role_that_finds_no_room_takes_none_from_others() {
    let state = state(&chip());
    assert!(put(&state, "image/stable.json", &file(16_384, 1)));
    assert!(!put(&state, "image/targets.json", &file(16_384, 1)));
    assert_eq!(state.load("image/stable.json").unwrap(), Some(file(16_384, 1)));
    assert_eq!(state.load("image/targets.json").unwrap(), None);
}

#[test]
fn a_full_partition_keeps_what_is_needed_and_drops_roles() {
    let state = state(&chip());
    assert!(put(&state, "image/stable.json", &file(16_384, 1)));
    let saved = (0..20_u8).take_while(|at| state.save(&at.to_string(), &file(16_384, *at)).is_ok());
    let saved = saved.count();
    assert!((4..10).contains(&saved), "{saved}");
    assert_eq!(state.load("image/stable.json").unwrap(), None);
    for at in 0..u8::try_from(saved).unwrap() {
        assert_eq!(state.load(&at.to_string()).unwrap(), Some(file(16_384, at)));
    }
    // What the last one wrote before it was refused is free again.
    let refused = state.save("refused", &file(16_384, 2));
    assert_eq!(refused, Err(StateError::Full));
    assert_eq!(state.save("small", &file(100, 2)), Ok(()));
    assert_eq!(state.save("huge", &file(FILE_BYTES_MAX + 1, 2)), Err(StateError::TooLong));
}

#[test]
fn damage_is_told_from_absence_and_can_be_erased() {
    let chip = chip();
    state(&chip).save("file", &file(1_000, 1)).unwrap();
    chip.fill(0, &vec![0; chip.bytes().len()]);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A cut is during one of the operations of a save, after so many of its bytes.
    #[test]
    fn whatever_was_saved_and_wherever_power_failed_all_that_is_needed_can_be_saved(
        is_smallest in any::<bool>(),
        saves in prop::collection::vec(
            (0..NEEDED.len() + ROLES.len(), 0_usize..=100, prop::option::of((0_u64..80, 0_usize..800))),
            1..24,
        ),
    ) {
        let mut chip = if is_smallest { smallest() } else { chip() };
        let mut kept = [const { None::<Vec<u8>> }; NEEDED.len()];
        for ((which, percent, cut), seed) in saves.into_iter().zip(1_u8..) {
            let (name, bytes_max) = *NEEDED.iter().chain(&ROLES).nth(which).unwrap();
            let new = file(bytes_max * percent / 100, seed);
            if let Some((operation, after_bytes)) = cut {
                chip.cut_power(operation, after_bytes);
            }
            let saved = put(&state(&chip), name, &new);
            chip = chip.copy();
            let found = state(&chip).load(name).unwrap();
            if let Some(kept) = kept.get_mut(which) {
                prop_assert!(saved || cut.is_some(), "{name} finds no room");
                prop_assert!(found.as_ref() == Some(&new) || (!saved && found == *kept));
                *kept = found;
            }
        }
        for ((name, _), kept) in NEEDED.iter().zip(&kept) {
            prop_assert_eq!(&state(&chip).load(name).unwrap(), kept);
        }
        assert_all_can_be_saved(&state(&chip), 100);
        assert_all_can_be_saved(&state(&chip), 101);
    }
}
