//! Functions about the chip itself: why it was reset, how fast it runs, waiting, the cache, pads.

use super::{Call, Function};
use crate::board::time::CYCLES_PER_US;
use crate::board::{Halt, ResetReason};
use crate::core::Core as _;

/// What the core runs at until a program says otherwise, in MHz.
const START_MEGAHERTZ: u32 = 20;

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_0018, rtc_get_reset_reason),
    (0x4000_0050, ets_delay_us),
    (0x4000_0090, software_reset),
    (0x4000_0094, software_reset_cpu),
    // Cache: what is in flash is seen at once, so there is nothing to do.
    (0x4000_04c8, nothing),  // ROM_Boot_Cache_Init
    (0x4000_04cc, nothing),  // Cache_Invalidate_ICache_Items
    (0x4000_04d4, nothing),  // Cache_Invalidate_Addr
    (0x4000_04d8, nothing),  // Cache_Invalidate_ICache_All
    (0x4000_04e4, answer_0), // Cache_Suspend_ICache_Autoload
    (0x4000_04e8, nothing),  // Cache_Resume_ICache_Autoload
    (0x4000_051c, answer_0), // Cache_Disable_ICache
    (0x4000_0520, nothing),  // Cache_Enable_ICache
    (0x4000_0524, answer_0), // Cache_Suspend_ICache
    (0x4000_0528, nothing),  // Cache_Resume_ICache
    (0x4000_0548, nothing),  // Cache_Set_IDROM_MMU_Size
    (0x4000_0554, nothing),  // Cache_Owner_Init
    (0x4000_0584, ets_get_cpu_frequency),
    (0x4000_0588, ets_update_cpu_frequency),
    // Pads lead nowhere.
    (0x4000_05cc, nothing), // gpio_pad_set_drv
    // Fuses that are not blown.
    (0x4000_071c, answer_0), // ets_efuse_get_spiconfig
    (0x4000_072c, answer_no_pad),
    // Analog blocks behind an internal bus: nothing answers.
    (0x4000_1954, answer_0), // rom_i2c_readReg
    (0x4000_1958, answer_0), // rom_i2c_readReg_Mask
    (0x4000_195c, nothing),  // rom_i2c_writeReg
    (0x4000_1960, nothing),  // rom_i2c_writeReg_Mask
];

fn nothing(_: &mut Call<'_, '_>) {}

fn answer_0(call: &mut Call<'_, '_>) {
    call.answer(0);
}

/// `ets_efuse_get_wp_pad`: no pad is set for write protection.
fn answer_no_pad(call: &mut Call<'_, '_>) {
    call.answer(0x3f);
}

fn rtc_get_reset_reason(call: &mut Call<'_, '_>) {
    let reason = call.engine.board().low_power.reason();
    call.answer(reason.number());
}

fn ets_delay_us(call: &mut Call<'_, '_>) {
    let cycles = u64::from(call.argument(0)) * CYCLES_PER_US;
    call.engine.pass(cycles);
}

fn software_reset(call: &mut Call<'_, '_>) {
    call.engine.stop(Halt::Reset(ResetReason::SoftwareCore));
}

fn software_reset_cpu(call: &mut Call<'_, '_>) {
    call.engine.stop(Halt::Reset(ResetReason::SoftwareCpu));
}

fn ets_get_cpu_frequency(call: &mut Call<'_, '_>) {
    let megahertz = call.engine.board().rom.megahertz;
    call.answer(if megahertz == 0 { START_MEGAHERTZ } else { megahertz });
}

fn ets_update_cpu_frequency(call: &mut Call<'_, '_>) {
    let megahertz = call.argument(0);
    call.engine.board_mut().rom.megahertz = megahertz;
}
