//! A timer group: one general timer of 54 bits, a watchdog, and the calibration of the slow clock
//! (technical reference manual, chapters "Timer Group" and "Watchdog Timers").

use super::time::{CYCLES_PER_SECOND, SLOW_CLOCK_HZ};
use super::watchdog::{Action, Watchdog};

/// Writes to the watchdog's registers have no effect unless this key is in the lock register.
const WATCHDOG_KEY: u32 = 0x50d8_3aa1;

const APB_HZ: u64 = 80_000_000;
const CRYSTAL_HZ: u64 = 40_000_000;

const CONFIG: u32 = 0x00;
const CONFIG_RESET: u32 = 0x6000_2000;
const LOW: u32 = 0x04;
const HIGH: u32 = 0x08;
const UPDATE: u32 = 0x0c;
const ALARM_LOW: u32 = 0x10;
const ALARM_HIGH: u32 = 0x14;
const LOAD_LOW: u32 = 0x18;
const LOAD_HIGH: u32 = 0x1c;
const LOAD: u32 = 0x20;
const WATCHDOG_CONFIG: u32 = 0x48;
const WATCHDOG_CONFIG_RESET: u32 = 0x0004_c000;
const WATCHDOG_PRESCALE: u32 = 0x4c;
const WATCHDOG_HOLD: u32 = 0x50;
const WATCHDOG_FEED: u32 = 0x60;
const WATCHDOG_LOCK: u32 = 0x64;
const CALIBRATION: u32 = 0x68;
const CALIBRATION_RESULT: u32 = 0x6c;
const INT_ENA: u32 = 0x70;
const INT_RAW: u32 = 0x74;
const INT_ST: u32 = 0x78;
const INT_CLR: u32 = 0x7c;

const TIMER_INTERRUPT: u32 = 1;
const WATCHDOG_INTERRUPT: u32 = 2;

/// State of a group.
#[derive(Clone, Debug)]
pub(crate) struct TimerGroup {
    config: u32,
    at_cycle: u64,
    value: u64,
    latched: u64,
    alarm: u64,
    load: u64,
    watchdog: Watchdog,
    watchdog_config: u32,
    prescale: u32,
    holds: [u32; 4],
    lock: u32,
    calibration: u32,
    enabled: u32,
    raw: u32,
}

impl TimerGroup {
    /// Makes a group as it is after a reset. Group 0 guards the start from flash until the program
    /// tells it otherwise.
    pub(crate) fn new(now: u64, guards_flash_boot: bool) -> Self {
        let mut group = Self {
            config: CONFIG_RESET,
            at_cycle: now,
            value: 0,
            latched: 0,
            alarm: 0,
            load: 0,
            watchdog: Watchdog::default(),
            watchdog_config: WATCHDOG_CONFIG_RESET,
            prescale: 0x0001_0000,
            holds: [26_000_000, 0x07ff_ffff, 0x000f_ffff, 0x000f_ffff],
            lock: WATCHDOG_KEY,
            calibration: 0x0001_3000,
            enabled: 0,
            raw: 0,
        };
        if !guards_flash_boot {
            group.watchdog_config &= !FLASH_BOOT;
        }
        group.configure_watchdog(now);
        group
    }

    /// Returns whether the timer and the watchdog raise their interrupts.
    pub(crate) const fn lines(&self) -> (bool, bool) {
        let active = self.raw & self.enabled;
        (active & TIMER_INTERRUPT != 0, active & WATCHDOG_INTERRUPT != 0)
    }

    /// Returns when something happens next, in cycles.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.alarm_at().into_iter().chain(self.watchdog.deadline()).min()
    }

    /// Lets time pass; returns what the watchdog does, if it does something.
    pub(crate) fn tick(&mut self, now: u64) -> Option<Action> {
        if self.alarm_at().is_some_and(|at| at <= now) {
            self.raw |= TIMER_INTERRUPT;
            // The alarm switches itself off.
            self.config &= !(1 << 10);
            if self.config & 1 << 29 != 0 {
                (self.value, self.at_cycle) = (self.load, now);
            }
        }
        let action = self.watchdog.tick(now)?;
        if action == Action::Interrupt {
            self.raw |= WATCHDOG_INTERRUPT;
        }
        Some(action)
    }

    /// Reads a register of the block.
    pub(crate) fn read(&self, offset: u32) -> u32 {
        match offset {
            CONFIG => self.config,
            LOW => low(self.latched),
            HIGH => low(self.latched >> 32),
            UPDATE | LOAD | WATCHDOG_FEED | INT_CLR => 0,
            ALARM_LOW => low(self.alarm),
            ALARM_HIGH => low(self.alarm >> 32),
            LOAD_LOW => low(self.load),
            LOAD_HIGH => low(self.load >> 32),
            WATCHDOG_CONFIG => self.watchdog_config,
            WATCHDOG_PRESCALE => self.prescale,
            WATCHDOG_HOLD..WATCHDOG_FEED => {
                hold_at(offset).and_then(|at| self.holds.get(at)).copied().unwrap_or(0)
            }
            WATCHDOG_LOCK => self.lock,
            CALIBRATION => self.calibration | 1 << 15,
            CALIBRATION_RESULT => self.calibrated() << 7 | 1,
            INT_ENA => self.enabled,
            INT_RAW => self.raw,
            INT_ST => self.raw & self.enabled,
            _ => 0,
        }
    }

    /// Writes a register of the block.
    pub(crate) fn write(&mut self, now: u64, offset: u32, value: u32) {
        match offset {
            CONFIG => {
                (self.value, self.at_cycle) = (self.counter(now), now);
                self.config = value;
            }
            UPDATE => self.latched = self.counter(now),
            ALARM_LOW => self.alarm = self.alarm >> 32 << 32 | u64::from(value),
            ALARM_HIGH => self.alarm = u64::from(low(self.alarm)) | u64::from(value) << 32,
            LOAD_LOW => self.load = self.load >> 32 << 32 | u64::from(value),
            LOAD_HIGH => self.load = u64::from(low(self.load)) | u64::from(value) << 32,
            LOAD => (self.value, self.at_cycle) = (self.load, now),
            WATCHDOG_LOCK => self.lock = value,
            WATCHDOG_CONFIG..WATCHDOG_LOCK if self.lock == WATCHDOG_KEY => {
                self.write_watchdog(now, offset, value);
            }
            CALIBRATION => self.calibration = value,
            INT_ENA => self.enabled = value,
            INT_CLR => self.raw &= !value,
            _ => {}
        }
    }

    fn write_watchdog(&mut self, now: u64, offset: u32, value: u32) {
        match offset {
            WATCHDOG_CONFIG => self.watchdog_config = value,
            WATCHDOG_PRESCALE => self.prescale = value,
            WATCHDOG_FEED => self.watchdog.feed(now),
            _ => {
                if let Some(hold) = hold_at(offset).and_then(|at| self.holds.get_mut(at)) {
                    *hold = value;
                }
            }
        }
        self.configure_watchdog(now);
    }

    fn configure_watchdog(&mut self, now: u64) {
        let config = self.watchdog_config;
        let clock = if config & 1 << 21 == 0 { APB_HZ } else { CRYSTAL_HZ };
        let cycles_per_tick = |ticks: u32| {
            u64::from(ticks) * u64::from(self.prescale >> 16) * CYCLES_PER_SECOND / clock
        };
        self.watchdog.cycles = self.holds.map(cycles_per_tick);
        self.watchdog.actions = [29, 27, 25, 23].map(|shift| Action::of_bits(config >> shift & 3));
        if config & 1 << 31 == 0 && config & FLASH_BOOT != 0 {
            // Guarding the start, the first stage resets whatever is configured.
            self.watchdog.actions = [Action::ResetCore; 4];
        }
        self.watchdog.enable(now, config & (1 << 31 | FLASH_BOOT) != 0);
    }

    /// Cycles of the crystal in as many of the slow clock as the program asked for.
    fn calibrated(&self) -> u32 {
        let slow = u64::from(self.calibration >> 16 & 0x7fff);
        low(slow * CRYSTAL_HZ / SLOW_CLOCK_HZ)
    }

    fn alarm_at(&self) -> Option<u64> {
        let running = self.config & (1 << 31 | 1 << 10) == (1 << 31 | 1 << 10);
        let ticks = self.alarm.saturating_sub(self.value);
        running.then(|| self.at_cycle.saturating_add(ticks.saturating_mul(self.cycles_per_tick())))
    }

    fn counter(&self, now: u64) -> u64 {
        if self.config & 1 << 31 == 0 {
            return self.value;
        }
        self.value + now.saturating_sub(self.at_cycle) / self.cycles_per_tick()
    }

    fn cycles_per_tick(&self) -> u64 {
        let clock = if self.config & 1 << 9 == 0 { APB_HZ } else { CRYSTAL_HZ };
        let divider = match u64::from(self.config >> 13 & 0xffff) {
            0 => 65536,
            1 => 2,
            divider => divider,
        };
        divider * CYCLES_PER_SECOND / clock
    }
}

const FLASH_BOOT: u32 = 1 << 14;

fn hold_at(offset: u32) -> Option<usize> {
    let at = usize::try_from(offset.checked_sub(WATCHDOG_HOLD)? / 4).ok()?;
    (at < 4).then_some(at)
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = CYCLES_PER_SECOND;

    /// Ticks of half a millisecond, reset after two seconds.
    fn guarded(group: &mut TimerGroup) {
        group.write(0, WATCHDOG_PRESCALE, 40_000 << 16);
        group.write(0, WATCHDOG_HOLD, 4000);
        group.write(0, WATCHDOG_CONFIG, 1 << 31 | 3 << 29);
    }

    #[test]
    fn the_watchdog_resets_who_does_not_feed_it() {
        let mut group = TimerGroup::new(0, false);
        guarded(&mut group);
        assert_eq!(group.tick(2 * SECOND - 1), None);
        group.write(SECOND, WATCHDOG_FEED, 1);
        assert_eq!(group.tick(3 * SECOND - 1), None);
        assert_eq!(group.tick(3 * SECOND), Some(Action::ResetCore));
    }

    #[test]
    fn without_the_key_the_watchdog_cannot_be_switched_off() {
        let mut group = TimerGroup::new(0, false);
        guarded(&mut group);
        group.write(1, WATCHDOG_LOCK, 0);
        group.write(2, WATCHDOG_CONFIG, 0);
        group.write(2, WATCHDOG_FEED, 1);
        assert_eq!(group.tick(2 * SECOND), Some(Action::ResetCore));
    }

    #[test]
    fn group_0_guards_the_start_from_flash() {
        let mut group = TimerGroup::new(0, true);
        let deadline = group.deadline().unwrap();
        assert_eq!(group.tick(deadline), Some(Action::ResetCore));
        assert_eq!(TimerGroup::new(0, false).deadline(), None);
    }

    #[test]
    fn the_timer_alarms_once_and_counts_on() {
        let mut group = TimerGroup::new(0, false);
        // Divider 80: a tick a microsecond.
        group.write(0, ALARM_LOW, 1000);
        group.write(0, INT_ENA, 1);
        group.write(0, CONFIG, 1 << 31 | 1 << 30 | 80 << 13 | 1 << 10);
        assert_eq!(group.deadline(), Some(SECOND / 1000));
        group.tick(SECOND / 1000);
        assert_eq!((group.lines().0, group.deadline()), (true, None));
        group.write(SECOND, UPDATE, 1);
        assert_eq!(group.read(LOW), 1_000_000);
    }

    #[test]
    fn the_slow_clock_is_measured_in_cycles_of_the_crystal() {
        let mut group = TimerGroup::new(0, false);
        group.write(0, CALIBRATION, 1 << 31 | 1024 << 16);
        assert_eq!(group.read(CALIBRATION_RESULT) >> 7, 301_176);
    }
}
