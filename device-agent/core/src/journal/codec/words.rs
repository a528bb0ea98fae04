//! The journal's own numbers for states and outcomes, and its checksum.

use waxwing_wire::command::Outcome;
use waxwing_wire::report::State;

/// Numbers of the journal's own: the order of the enum may change, these may not.
pub(super) const fn state_number(state: State) -> u8 {
    match state {
        State::Waiting => 0,
        State::Offered => 1,
        State::Downloading => 2,
        State::Verified => 3,
        State::Activated => 4,
        State::Booted => 5,
        State::Confirmed => 6,
        State::Healthy => 7,
        State::Failed => 8,
        State::RolledBack => 9,
        State::TimedOut => 10,
        State::Skipped => 11,
    }
}

/// Beside the number of what became of a command: that was said.
pub(super) const TOLD: u8 = 0x80;

/// As above, for what became of a command; 0 if there is nothing to say.
pub(super) const fn outcome_number(outcome: Option<Outcome>) -> u8 {
    match outcome {
        None => 0,
        Some(Outcome::Done) => 1,
        Some(Outcome::Failed) => 2,
        Some(Outcome::Interrupted) => 3,
        Some(Outcome::Unknown) => 4,
    }
}

/// The outcome of a number. One of a later firmware is one that nobody here knows how it came about.
pub(super) fn outcome(number: u8) -> Option<Outcome> {
    let known = Outcome::ALL.into_iter().find(|it| outcome_number(Some(*it)) == number);
    known.or((number != 0).then_some(Outcome::Interrupted))
}

/// CRC-32 (IEEE 802.3), bit by bit: a record is short and a table is 1 KiB of flash.
pub(in crate::journal) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}
