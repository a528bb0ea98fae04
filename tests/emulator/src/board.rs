//! Everything on the chip and around it but the core and its memory: registers by address, time,
//! interrupts, resets.
//!
//! Registers that nothing here gives a meaning are plain storage, as most of the chip is to a
//! program that only configures it.

pub(crate) mod ethernet;
pub(crate) mod interrupts;
pub(crate) mod low_power;
pub(crate) mod spi1;
pub(crate) mod systimer;
pub(crate) mod time;
pub(crate) mod timers;
pub(crate) mod watchdog;

use std::collections::VecDeque;

use crate::flash::{Nor, Operation};
use crate::random::Noise;
use crate::rom::RomState;
use crate::serial::Serial;

pub(crate) use ethernet::Ethernet;
pub(crate) use interrupts::{Interrupts, Source};
pub(crate) use low_power::{LowPower, ResetReason};
pub(crate) use systimer::SystemTimer;
pub(crate) use timers::TimerGroup;

use spi1::Spi1;
use watchdog::Action;

/// Where the registers begin.
pub(crate) const REGISTERS: u32 = 0x6000_0000;
/// How far they reach.
pub(crate) const REGISTERS_BYTES: u32 = 0x000d_2000;

const UART0: u32 = 0x0000;
const UART_FIFO: u32 = UART0;
const UART_STATUS: u32 = UART0 + 0x1c;
const SPI1: u32 = 0x2000;
const LOW_POWER: u32 = 0x8000;
const ANALOG_CONF: u32 = 0xe040;
/// The calibration of the PLL is over.
const PLL_CALIBRATED: u32 = 1 << 24;
const EFUSE_MAC: u32 = 0x8844;
const EFUSE_REVISION: u32 = 0x8850;
const TIMER_GROUP0: u32 = 0x1_f000;
const TIMER_GROUP1: u32 = 0x2_0000;
const SYSTEM_TIMER: u32 = 0x2_3000;
const RANDOM: u32 = 0x2_60b0;
const USB_SERIAL: u32 = 0x4_3000;
const USB_SERIAL_CONF: u32 = USB_SERIAL + 4;
const FROM_CPU: u32 = 0xc_0028;
const INTERRUPT_MATRIX: u32 = 0xc_2000;
const CACHE: u32 = 0xc_4000;
const CACHE_SYNC: u32 = CACHE + 0x28;
const CACHE_PRELOAD: u32 = CACHE + 0x34;
const CACHE_AUTOLOAD: u32 = CACHE + 0x40;
const CACHE_STATE: u32 = CACHE + 0xb0;
const CACHE_FREEZE: u32 = CACHE + 0xcc;
const MEMORY_MAP: u32 = 0xc_5000;
const ETHERNET: u32 = 0xc_d000;

/// Entries of the flash memory map.
pub(crate) const PAGES: usize = 128;
/// Bytes of a page of it.
pub(crate) const PAGE_BYTES: u32 = 0x1_0000;
/// An entry that maps nothing.
pub(crate) const PAGE_INVALID: u32 = 1 << 8;

const FROM_CPU_SOURCES: [Source; 4] =
    [Source::FromCpu0, Source::FromCpu1, Source::FromCpu2, Source::FromCpu3];

/// What ends the run of the core from outside of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Halt {
    /// The core starts again for this reason.
    Reset(ResetReason),
    /// There is no power any more.
    PowerLost,
    /// The program did something that the model has no answer to.
    Unknown(String),
}

/// What the machine must do in memory because of a register.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The flash changed here.
    Flash(Operation),
    /// This page of the memory map shows something else.
    Page(usize),
    /// The network controller may have something to send or room to receive.
    Ethernet,
}

/// The board.
pub(crate) struct Board {
    pub(crate) now: u64,
    pub(crate) deadline: u64,
    /// The interrupt input that is waiting to be taken.
    pub(crate) interrupt: Option<u8>,
    pub(crate) halt: Option<Halt>,
    pub(crate) flash: Nor,
    pub(crate) serial: Serial,
    pub(crate) ethernet: Ethernet,
    pub(crate) pages: [u32; PAGES],
    pub(crate) low_power: LowPower,
    pub(crate) rom: RomState,
    pub(crate) sent: VecDeque<Vec<u8>>,
    /// When the network wants to be looked at, in cycles.
    pub(crate) network_at: u64,
    noise: Noise,
    plain: Vec<u32>,
    interrupts: Interrupts,
    system_timer: SystemTimer,
    groups: [TimerGroup; 2],
    spi1: Spi1,
}

impl Board {
    /// Makes a board that has just got power.
    pub(crate) fn new(flash: Nor, serial: Serial, mut noise: Noise) -> Self {
        let mut board = Self {
            now: 0,
            deadline: 0,
            interrupt: None,
            halt: None,
            flash,
            serial,
            ethernet: Ethernet::default(),
            pages: [PAGE_INVALID; PAGES],
            low_power: LowPower::new(0, noise.word()),
            rom: RomState::default(),
            sent: VecDeque::new(),
            network_at: 0,
            noise,
            plain: Vec::new(),
            interrupts: Interrupts::default(),
            system_timer: SystemTimer::starting_at(0),
            groups: [TimerGroup::new(0, true), TimerGroup::new(0, false)],
            spi1: Spi1::default(),
        };
        board.reset(ResetReason::PowerOn);
        board
    }

    /// Puts everything that the reason reaches into the state after a reset.
    pub(crate) fn reset(&mut self, reason: ResetReason) {
        let noise = self.noise.word();
        self.low_power.reset(self.now, reason, noise);
        self.halt = None;
        self.ethernet = Ethernet::default();
        self.pages = [PAGE_INVALID; PAGES];
        self.rom = RomState::default();
        self.plain = vec![0; word(REGISTERS_BYTES)];
        for (offset, value) in EFUSES {
            self.set_plain(offset, value);
        }
        self.interrupts = Interrupts::default();
        self.system_timer = SystemTimer::starting_at(self.now);
        self.groups = [TimerGroup::new(self.now, true), TimerGroup::new(self.now, false)];
        self.spi1 = Spi1::default();
        self.refresh();
    }

    /// Stops the core.
    pub(crate) fn stop(&mut self, halt: Halt) {
        self.halt.get_or_insert(halt);
    }

    /// Lets everything happen that is due.
    pub(crate) fn tick(&mut self) {
        self.system_timer.tick(self.now);
        if let Some(reason) = self.low_power.tick(self.now) {
            self.stop(Halt::Reset(reason));
        }
        for at in 0..self.groups.len() {
            let action = self.groups.get_mut(at).and_then(|group| group.tick(self.now));
            if let Some(reason) = action.and_then(|action| reset_by_group(at, action)) {
                self.stop(Halt::Reset(reason));
            }
        }
        self.refresh();
    }

    /// Returns when the next event is that a waiting core must not sleep through.
    pub(crate) fn next_event(&self) -> u64 {
        let groups = self.groups.iter().filter_map(TimerGroup::deadline);
        let others = [self.system_timer.deadline(), self.low_power.deadline()];
        groups.chain(others.into_iter().flatten()).min().unwrap_or(u64::MAX)
    }

    /// Reads from an address that belongs to registers.
    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        match offset {
            UART_STATUS => 0,
            // Both directions are ready.
            USB_SERIAL_CONF => 1 << 1,
            ANALOG_CONF => self.plain(offset) | PLL_CALIBRATED,
            RANDOM => self.noise.word(),
            SPI1..0x2400 => self.spi1.read(offset - SPI1).unwrap_or_else(|| self.plain(offset)),
            LOW_POWER..0x8800 => {
                self.low_power.read(offset - LOW_POWER).unwrap_or_else(|| self.plain(offset))
            }
            TIMER_GROUP0..0x1_f100 => self.groups[0].read(offset - TIMER_GROUP0),
            TIMER_GROUP1..0x2_0100 => self.groups[1].read(offset - TIMER_GROUP1),
            SYSTEM_TIMER..0x2_3100 => self.system_timer.read(offset - SYSTEM_TIMER),
            INTERRUPT_MATRIX..0xc_2800 => self.interrupts.read(offset - INTERRUPT_MATRIX),
            // Every operation of the cache is over at once.
            CACHE_SYNC | CACHE_PRELOAD => self.plain(offset) | 1 << 1,
            CACHE_AUTOLOAD => self.plain(offset) | 1 << 3,
            CACHE_STATE => 1,
            CACHE_FREEZE => self.plain(offset) | (self.plain(offset) & 1) << 2,
            MEMORY_MAP..0xc_5200 => {
                self.pages.get(word(offset - MEMORY_MAP)).copied().unwrap_or(PAGE_INVALID)
            }
            ETHERNET..0xc_d800 => self.ethernet.read(offset - ETHERNET),
            _ => self.plain(offset),
        }
    }

    /// Writes to an address that belongs to registers.
    pub(crate) fn write(&mut self, offset: u32, value: u32) -> Effect {
        let effect = self.write_register(offset, value);
        self.refresh();
        effect
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Effect {
        match offset {
            UART_FIFO | USB_SERIAL => self.serial.put(value.to_le_bytes()[0]),
            SPI1..0x2400 => return self.write_flash(offset, value),
            LOW_POWER..0x8800 => {
                self.set_plain(offset, value);
                if let Some(reason) = self.low_power.write(self.now, offset - LOW_POWER, value) {
                    self.stop(Halt::Reset(reason));
                }
            }
            TIMER_GROUP0..0x1_f100 => self.groups[0].write(self.now, offset - TIMER_GROUP0, value),
            TIMER_GROUP1..0x2_0100 => self.groups[1].write(self.now, offset - TIMER_GROUP1, value),
            SYSTEM_TIMER..0x2_3100 => {
                self.system_timer.write(self.now, offset - SYSTEM_TIMER, value);
            }
            INTERRUPT_MATRIX..0xc_2800 => self.interrupts.write(offset - INTERRUPT_MATRIX, value),
            MEMORY_MAP..0xc_5200 => return self.map(word(offset - MEMORY_MAP), value),
            ETHERNET..0xc_d800 => {
                self.ethernet.write(offset - ETHERNET, value);
                return Effect::Ethernet;
            }
            _ => self.set_plain(offset, value),
        }
        Effect::None
    }

    fn write_flash(&mut self, offset: u32, value: u32) -> Effect {
        self.set_plain(offset, value);
        let Ok(changed) = self.spi1.write(&mut self.flash, offset - SPI1, value) else {
            self.stop(Halt::PowerLost);
            return Effect::None;
        };
        changed.map_or(Effect::None, Effect::Flash)
    }

    fn map(&mut self, at: usize, value: u32) -> Effect {
        match self.pages.get_mut(at) {
            Some(page) if *page != value => {
                *page = value;
                Effect::Page(at)
            }
            _ => Effect::None,
        }
    }

    /// Carries the levels of all sources to the core, and the next event to the clock.
    pub(crate) fn refresh(&mut self) {
        for (at, source) in (0_u32..).zip(FROM_CPU_SOURCES) {
            let level = self.plain(FROM_CPU + 4 * at) & 1 == 1;
            self.interrupts.set(source, level);
        }
        for (source, level) in self.system_timer.lines() {
            self.interrupts.set(source, level);
        }
        let [first, second] = &self.groups;
        let (timer0, watchdog0) = first.lines();
        let (timer1, watchdog1) = second.lines();
        for (source, level) in [
            (Source::TimerGroup0, timer0),
            (Source::Watchdog0, watchdog0),
            (Source::TimerGroup1, timer1),
            (Source::Watchdog1, watchdog1),
            (Source::RtcCore, self.low_power.line()),
            (Source::Ethernet, self.ethernet.line()),
        ] {
            self.interrupts.set(source, level);
        }
        self.interrupt = self.interrupts.pending();
        self.deadline = self.next_event().min(self.network_at);
    }

    fn plain(&self, offset: u32) -> u32 {
        self.plain.get(word(offset)).copied().unwrap_or(0)
    }

    fn set_plain(&mut self, offset: u32, value: u32) {
        if let Some(register) = self.plain.get_mut(word(offset)) {
            *register = value;
        }
    }
}

/// A MAC address that is locally administered, and revision 0.3 of the chip.
const EFUSES: [(u32, u32); 3] =
    [(EFUSE_MAC, 0x5700_0001), (EFUSE_MAC + 4, 0x0000_0258), (EFUSE_REVISION, 3 << 18)];

const fn reset_by_group(group: usize, action: Action) -> Option<ResetReason> {
    match (group, action) {
        (_, Action::Off | Action::Interrupt) => None,
        (0, Action::ResetCpu) => Some(ResetReason::Watchdog0Cpu),
        (0, Action::ResetCore | Action::ResetSystem) => Some(ResetReason::Watchdog0Core),
        (_, Action::ResetCpu) => Some(ResetReason::Watchdog1Cpu),
        (_, Action::ResetCore | Action::ResetSystem) => Some(ResetReason::Watchdog1Core),
    }
}

fn word(offset: u32) -> usize {
    usize::try_from(offset / 4).unwrap_or(usize::MAX)
}
