//! Why the chip restarted, and restarting it.
//!
//! Hardware cannot tell a crash from a restart that was asked for: both are a software reset. So a
//! crash leaves a mark in memory that outlives one, but not a power cut.

use esp_hal::rtc_cntl::SocResetReason;
use esp_hal::system;
use portable_atomic::{AtomicU32, Ordering};
use waxwing_agent::ports::ResetReason;
use waxwing_agent_flash::Restart;

/// What [`MARK`] holds after a crash.
const CRASHED: u32 = 0x5741_5821;

#[esp_hal::ram(unstable(rtc_fast, persistent))]
static MARK: AtomicU32 = AtomicU32::new(0);
#[esp_hal::ram(unstable(rtc_fast, persistent))]
static STARTS: AtomicU32 = AtomicU32::new(0);

/// Restarts the chip after a panic or an exception: what a panic handler ends with.
pub fn crash() -> ! {
    MARK.store(CRASHED, Ordering::Relaxed);
    system::software_reset()
}

/// Returns why the chip restarted. To be called once.
pub(crate) fn reason() -> ResetReason {
    let crashed = MARK.load(Ordering::Relaxed) == CRASHED;
    MARK.store(0, Ordering::Relaxed);
    match system::reset_reason() {
        Some(SocResetReason::ChipPowerOn) => ResetReason::PowerOn,
        Some(SocResetReason::SysBrownOut) => ResetReason::Brownout,
        Some(SocResetReason::CoreSw | SocResetReason::Cpu0Sw) if crashed => ResetReason::Crash,
        Some(
            SocResetReason::CoreSw
            | SocResetReason::Cpu0Sw
            | SocResetReason::CoreDeepSleep
            | SocResetReason::CoreUsbUart
            | SocResetReason::CoreUsbJtag,
        ) => ResetReason::Requested,
        Some(
            SocResetReason::CoreMwdt0
            | SocResetReason::CoreMwdt1
            | SocResetReason::CoreRtcWdt
            | SocResetReason::Cpu0Mwdt0
            | SocResetReason::Cpu0RtcWdt
            | SocResetReason::Cpu0Mwdt1
            | SocResetReason::SysRtcWdt
            | SocResetReason::SysSuperWdt,
        ) => ResetReason::Watchdog,
        _ => ResetReason::Unknown,
    }
}

/// Counts a start, and returns how many there were since the power came.
pub(crate) fn count_start(reason: ResetReason) -> u32 {
    let before = if reason == ResetReason::PowerOn { 0 } else { STARTS.load(Ordering::Relaxed) };
    let starts = before.saturating_add(1);
    STARTS.store(starts, Ordering::Relaxed);
    starts
}

/// The reset line of the chip.
#[derive(Clone, Copy, Debug)]
pub struct ResetLine;

impl Restart for ResetLine {
    fn restart(&mut self) {
        system::software_reset()
    }
}
