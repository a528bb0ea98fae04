//! The RV32IMC core: Unicorn with the chip's memory map, its traps and interrupts, and the control
//! registers that Unicorn does not know.
//!
//! Nothing outside this module knows Unicorn. Not modelled: caches, user mode, memory protection
//! and the debug module, whose registers keep what is written and do nothing.

mod csr;

use std::fmt;

use unicorn_engine::unicorn_const::{Arch, HookType, MemType, Mode, Permission, uc_error};
use unicorn_engine::{RegisterRISCV as Register, Unicorn};

use crate::board::{self, Board, Effect, Halt};
use crate::flash::Operation;
use crate::rom;

/// Static memory as data.
pub(crate) const DATA: Region = Region { start: 0x3fc8_0000, bytes: 0x6_0000 };
/// The same memory, and that of the cache before it, as code. Programs never use one part both
/// ways, so the model keeps two.
pub(crate) const CODE: Region = Region { start: 0x4037_c000, bytes: 0x6_4000 };
/// Memory of the low-power domain.
pub(crate) const LOW_POWER: Region = Region { start: 0x5000_0000, bytes: 0x2000 };
/// Flash as data and as code: the same pages in both.
const FLASH_WINDOWS: [Region; 2] = [
    Region { start: 0x3c00_0000, bytes: 0x80_0000 },
    Region { start: 0x4200_0000, bytes: 0x80_0000 },
];

/// No program is there: the core runs until it is stopped.
const NOWHERE: u64 = 0xffff_fffe;

const INTERRUPTS_ENABLED: u32 = 1 << 3;
const INTERRUPTS_WERE_ENABLED: u32 = 1 << 7;
const FROM_MACHINE_MODE: u32 = 3 << 11;

/// A piece of the address space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// First address.
    pub(crate) start: u32,
    /// Length, in bytes.
    pub(crate) bytes: u32,
}

/// Unicorn, with the board as what its callbacks reach. It is away only while it moves from one
/// instance to the next.
pub(crate) type Engine<'e> = Unicorn<'e, State>;

/// What callbacks share.
#[derive(Default)]
pub(crate) struct State {
    board: Option<Box<Board>>,
    csr: csr::Registers,
    exception: Option<Exception>,
}

/// Why the core raised an exception.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Exception {
    cause: u32,
    value: u32,
}

/// Why the core does not run at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pause {
    /// Somebody asked for it.
    Asked,
    /// It waits for an interrupt.
    Waiting,
}

/// The core could not be made or moved; the reason is Unicorn's.
#[derive(Debug)]
pub(crate) struct CoreError(uc_error);

impl fmt::Display for CoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the processor model failed: {:?}", self.0)
    }
}

impl std::error::Error for CoreError {}

impl From<uc_error> for CoreError {
    fn from(error: uc_error) -> Self {
        Self(error)
    }
}

/// Makes a core in the state after a reset.
pub(crate) fn new<'e>(board: Box<Board>) -> Result<Engine<'e>, CoreError> {
    let state = State { board: Some(board), ..State::default() };
    let mut engine = Unicorn::new_with_data(Arch::RISCV, Mode::RISCV32, state)?;
    for region in [DATA, CODE, LOW_POWER].into_iter().chain(FLASH_WINDOWS) {
        engine.mem_map(region.start.into(), size(region.bytes), Permission::ALL)?;
    }
    engine.mem_map(rom::ROM.into(), size(rom::ROM_BYTES), Permission::ALL)?;
    let returns = rom::RETURN.repeat(size(rom::ROM_BYTES) / rom::RETURN.len());
    engine.mem_write(rom::ROM.into(), &returns)?;
    engine.mmio_map(
        board::REGISTERS.into(),
        size(board::REGISTERS_BYTES),
        Some(|engine: &mut Engine<'_>, offset, bytes| read_register(engine, low(offset), bytes)),
        Some(|engine: &mut Engine<'_>, offset, bytes, value| {
            write_register(engine, low(offset), bytes, low(value));
        }),
    )?;
    add_hooks(&mut engine)?;
    Ok(engine)
}

fn add_hooks(engine: &mut Engine<'_>) -> Result<(), CoreError> {
    engine.add_block_hook(1, 0, |engine, _, bytes| enter_block(engine, bytes))?;
    let rom = u64::from(rom::ROM);
    engine.add_code_hook(rom, rom + u64::from(rom::ROM_BYTES) - 1, |engine, address, _| {
        rom::call(engine, low(address));
    })?;
    engine.add_intr_hook(|engine, cause| {
        engine.get_data_mut().exception = Some(Exception { cause, value: 0 });
        let _ = engine.emu_stop();
    })?;
    engine.add_mem_hook(HookType::MEM_INVALID, 1, 0, |engine, kind, address, _, _| {
        let cause = access_fault(kind);
        engine.get_data_mut().exception = Some(Exception { cause, value: low(address) });
        false
    })?;
    Ok(())
}

/// `mcause` of an access that reaches nothing.
fn access_fault(kind: MemType) -> u32 {
    match kind {
        MemType::FETCH | MemType::FETCH_UNMAPPED | MemType::FETCH_PROT => 1,
        MemType::WRITE | MemType::WRITE_UNMAPPED | MemType::WRITE_PROT => 7,
        MemType::READ | MemType::READ_UNMAPPED | MemType::READ_PROT | MemType::READ_AFTER => 5,
    }
}

/// Called before every block of instructions: time goes on, and somebody may want the core.
fn enter_block(engine: &mut Engine<'_>, bytes: u32) {
    let board = engine.board_mut();
    board.now += u64::from(bytes) / board::time::CODE_BYTES_PER_CYCLE;
    if board.now >= board.deadline {
        board.tick();
    }
    let wanted = board.halt.is_some() || board.now >= board.network_at;
    if wanted || board.interrupt.is_some() && engine.takes_interrupts() {
        let _ = engine.emu_stop();
    }
}

fn read_register(engine: &mut Engine<'_>, offset: u32, bytes: usize) -> u64 {
    let word = engine.board_mut().read(offset & !3);
    let shifted = word >> (8 * (offset & 3));
    u64::from(shifted & mask(bytes))
}

fn write_register(engine: &mut Engine<'_>, offset: u32, bytes: usize, value: u32) {
    let (shift, mask) = (8 * (offset & 3), mask(bytes));
    let board = engine.board_mut();
    let value = if bytes == 4 {
        value
    } else {
        board.read(offset & !3) & !(mask << shift) | (value & mask) << shift
    };
    let effect = board.write(offset & !3, value);
    let stops = board.halt.is_some();
    engine.apply(effect);
    if stops {
        let _ = engine.emu_stop();
    }
}

/// What the rest of the model does with the core.
pub(crate) trait Core {
    /// Runs from the program counter on until something happens.
    fn resume(&mut self) -> Pause;

    /// Takes an interrupt, if interrupts are enabled.
    fn interrupt(&mut self, input: u8);

    /// Returns whether interrupts are enabled.
    fn takes_interrupts(&self) -> bool;

    /// Sets where the core goes on, and with what stack.
    fn start_at(&mut self, address: u32, stack: u32);

    /// Returns the board.
    fn board(&self) -> &Board;

    /// Returns the board to change it.
    fn board_mut(&mut self) -> &mut Board;

    /// Takes the board away, to give it to the next core.
    fn take_board(&mut self) -> Box<Board>;

    /// Returns an argument of the function that is being called.
    fn argument(&self, number: u8) -> u32;

    /// Sets what the function that is being called returns.
    fn set_answer(&mut self, value: u32);

    /// Sets what it returns in two registers.
    fn set_answer64(&mut self, value: u64);

    /// Returns the stack pointer.
    fn stack_pointer(&self) -> u32;

    /// Returns the program counter.
    fn program_counter(&self) -> u32;

    /// Reads memory; nothing where there is none.
    fn read(&self, address: u32, length: u32) -> Vec<u8>;

    /// Writes memory; what reaches none is lost.
    fn write(&mut self, address: u32, bytes: &[u8]);

    /// Stops the core for good, or until a reset.
    fn stop(&mut self, halt: Halt);

    /// Lets time pass without instructions.
    fn pass(&mut self, cycles: u64);

    /// Does an operation of the flash chip and shows it in the windows.
    fn change_flash(&mut self, operation: Operation);

    /// Does in memory what a register asked for.
    fn apply(&mut self, effect: Effect);
}

impl Core for Engine<'_> {
    fn resume(&mut self) -> Pause {
        let from = self.program_counter();
        let outcome = self.emu_start(from.into(), NOWHERE, 0, 0);
        if let Some(exception) = self.get_data_mut().exception.take() {
            raise(self, exception);
            return Pause::Asked;
        }
        if let Err(error) = outcome {
            let at = self.program_counter();
            self.stop(Halt::Unknown(format!("the processor stopped at {at:#010x}: {error:?}")));
            return Pause::Asked;
        }
        let after = self.program_counter();
        if self.read(after.wrapping_sub(4), 4) == WAIT_FOR_INTERRUPT {
            return Pause::Waiting;
        }
        Pause::Asked
    }

    fn interrupt(&mut self, input: u8) {
        if self.takes_interrupts() {
            let at = self.program_counter();
            trap(self, at, 1 << 31 | u32::from(input), 0);
        }
    }

    fn takes_interrupts(&self) -> bool {
        register(self, Register::MSTATUS) & INTERRUPTS_ENABLED != 0
    }

    fn start_at(&mut self, address: u32, stack: u32) {
        set_register(self, Register::PC, address);
        set_register(self, Register::SP, stack);
        // The ROM leaves them enabled, and programs count on it.
        set_register(self, Register::MSTATUS, INTERRUPTS_ENABLED | FROM_MACHINE_MODE);
    }

    fn board(&self) -> &Board {
        self.get_data().board.as_ref().expect("it is away only between two cores")
    }

    fn board_mut(&mut self) -> &mut Board {
        self.get_data_mut().board.as_mut().expect("it is away only between two cores")
    }

    fn take_board(&mut self) -> Box<Board> {
        self.get_data_mut().board.take().expect("it is away only between two cores")
    }

    fn argument(&self, number: u8) -> u32 {
        let registers = [
            Register::A0,
            Register::A1,
            Register::A2,
            Register::A3,
            Register::A4,
            Register::A5,
            Register::A6,
            Register::A7,
        ];
        registers.get(usize::from(number)).map_or(0, |known| register(self, *known))
    }

    fn set_answer(&mut self, value: u32) {
        set_register(self, Register::A0, value);
    }

    fn set_answer64(&mut self, value: u64) {
        set_register(self, Register::A0, low(value));
        set_register(self, Register::A1, low(value >> 32));
    }

    fn stack_pointer(&self) -> u32 {
        register(self, Register::SP)
    }

    fn program_counter(&self) -> u32 {
        register(self, Register::PC)
    }

    fn read(&self, address: u32, length: u32) -> Vec<u8> {
        self.mem_read_as_vec(address.into(), size(length)).unwrap_or_default()
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        let _ = self.mem_write(address.into(), bytes);
    }

    fn stop(&mut self, halt: Halt) {
        self.board_mut().stop(halt);
        let _ = self.emu_stop();
    }

    fn pass(&mut self, cycles: u64) {
        let board = self.board_mut();
        board.now += cycles;
        board.tick();
    }

    fn change_flash(&mut self, operation: Operation) {
        match self.board_mut().flash.change(operation.clone()) {
            Ok(()) => show_in_windows(self, &operation),
            Err(_) => self.stop(Halt::PowerLost),
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Flash(operation) => show_in_windows(self, &operation),
            Effect::Page(page) => show_page(self, page),
            Effect::Ethernet => crate::cable::exchange(self),
        }
    }
}

const WAIT_FOR_INTERRUPT: [u8; 4] = [0x73, 0x00, 0x50, 0x10];

/// Unicorn has stepped over the instruction that raised an exception, but not over one whose
/// access reached nothing.
fn raise(engine: &mut Engine<'_>, exception: Exception) {
    let at = engine.program_counter();
    match exception.cause {
        1 | 5 | 7 => trap(engine, at, exception.cause, exception.value),
        // From whichever mode, Unicorn says user mode; the chip runs programs in machine mode.
        8 => trap(engine, at.wrapping_sub(4), 11, 0),
        2 => {
            let at = at.wrapping_sub(4);
            let bytes = engine.read(at, 4);
            let instruction = bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            if !csr::execute(engine, instruction) {
                trap(engine, at, 2, instruction);
            }
        }
        cause => trap(engine, at.wrapping_sub(4), cause, 0),
    }
}

/// Enters the program's handler. The table of the chip always has an entry per cause; exceptions
/// take the first.
fn trap(engine: &mut Engine<'_>, at: u32, cause: u32, value: u32) {
    let status = register(engine, Register::MSTATUS);
    let enabled = status & INTERRUPTS_ENABLED;
    let kept = status & !(INTERRUPTS_ENABLED | INTERRUPTS_WERE_ENABLED);
    set_register(engine, Register::MSTATUS, kept | FROM_MACHINE_MODE | enabled << 4);
    set_register(engine, Register::MEPC, at);
    set_register(engine, Register::MCAUSE, cause);
    set_register(engine, Register::MTVAL, value);
    let table = register(engine, Register::MTVEC) & !0xff;
    let entry = if cause >> 31 == 1 { 4 * (cause & 31) } else { 0 };
    set_register(engine, Register::PC, table + entry);
}

/// Copies what an operation changed to every mapped page that shows it.
fn show_in_windows(engine: &mut Engine<'_>, operation: &Operation) {
    let touched = operation.pages();
    let shown: Vec<usize> = engine
        .board()
        .pages
        .iter()
        .enumerate()
        .filter(|(_, entry)| {
            **entry & board::PAGE_INVALID == 0 && touched.contains(&(**entry & 0xff))
        })
        .map(|(page, _)| page)
        .collect();
    for page in shown {
        show_page(engine, page);
    }
}

/// Copies a page of flash to where the memory map says that it is.
fn show_page(engine: &mut Engine<'_>, page: usize) {
    let Some(entry) = engine.board().pages.get(page).copied() else { return };
    if entry & board::PAGE_INVALID != 0 {
        return;
    }
    let cells =
        engine.board().flash.cells((entry & 0xff) * board::PAGE_BYTES, size(board::PAGE_BYTES));
    let cells = cells.to_vec();
    let offset = u32::try_from(page).unwrap_or(0) * board::PAGE_BYTES;
    for window in FLASH_WINDOWS {
        engine.write(window.start + offset, &cells);
    }
}

fn register(engine: &Engine<'_>, register: Register) -> u32 {
    engine.reg_read(register).map_or(0, low)
}

fn set_register(engine: &mut Engine<'_>, register: Register, value: u32) {
    let _ = engine.reg_write(register, value.into());
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const fn mask(bytes: usize) -> u32 {
    match bytes {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
