//! The interrupt matrix: 62 sources, mapped to 31 inputs of the core with a priority each, and a
//! threshold (technical reference manual, chapter "Interrupt Matrix").

/// Sources that the model raises, by their number in the chip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Source {
    /// `WIFI_MAC`, which the emulated Ethernet takes over.
    Ethernet = 0,
    /// `RTC_CORE`: watchdog of the low-power domain.
    RtcCore = 27,
    /// `TG0_T0_LEVEL`; the watchdog follows, then the same of group 1.
    TimerGroup0 = 32,
    /// `TG0_WDT_LEVEL`.
    Watchdog0 = 33,
    /// `TG1_T0_LEVEL`.
    TimerGroup1 = 34,
    /// `TG1_WDT_LEVEL`.
    Watchdog1 = 35,
    /// `SYSTIMER_TARGET0`.
    SystemTimer0 = 37,
    /// `SYSTIMER_TARGET1`.
    SystemTimer1 = 38,
    /// `SYSTIMER_TARGET2`.
    SystemTimer2 = 39,
    /// `FROM_CPU_INTR0`.
    FromCpu0 = 50,
    /// `FROM_CPU_INTR1`.
    FromCpu1 = 51,
    /// `FROM_CPU_INTR2`.
    FromCpu2 = 52,
    /// `FROM_CPU_INTR3`.
    FromCpu3 = 53,
}

const SOURCES: usize = 62;
const STATUS: u32 = 0xf8;
const ENABLE: u32 = 0x104;
const TYPE: u32 = 0x108;
const CLEAR: u32 = 0x10c;
const PENDING: u32 = 0x110;
const PRIORITY: u32 = 0x114;
const THRESHOLD: u32 = 0x194;

/// State of the matrix.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    lines: u64,
    map: [u8; SOURCES],
    enabled: u32,
    edge: u32,
    clear: u32,
    latched: u32,
    priority: [u8; 32],
    threshold: u8,
}

impl Default for Interrupts {
    fn default() -> Self {
        let (map, priority) = ([0; SOURCES], [0; 32]);
        let (lines, enabled, edge, clear, latched, threshold) = (0, 0, 0, 0, 0, 0);
        Self { lines, map, enabled, edge, clear, latched, priority, threshold }
    }
}

impl Interrupts {
    /// Sets the level of a source.
    pub(crate) fn set(&mut self, source: Source, level: bool) {
        let bit = 1_u64 << u8_of(source);
        let before = self.inputs();
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        self.latched |= self.inputs() & !before & self.edge;
    }

    /// Returns the input that the core should take now, if it takes interrupts at all.
    pub(crate) fn pending(&self) -> Option<u8> {
        let ready = self.asserted() & self.enabled;
        (1..32_u8)
            .filter(|input| ready & 1 << input != 0 && self.priority_of(*input) >= self.threshold)
            .max_by_key(|input| (self.priority_of(*input), std::cmp::Reverse(*input)))
            .filter(|input| self.priority_of(*input) > 0)
    }

    /// Reads a register of the block.
    pub(crate) fn read(&self, offset: u32) -> u32 {
        match offset {
            0..STATUS => self.map.get(word(offset)).copied().unwrap_or(0).into(),
            STATUS => low_word(self.lines),
            0xfc => low_word(self.lines >> 32),
            ENABLE => self.enabled,
            TYPE => self.edge,
            CLEAR => self.clear,
            PENDING => self.asserted(),
            PRIORITY..THRESHOLD => {
                self.priority.get(word(offset - PRIORITY)).copied().unwrap_or(0).into()
            }
            THRESHOLD => self.threshold.into(),
            _ => 0,
        }
    }

    /// Writes a register of the block.
    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        let [small, ..] = value.to_le_bytes();
        match offset {
            0..STATUS => {
                if let Some(input) = self.map.get_mut(word(offset)) {
                    *input = small & 31;
                }
            }
            ENABLE => self.enabled = value,
            TYPE => self.edge = value,
            CLEAR => {
                self.clear = value;
                self.latched &= !value;
            }
            PRIORITY..THRESHOLD => {
                if let Some(priority) = self.priority.get_mut(word(offset - PRIORITY)) {
                    *priority = small & 15;
                }
            }
            THRESHOLD => self.threshold = small & 15,
            _ => {}
        }
    }

    fn asserted(&self) -> u32 {
        self.inputs() & !self.edge | self.latched
    }

    fn inputs(&self) -> u32 {
        let raised = (0_u8..).zip(&self.map).filter(|(source, _)| self.lines >> source & 1 == 1);
        raised.fold(0, |inputs, (_, input)| inputs | 1 << input)
    }

    fn priority_of(&self, input: u8) -> u8 {
        self.priority.get(usize::from(input)).copied().unwrap_or(0)
    }
}

#[expect(clippy::as_conversions, reason = "the number of a variant")]
const fn u8_of(source: Source) -> u8 {
    source as u8
}

fn word(offset: u32) -> usize {
    usize::try_from(offset / 4).unwrap_or(usize::MAX)
}

const fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source 37 on input 3 with priority 2, source 50 on input 7 with priority 5.
    fn matrix() -> Interrupts {
        let mut matrix = Interrupts::default();
        for (offset, value) in [(37 * 4, 3), (50 * 4, 7), (ENABLE, 1 << 3 | 1 << 7)] {
            matrix.write(offset, value);
        }
        matrix.write(PRIORITY + 4 * 3, 2);
        matrix.write(PRIORITY + 4 * 7, 5);
        matrix
    }

    #[test]
    fn the_input_of_highest_priority_is_taken_first() {
        let mut matrix = matrix();
        assert_eq!(matrix.pending(), None);
        matrix.set(Source::SystemTimer0, true);
        assert_eq!(matrix.pending(), Some(3));
        matrix.set(Source::FromCpu0, true);
        assert_eq!(matrix.pending(), Some(7));
        matrix.set(Source::FromCpu0, false);
        assert_eq!(matrix.pending(), Some(3));
    }

    #[test]
    fn an_input_below_the_threshold_or_not_enabled_waits() {
        let mut matrix = matrix();
        matrix.set(Source::SystemTimer0, true);
        matrix.write(THRESHOLD, 3);
        assert_eq!(matrix.pending(), None);
        matrix.write(THRESHOLD, 2);
        assert_eq!(matrix.pending(), Some(3));
        matrix.write(ENABLE, 1 << 7);
        assert_eq!(matrix.pending(), None);
        assert_eq!(matrix.read(PENDING), 1 << 3, "but it is visible");
    }

    #[test]
    fn an_edge_stays_until_it_is_cleared() {
        let mut matrix = matrix();
        matrix.write(TYPE, 1 << 3);
        matrix.set(Source::SystemTimer0, true);
        matrix.set(Source::SystemTimer0, false);
        assert_eq!(matrix.pending(), Some(3));
        matrix.write(CLEAR, 1 << 3);
        matrix.write(CLEAR, 0);
        assert_eq!(matrix.pending(), None);
    }
}
