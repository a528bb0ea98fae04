//! How much room the state partition must have, out of the longest files that are legal.
//!
//! Not here: what the files hold.

use waxwing_tuf::Limits;
use waxwing_tuf::uptane::SERVER_CA_BYTES_MAX;

use super::files::{HEAD_BYTES, KEY_BYTES, PIECE_BYTES};
use super::sectors::{SECTOR_LEN, WORD_BYTES};

/// Longest file in bytes: that of any role (16 KiB).
pub const FILE_BYTES_MAX: usize = Limits::DEVICE_IMAGE.root_bytes_max;

/// A key with its certificate, of at most 32 and 1500 bytes.
const IDENTITY_BYTES_MAX: usize = 2048;
/// A key without certificate, and the number of starts: each in one piece.
const SMALL_BYTES_MAX: usize = 64;
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "8 KiB, in a const")]
const PINS_BYTES_MAX: usize = SERVER_CA_BYTES_MAX as usize;

/// What a device must be able to keep all at once, in bytes: 67,712.
const NEEDED: [usize; 10] = [
    IDENTITY_BYTES_MAX,
    SMALL_BYTES_MAX,
    SMALL_BYTES_MAX,
    PINS_BYTES_MAX,
    Limits::DEVICE_DIRECTOR.root_bytes_max,
    Limits::DEVICE_DIRECTOR.timestamp_bytes_max,
    Limits::DEVICE_DIRECTOR.snapshot_bytes_max,
    Limits::DEVICE_IMAGE.root_bytes_max,
    Limits::DEVICE_IMAGE.timestamp_bytes_max,
    Limits::DEVICE_IMAGE.snapshot_bytes_max,
];

/// Each sector begins and ends with a word of `sequential-storage`.
const SECTOR_ROOM: usize = SECTOR_LEN - 2 * WORD_BYTES;
/// An item has a header of `sequential-storage`, of 8 bytes, and its key.
const ITEM_OVERHEAD: usize = 8 + KEY_BYTES;
/// What fits into a sector in any order: at worst, the longest item does not fit any more.
const SECTOR_ROOM_MIN: usize = SECTOR_ROOM - (ITEM_OVERHEAD + PIECE_BYTES);
/// One is being erased, and one is being filled from it.
const SECTORS_BUSY: u32 = 2;
/// Longest name of a file that is needed, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// What a new product keeps of roles, in bytes: the longest there may be, and an ordinary one.
const ROLES_STANDARD: [usize; 2] = [FILE_BYTES_MAX, 4096];

/// Fewest sectors of a state partition, 29: all files that are needed and the longest of them a
/// second time, while it is replaced, are 88,754 bytes in flash, of which 3,312 go into a sector in
/// any order. Roles are then fetched whenever they are looked at.
pub const SECTORS_MIN: u32 =
    sectors(stored_bytes(FILE_BYTES_MAX) + stored_in_all(&NEEDED)) + SECTORS_BUSY;

/// Sectors of the state partition of a new product, 36: some roles need not be fetched again.
pub const SECTORS_STANDARD: u32 = SECTORS_MIN + sectors(stored_in_all(&ROLES_STANDARD));

const _: () = assert!(SECTORS_MIN == 29 && SECTORS_STANDARD == 36, "documented");

/// Returns the bytes of flash that a file takes: its pieces, what is left of the pieces of the
/// version before, and its head.
pub(super) const fn stored_bytes(length: usize) -> usize {
    let pieces = length.div_ceil(PIECE_BYTES);
    let head = ITEM_OVERHEAD + HEAD_BYTES + NAME_BYTES_MAX;
    length.next_multiple_of(WORD_BYTES) + 2 * pieces * ITEM_OVERHEAD + head
}

const fn stored_in_all(lengths: &[usize]) -> usize {
    let mut bytes = 0;
    let mut rest = lengths;
    while let [length, behind @ ..] = rest {
        bytes += stored_bytes(*length);
        rest = behind;
    }
    bytes
}

/// Returns how many bytes of flash roles may take in so many sectors: those that no file needs.
pub(super) fn role_bytes_max(sectors: u32) -> usize {
    let spare = sectors.saturating_sub(SECTORS_MIN);
    usize::try_from(spare).unwrap_or(0).saturating_mul(SECTOR_ROOM_MIN)
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "const, below 100")]
const fn sectors(bytes: usize) -> u32 {
    bytes.div_ceil(SECTOR_ROOM_MIN) as u32
}
