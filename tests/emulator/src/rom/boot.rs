//! How the ROM starts the chip: it loads the second-stage boot loader from the beginning of flash
//! into memory and jumps there. Download mode and Secure Boot are not modelled.

use std::fmt;

use super::flash::{LEGACY_DATA, LEGACY_DATA_POINTER, description};
use crate::core::{Core as _, Engine};

/// Where the ROM's stack begins, downwards.
const STACK: u32 = 0x3fcd_e710;

const MAGIC: u8 = 0xe9;
const HEADER_BYTES: u32 = 24;
const SEGMENTS_MAX: u8 = 16;
/// Larger than all memory of the chip.
const SEGMENT_BYTES_MAX: u32 = 0x6_0000;
const CHECKSUM_SEED: u8 = 0xef;

/// Why the ROM starts nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BootError {
    /// There is no image at the beginning of flash.
    Missing,
    /// Its checksum is another.
    Checksum,
}

impl fmt::Display for BootError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "there is no boot loader at the beginning of flash",
            Self::Checksum => "the boot loader's checksum is wrong",
        })
    }
}

/// Loads the boot loader and sets the core to its entry point.
pub(crate) fn start(engine: &mut Engine<'_>) -> Result<(), BootError> {
    let header = engine.board().flash.read(0, 8);
    let (Some([MAGIC, segments @ 1..=SEGMENTS_MAX, ..]), Some(entry)) =
        (header.first_chunk::<8>(), header.last_chunk::<4>())
    else {
        return Err(BootError::Missing);
    };
    let mut at = HEADER_BYTES;
    let mut checksum = CHECKSUM_SEED;
    for _ in 0..*segments {
        let (load, data) = segment(engine, at)?;
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        at += 8 + u32::try_from(data.len()).unwrap_or(SEGMENT_BYTES_MAX);
        engine.write(load, &data);
    }
    if engine.board().flash.read(at | 15, 1) != [checksum] {
        return Err(BootError::Checksum);
    }
    let capacity_bytes = engine.board().flash.capacity_bytes();
    engine.write(LEGACY_DATA, &description(capacity_bytes));
    engine.write(LEGACY_DATA_POINTER, &LEGACY_DATA.to_le_bytes());
    engine.start_at(u32::from_le_bytes(*entry), STACK);
    Ok(())
}

fn segment(engine: &Engine<'_>, at: u32) -> Result<(u32, Vec<u8>), BootError> {
    let header = engine.board().flash.read(at, 8);
    let (Some(load), Some(bytes)) = (header.first_chunk::<4>(), header.last_chunk::<4>()) else {
        return Err(BootError::Missing);
    };
    let bytes = u32::from_le_bytes(*bytes);
    if bytes > SEGMENT_BYTES_MAX {
        return Err(BootError::Missing);
    }
    let data = engine.board().flash.read(at + 8, usize::try_from(bytes).unwrap_or(0));
    Ok((u32::from_le_bytes(*load), data))
}
