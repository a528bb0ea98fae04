//! The flash driver of the ROM: what it does on the bus is an operation of the chip each.

use super::{Call, Function};
use crate::core::Core as _;
use crate::flash::{BLOCK_BYTES, Operation, SECTOR_BYTES};

/// What the driver programs with one command: `ESP_ROM_SPIFLASH_BUFF_BYTE_WRITE_NUM`.
const WRITE_BYTES: usize = 32;

/// `ESP_ROM_SPIFLASH_RESULT_ERR`.
const FAILED: u32 = 1;

/// Where the driver keeps a pointer to its description of the chip, and where we put that.
pub(super) const LEGACY_DATA_POINTER: u32 = 0x3fcd_fff0;
pub(super) const LEGACY_DATA: u32 = 0x3fcd_fe00;

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_010c, done), // esp_rom_spiflash_wait_idle
    (0x4000_0124, erase_block),
    (0x4000_0128, erase_sector),
    (0x4000_012c, write),
    (0x4000_0130, read),
    (0x4000_0134, config_param),
    (0x4000_0140, done), // esp_rom_spiflash_unlock
    (0x4000_0150, done), // esp_rom_spiflash_config_clk
    (0x4000_0154, done), // esp_rom_spiflash_config_readmode
    (0x4000_0164, done), // esp_rom_spiflash_attach
];

fn done(call: &mut Call<'_, '_>) {
    call.answer(0);
}

fn erase_sector(call: &mut Call<'_, '_>) {
    erase(call, SECTOR_BYTES);
}

fn erase_block(call: &mut Call<'_, '_>) {
    erase(call, BLOCK_BYTES);
}

fn erase(call: &mut Call<'_, '_>, bytes: u32) {
    let address = call.argument(0).saturating_mul(bytes);
    if !fits(call, address, bytes) {
        return call.answer(FAILED);
    }
    call.engine.change_flash(Operation::Erase { address, bytes });
    call.answer(0);
}

/// `write(address, words, bytes)`: begun anew for every command, so power may go between two.
fn write(call: &mut Call<'_, '_>) {
    let (address, bytes) = (call.argument(0), call.argument(2));
    if !fits(call, address, bytes) || address % 4 != 0 {
        return call.answer(FAILED);
    }
    let data = call.read(call.argument(1), bytes);
    for (at, data) in (address..).step_by(WRITE_BYTES).zip(data.chunks(WRITE_BYTES)) {
        if call.engine.board().halt.is_some() {
            return;
        }
        call.engine.change_flash(Operation::Program { address: at, data: data.to_vec() });
    }
    call.answer(0);
}

fn read(call: &mut Call<'_, '_>) {
    let (address, bytes) = (call.argument(0), call.argument(2));
    if !fits(call, address, bytes) {
        return call.answer(FAILED);
    }
    let data = call.engine.board().flash.read(address, usize::try_from(bytes).unwrap_or(0));
    call.write(call.argument(1), &data);
    call.answer(0);
}

/// `config_param(id, capacity, block, sector, page, mask)`.
fn config_param(call: &mut Call<'_, '_>) {
    let fields: Vec<u8> = (0..6).flat_map(|number| call.argument(number).to_le_bytes()).collect();
    call.write(LEGACY_DATA, &fields);
    call.answer(0);
}

/// The driver believes what it was told about the chip, and so never reaches beyond.
fn fits(call: &Call<'_, '_>, address: u32, bytes: u32) -> bool {
    let told = call.read(LEGACY_DATA + 4, 4);
    let told = told.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
    let capacity = told.min(call.engine.board().flash.capacity_bytes());
    address.checked_add(bytes).is_some_and(|end| end <= capacity)
}

/// The description before a program has set one: the chip as it is soldered.
pub(super) fn description(capacity_bytes: u32) -> Vec<u8> {
    [0, capacity_bytes, BLOCK_BYTES, SECTOR_BYTES, 256, 0xffff]
        .iter()
        .flat_map(|field: &u32| field.to_le_bytes())
        .collect()
}
