//! The system timer: two counters of 52 bits at 16 MHz and three comparators (technical reference
//! manual, chapter "System Timer").

use super::{Source, time};

/// Cycles of the core in one tick of 16 MHz.
const CYCLES: u64 = time::CYCLES_PER_SECOND / 16_000_000;

const COUNTER_MASK: u64 = (1 << 52) - 1;

const CONF: u32 = 0x00;
/// Clocks on, counter 0 runs: what the chip holds after a reset.
const CONF_RESET: u32 = 0x4600_0000;
const UNIT_WORK: [u32; 2] = [1 << 30, 1 << 29];
const TARGET_WORK: [u32; 3] = [1 << 24, 1 << 23, 1 << 22];
const OP: [u32; 2] = [0x04, 0x08];
const OP_UPDATE: u32 = 1 << 30;
const OP_VALID: u32 = 1 << 29;
const LOAD_HI: [u32; 2] = [0x0c, 0x14];
const LOAD_LO: [u32; 2] = [0x10, 0x18];
const TARGET_HI: [u32; 3] = [0x1c, 0x24, 0x2c];
const TARGET_LO: [u32; 3] = [0x20, 0x28, 0x30];
const TARGET_CONF: [u32; 3] = [0x34, 0x38, 0x3c];
const PERIOD_MODE: u32 = 1 << 30;
const UNIT_SELECT: u32 = 1 << 31;
const PERIOD_MASK: u32 = (1 << 26) - 1;
const VALUE_HI: [u32; 2] = [0x40, 0x48];
const VALUE_LO: [u32; 2] = [0x44, 0x4c];
const COMP_LOAD: [u32; 3] = [0x50, 0x54, 0x58];
const UNIT_LOAD: [u32; 2] = [0x5c, 0x60];
const INT_ENA: u32 = 0x64;
const INT_RAW: u32 = 0x68;
const INT_CLR: u32 = 0x6c;
const INT_ST: u32 = 0x70;

const SOURCES: [Source; 3] = [Source::SystemTimer0, Source::SystemTimer1, Source::SystemTimer2];

/// State of the timer.
#[derive(Clone, Debug)]
pub(crate) struct SystemTimer {
    conf: u32,
    units: [Unit; 2],
    targets: [Target; 3],
    enabled: u32,
    raw: u32,
}

/// A counter: its value at a time, and what the program loads and has latched.
#[derive(Clone, Debug, Default)]
struct Unit {
    at_cycle: u64,
    value: u64,
    load: u64,
    latched: u64,
}

/// A comparator.
#[derive(Clone, Debug, Default)]
struct Target {
    written: u64,
    conf: u32,
    /// The counter value that fires next, once loaded.
    armed: Option<u64>,
}

impl SystemTimer {
    /// Makes the timer as it is after a reset.
    pub(crate) fn starting_at(now: u64) -> Self {
        let unit = Unit { at_cycle: now, ..Unit::default() };
        let (units, targets) = ([unit.clone(), unit], <[Target; 3]>::default());
        Self { conf: CONF_RESET, units, targets, enabled: 0, raw: 0 }
    }

    /// Returns the interrupt sources with their levels.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Source, bool)> {
        let active = self.raw & self.enabled;
        SOURCES.into_iter().enumerate().map(move |(at, source)| (source, active >> at & 1 == 1))
    }

    /// Returns when the next comparator fires, in cycles.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let due = |target: &Target| {
            let unit = self.unit_of(target)?;
            let ticks = target.armed?.saturating_sub(unit.value);
            Some(unit.at_cycle.saturating_add(ticks.saturating_mul(CYCLES)))
        };
        self.working().filter_map(|(_, target)| due(target)).min()
    }

    /// Fires what is due.
    pub(crate) fn tick(&mut self, now: u64) {
        let due: Vec<usize> = self
            .working()
            .filter(|(_, target)| {
                let value = self.unit_of(target).map(|unit| self.value(unit, now));
                target.armed.is_some_and(|armed| value.is_some_and(|value| value >= armed))
            })
            .map(|(at, _)| at)
            .collect();
        for at in due {
            self.raw |= 1 << at;
            if let Some(target) = self.targets.get_mut(at) {
                target.fired();
            }
        }
    }

    /// Reads a register of the block.
    pub(crate) fn read(&self, offset: u32) -> u32 {
        let unit = |list: [u32; 2]| place(&list, offset).and_then(|at| self.units.get(at));
        let target = |list: [u32; 3]| place(&list, offset).and_then(|at| self.targets.get(at));
        match offset {
            CONF => self.conf,
            INT_ENA => self.enabled,
            INT_RAW => self.raw,
            INT_ST => self.raw & self.enabled,
            _ if OP.contains(&offset) => OP_VALID,
            _ => unit(VALUE_HI)
                .map(|unit| high(unit.latched))
                .or_else(|| unit(VALUE_LO).map(|unit| low(unit.latched)))
                .or_else(|| unit(LOAD_HI).map(|unit| high(unit.load)))
                .or_else(|| unit(LOAD_LO).map(|unit| low(unit.load)))
                .or_else(|| target(TARGET_HI).map(|target| high(target.written)))
                .or_else(|| target(TARGET_LO).map(|target| low(target.written)))
                .or_else(|| target(TARGET_CONF).map(|target| target.conf))
                .unwrap_or(0),
        }
    }

    /// Writes a register of the block.
    pub(crate) fn write(&mut self, now: u64, offset: u32, value: u32) {
        match offset {
            CONF => self.configure(now, value),
            INT_ENA => self.enabled = value,
            INT_CLR => self.raw &= !value,
            _ => {
                self.write_unit(now, offset, value);
                self.write_target(now, offset, value);
            }
        }
    }

    fn configure(&mut self, now: u64, value: u32) {
        for at in 0..self.units.len() {
            let current = self.units.get(at).map_or(0, |unit| self.value(unit, now));
            if let Some(unit) = self.units.get_mut(at) {
                (unit.value, unit.at_cycle) = (current, now);
            }
        }
        self.conf = value;
    }

    fn write_unit(&mut self, now: u64, offset: u32, value: u32) {
        if let Some(at) = place(&OP, offset).filter(|_| value & OP_UPDATE != 0) {
            let current = self.units.get(at).map_or(0, |unit| self.value(unit, now));
            if let Some(unit) = self.units.get_mut(at) {
                unit.latched = current;
            }
        }
        let units = &mut self.units;
        if let Some(unit) = at_offset(units, LOAD_HI, offset) {
            unit.load = with_high(unit.load, value);
        } else if let Some(unit) = at_offset(units, LOAD_LO, offset) {
            unit.load = with_low(unit.load, value);
        } else if let Some(unit) = at_offset(units, UNIT_LOAD, offset) {
            (unit.value, unit.at_cycle) = (unit.load, now);
        }
    }

    fn write_target(&mut self, now: u64, offset: u32, value: u32) {
        if let Some(at) = place(&COMP_LOAD, offset) {
            self.arm(now, at);
        }
        let targets = &mut self.targets;
        if let Some(target) = at_offset(targets, TARGET_HI, offset) {
            target.written = with_high(target.written, value);
        } else if let Some(target) = at_offset(targets, TARGET_LO, offset) {
            target.written = with_low(target.written, value);
        } else if let Some(target) = at_offset(targets, TARGET_CONF, offset) {
            target.conf = value;
        }
    }

    fn arm(&mut self, now: u64, at: usize) {
        let Some(target) = self.targets.get(at) else { return };
        let armed = if target.conf & PERIOD_MODE == 0 {
            target.written & COUNTER_MASK
        } else {
            let current = self.unit_of(target).map_or(0, |unit| self.value(unit, now));
            current + target.period()
        };
        if let Some(target) = self.targets.get_mut(at) {
            target.armed = Some(armed);
        }
    }

    fn working(&self) -> impl Iterator<Item = (usize, &Target)> {
        let works = |at: usize| TARGET_WORK.get(at).is_some_and(|bit| self.conf & bit != 0);
        self.targets.iter().enumerate().filter(move |(at, _)| works(*at))
    }

    /// The counter of a comparator, if it runs.
    fn unit_of(&self, target: &Target) -> Option<&Unit> {
        let at = usize::from(target.conf & UNIT_SELECT != 0);
        self.units.get(at).filter(|_| UNIT_WORK.get(at).is_some_and(|bit| self.conf & bit != 0))
    }

    fn value(&self, unit: &Unit, now: u64) -> u64 {
        let at = self.units.iter().position(|known| std::ptr::eq(known, unit)).unwrap_or(0);
        let runs = UNIT_WORK.get(at).is_some_and(|bit| self.conf & bit != 0);
        let ticks = if runs { now.saturating_sub(unit.at_cycle) / CYCLES } else { 0 };
        (unit.value + ticks) & COUNTER_MASK
    }
}

impl Target {
    fn period(&self) -> u64 {
        u64::from(self.conf & PERIOD_MASK).max(1)
    }

    const fn is_periodic(&self) -> bool {
        self.conf & PERIOD_MODE != 0
    }

    /// A period begins anew, a single alarm is over.
    fn fired(&mut self) {
        let next = self.armed.map(|armed| armed + self.period());
        self.armed = next.filter(|_| self.is_periodic());
    }
}

/// Returns the one of alike items whose register is at this offset.
fn at_offset<T, const N: usize>(items: &mut [T; N], list: [u32; N], offset: u32) -> Option<&mut T> {
    items.get_mut(place(&list, offset)?)
}

fn place(list: &[u32], offset: u32) -> Option<usize> {
    list.iter().position(|known| *known == offset)
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn with_high(value: u64, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low(value))
}

fn with_low(value: u64, low: u32) -> u64 {
    value >> 32 << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now_of(timer: &mut SystemTimer, now: u64) -> u64 {
        timer.write(now, OP[0], OP_UPDATE);
        u64::from(timer.read(VALUE_HI[0])) << 32 | u64::from(timer.read(VALUE_LO[0]))
    }

    fn alarm_at(timer: &mut SystemTimer, now: u64, ticks: u32) {
        timer.write(now, CONF, CONF_RESET | TARGET_WORK[0]);
        timer.write(now, TARGET_LO[0], ticks);
        timer.write(now, COMP_LOAD[0], 1);
        timer.write(now, INT_ENA, 1);
    }

    #[test]
    fn it_counts_sixteen_ticks_a_microsecond_from_reset() {
        let mut timer = SystemTimer::starting_at(0);
        assert_eq!(now_of(&mut timer, time::CYCLES_PER_SECOND), 16_000_000);
    }

    #[test]
    fn an_alarm_fires_once_when_its_tick_has_come() {
        let mut timer = SystemTimer::starting_at(0);
        alarm_at(&mut timer, 0, 500);
        assert_eq!(timer.deadline(), Some(5000));
        timer.tick(4999);
        assert_eq!(timer.read(INT_ST), 0);
        timer.tick(5000);
        assert_eq!((timer.read(INT_ST), timer.deadline()), (1, None));
        assert!(timer.lines().any(|line| line == (Source::SystemTimer0, true)));
        timer.write(5001, INT_CLR, 1);
        assert_eq!(timer.read(INT_RAW), 0);
    }

    #[test]
    fn an_alarm_in_the_past_fires_at_once() {
        let mut timer = SystemTimer::starting_at(0);
        alarm_at(&mut timer, 10_000, 500);
        timer.tick(10_000);
        assert_eq!(timer.read(INT_ST), 1);
    }

    #[test]
    fn a_period_fires_again_and_again() {
        let mut timer = SystemTimer::starting_at(0);
        timer.write(0, TARGET_CONF[0], PERIOD_MODE | 0x64);
        alarm_at(&mut timer, 0, 0);
        for round in 1..4 {
            assert_eq!(timer.deadline(), Some(round * 1000));
            timer.tick(round * 1000);
            assert_eq!(timer.read(INT_ST), 1);
            timer.write(round * 1000, INT_CLR, 1);
        }
    }

    #[test]
    fn a_stopped_counter_keeps_its_value() {
        let mut timer = SystemTimer::starting_at(0);
        timer.write(1000, CONF, 0);
        assert_eq!(now_of(&mut timer, 9000), 100);
        timer.write(9000, CONF, CONF_RESET);
        assert_eq!(now_of(&mut timer, 10_000), 200);
    }
}
