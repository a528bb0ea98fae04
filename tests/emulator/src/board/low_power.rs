//! The low-power domain: its clock, its watchdogs, why the chip was reset, and resets by software
//! (technical reference manual, chapters "Low-power Management", "Reset and Clock", "Watchdog
//! Timers"). Sleep modes are not modelled.

use serde::Serialize;

use super::time::{CYCLES_PER_SECOND, SLOW_CLOCK_HZ};
use super::watchdog::{Action, Watchdog};

const WATCHDOG_KEY: u32 = 0x50d8_3aa1;
const SUPER_WATCHDOG_KEY: u32 = 0x8f1d_312a;

/// What the super watchdog gives a program, in cycles: about a second.
const SUPER_WATCHDOG_CYCLES: u64 = CYCLES_PER_SECOND;

const OPTIONS: u32 = 0x00;
const OPTIONS_RESET: u32 = 0x1c00_a000;
const SYSTEM_RESET: u32 = 1 << 31;
const CPU_RESET: u32 = 1 << 5;
const TIME_UPDATE: u32 = 0x0c;
const TIME_LOW: u32 = 0x10;
const TIME_HIGH: u32 = 0x14;
const RESET_STATE: u32 = 0x38;
const INT_ENA: u32 = 0x40;
const INT_RAW: u32 = 0x44;
const INT_ST: u32 = 0x48;
const INT_CLR: u32 = 0x4c;
const WATCHDOG_INTERRUPT: u32 = 1 << 3;
const WATCHDOG_CONFIG: u32 = 0x90;
const WATCHDOG_CONFIG_RESET: u32 = 0x0001_3214;
const WATCHDOG_HOLD: u32 = 0x94;
const WATCHDOG_FEED: u32 = 0xa4;
const WATCHDOG_LOCK: u32 = 0xa8;
const SUPER_CONFIG: u32 = 0xac;
const SUPER_CONFIG_RESET: u32 = 0x04b0_0000;
const SUPER_LOCK: u32 = 0xb0;
/// `RTC_CNTL_STORE0..3` and `4..7`: kept over every reset but power-on.
const STORES: [std::ops::Range<u32>; 2] = [0x50..0x60, 0xb8..0xc8];
const FLASH_BOOT: u32 = 1 << 12;

/// Why the chip starts, with the numbers of the technical reference manual.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// Power came.
    PowerOn = 0x01,
    /// Software reset the digital core.
    SoftwareCore = 0x03,
    /// The watchdog of timer group 0 reset the digital core.
    Watchdog0Core = 0x07,
    /// The watchdog of timer group 1 reset the digital core.
    Watchdog1Core = 0x08,
    /// The low-power watchdog reset the digital core.
    LowPowerWatchdogCore = 0x09,
    /// The watchdog of timer group 0 reset the processor.
    Watchdog0Cpu = 0x0b,
    /// Software reset the processor.
    SoftwareCpu = 0x0c,
    /// The low-power watchdog reset the processor.
    LowPowerWatchdogCpu = 0x0d,
    /// The low-power watchdog reset everything.
    LowPowerWatchdogSystem = 0x10,
    /// The watchdog of timer group 1 reset the processor.
    Watchdog1Cpu = 0x11,
    /// The super watchdog reset everything.
    SuperWatchdog = 0x12,
}

impl ResetReason {
    /// Returns the number that programs read.
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Returns whether the low-power domain loses its registers too.
    const fn reaches_low_power(self) -> bool {
        matches!(self, Self::PowerOn | Self::LowPowerWatchdogSystem | Self::SuperWatchdog)
    }
}

/// State of the domain.
#[derive(Clone, Debug)]
pub(crate) struct LowPower {
    reason: ResetReason,
    options: u32,
    latched: u64,
    stores: [u32; 8],
    watchdog: Watchdog,
    config: u32,
    holds: [u32; 4],
    lock: u32,
    super_config: u32,
    super_lock: u32,
    super_fed: u64,
    enabled: u32,
    raw: u32,
}

impl LowPower {
    /// Makes the domain as it is when power comes. The stores hold noise.
    pub(crate) fn new(now: u64, noise: u32) -> Self {
        let mut domain = Self {
            reason: ResetReason::PowerOn,
            options: OPTIONS_RESET,
            latched: 0,
            stores: [noise; 8],
            watchdog: Watchdog::default(),
            config: WATCHDOG_CONFIG_RESET,
            holds: [0x0003_0d40, 80_000, 0x0fff, 0x0fff],
            lock: WATCHDOG_KEY,
            super_config: SUPER_CONFIG_RESET,
            super_lock: SUPER_WATCHDOG_KEY,
            super_fed: now,
            enabled: 0,
            raw: 0,
        };
        domain.configure_watchdog(now);
        domain
    }

    /// Resets for a reason, as far as it reaches.
    pub(crate) fn reset(&mut self, now: u64, reason: ResetReason, noise: u32) {
        let stores = self.stores;
        let kept = if reason.reaches_low_power() { None } else { Some(self.clone()) };
        *self = kept.unwrap_or_else(|| Self::new(now, noise));
        if reason != ResetReason::PowerOn {
            self.stores = stores;
        }
        self.reason = reason;
        // The start from flash is guarded again, whatever the program had configured.
        self.config = WATCHDOG_CONFIG_RESET;
        self.lock = WATCHDOG_KEY;
        self.watchdog.enable(now, false);
        self.configure_watchdog(now);
        self.super_fed = now;
    }

    /// Returns why the chip started.
    pub(crate) const fn reason(&self) -> ResetReason {
        self.reason
    }

    /// Returns whether the watchdog raises its interrupt.
    pub(crate) const fn line(&self) -> bool {
        self.raw & self.enabled != 0
    }

    /// Returns when something happens next, in cycles.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.watchdog.deadline().into_iter().chain(self.super_deadline()).min()
    }

    /// Lets time pass; returns why the chip resets, if it does.
    pub(crate) fn tick(&mut self, now: u64) -> Option<ResetReason> {
        if self.super_deadline().is_some_and(|at| at <= now) {
            return Some(ResetReason::SuperWatchdog);
        }
        match self.watchdog.tick(now)? {
            Action::Off => None,
            Action::Interrupt => {
                self.raw |= WATCHDOG_INTERRUPT;
                None
            }
            Action::ResetCpu => Some(ResetReason::LowPowerWatchdogCpu),
            Action::ResetCore => Some(ResetReason::LowPowerWatchdogCore),
            Action::ResetSystem => Some(ResetReason::LowPowerWatchdogSystem),
        }
    }

    /// Reads a register of the block; nothing for those that are plain storage.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            OPTIONS => self.options,
            TIME_LOW => low(self.latched),
            TIME_HIGH => low(self.latched >> 32),
            RESET_STATE => 0x3000 | self.reason.number(),
            INT_ENA => self.enabled,
            INT_RAW => self.raw,
            INT_ST => self.raw & self.enabled,
            TIME_UPDATE | INT_CLR | WATCHDOG_FEED => 0,
            WATCHDOG_CONFIG => self.config,
            WATCHDOG_HOLD..WATCHDOG_FEED => {
                *self.holds.get(index(offset - WATCHDOG_HOLD)).unwrap_or(&0)
            }
            WATCHDOG_LOCK => self.lock,
            SUPER_CONFIG => self.super_config,
            SUPER_LOCK => self.super_lock,
            _ => *self.stores.get(store_at(offset)?)?,
        })
    }

    /// Writes a register of the block; returns why the chip resets, if it does.
    pub(crate) fn write(&mut self, now: u64, offset: u32, value: u32) -> Option<ResetReason> {
        match offset {
            OPTIONS if value & SYSTEM_RESET != 0 => return Some(ResetReason::SoftwareCore),
            OPTIONS if value & CPU_RESET != 0 => return Some(ResetReason::SoftwareCpu),
            OPTIONS => self.options = value,
            TIME_UPDATE => self.latched = slow_clock(now),
            INT_ENA => self.enabled = value,
            INT_CLR => self.raw &= !value,
            WATCHDOG_LOCK => self.lock = value,
            WATCHDOG_CONFIG..WATCHDOG_LOCK if self.lock == WATCHDOG_KEY => {
                self.write_watchdog(now, offset, value);
            }
            SUPER_LOCK => self.super_lock = value,
            SUPER_CONFIG if self.super_lock == SUPER_WATCHDOG_KEY => {
                self.super_config = value & !(1 << 29);
                self.super_fed = now;
            }
            _ => {
                if let Some(store) = store_at(offset).and_then(|at| self.stores.get_mut(at)) {
                    *store = value;
                }
            }
        }
        None
    }

    fn write_watchdog(&mut self, now: u64, offset: u32, value: u32) {
        match offset {
            WATCHDOG_CONFIG => self.config = value,
            WATCHDOG_FEED => self.watchdog.feed(now),
            _ => {
                if let Some(hold) = self.holds.get_mut(index(offset - WATCHDOG_HOLD)) {
                    *hold = value;
                }
            }
        }
        self.configure_watchdog(now);
    }

    fn configure_watchdog(&mut self, now: u64) {
        let config = self.config;
        let cycles = |slow: u64| slow * CYCLES_PER_SECOND / SLOW_CLOCK_HZ;
        let [first, rest @ ..] = self.holds.map(u64::from);
        let [second, third, fourth] = rest;
        // "Thold0 = hold << (EFUSE_WDT_DELAY_SEL + 1)", and that fuse is not blown.
        self.watchdog.cycles = [first << 1, second, third, fourth].map(cycles);
        self.watchdog.actions = [28, 25, 22, 19].map(|shift| Action::of_bits(config >> shift & 7));
        if config & 1 << 31 == 0 && config & FLASH_BOOT != 0 {
            self.watchdog.actions = [Action::ResetSystem; 4];
        }
        self.watchdog.enable(now, config & (1 << 31 | FLASH_BOOT) != 0);
    }

    /// Off when it is disabled or feeds itself.
    fn super_deadline(&self) -> Option<u64> {
        let off = self.super_config & (1 << 30 | 1 << 31) != 0;
        (!off).then(|| self.super_fed + SUPER_WATCHDOG_CYCLES)
    }
}

/// Returns the slow clock's count at a time in cycles.
fn slow_clock(now: u64) -> u64 {
    let product = u128::from(now) * u128::from(SLOW_CLOCK_HZ);
    u64::try_from(product / u128::from(CYCLES_PER_SECOND)).unwrap_or(u64::MAX)
}

fn store_at(offset: u32) -> Option<usize> {
    let (first, second) = (&STORES[0], &STORES[1]);
    if first.contains(&offset) {
        return Some(index(offset - first.start));
    }
    second.contains(&offset).then(|| 4 + index(offset - second.start))
}

fn index(offset: u32) -> usize {
    usize::try_from(offset / 4).unwrap_or(usize::MAX)
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = CYCLES_PER_SECOND;

    /// As a program leaves it: no watchdog runs.
    fn quiet() -> LowPower {
        let mut domain = LowPower::new(0, 0);
        domain.write(0, WATCHDOG_CONFIG, 0);
        domain.write(0, SUPER_CONFIG, 1 << 31);
        domain
    }

    #[test]
    fn a_program_that_tames_no_watchdog_is_reset() {
        let mut domain = LowPower::new(0, 0);
        let at = domain.deadline().unwrap();
        assert_eq!(domain.tick(at), Some(ResetReason::SuperWatchdog));
        assert_eq!(quiet().deadline(), None);
    }

    #[test]
    fn the_watchdog_takes_twice_its_first_time_and_resets_as_configured() {
        let mut domain = quiet();
        domain.write(0, WATCHDOG_HOLD, 68_000);
        domain.write(0, WATCHDOG_CONFIG, 1 << 31 | 4 << 28);
        assert_eq!(domain.tick(SECOND - 1), None);
        assert_eq!(domain.tick(SECOND), Some(ResetReason::LowPowerWatchdogSystem));
    }

    #[test]
    fn stores_survive_every_reset_but_power_on() {
        let mut domain = quiet();
        for (at, register) in [0x50, 0x5c, 0xb8, 0xc4].into_iter().enumerate() {
            domain.write(0, register, 0x1000 + u32::try_from(at).unwrap());
        }
        domain.reset(0, ResetReason::LowPowerWatchdogSystem, 7);
        let kept = [0x50, 0x5c, 0xb8, 0xc4].map(|register| domain.read(register).unwrap());
        assert_eq!(kept, [0x1000, 0x1001, 0x1002, 0x1003]);
        domain.reset(0, ResetReason::PowerOn, 7);
        assert_eq!(domain.read(0x50), Some(7), "noise");
    }

    #[test]
    fn a_reset_by_software_tells_its_reason_and_guards_the_start_again() {
        let mut domain = quiet();
        let reason = domain.write(5, OPTIONS, SYSTEM_RESET).unwrap();
        domain.reset(5, reason, 0);
        assert_eq!(domain.read(RESET_STATE).unwrap() & 0x3f, 3);
        assert!(domain.deadline().is_some());
    }

    #[test]
    fn the_slow_clock_runs_at_136_kilohertz() {
        let mut domain = quiet();
        domain.write(10 * SECOND, TIME_UPDATE, 1 << 31);
        assert_eq!(domain.read(TIME_LOW), Some(1_360_000));
    }
}
