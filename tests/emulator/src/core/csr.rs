//! Control and status registers of the chip that Unicorn takes for illegal: performance counter,
//! memory protection, triggers. They keep what is written; the counter counts cycles.

use std::collections::HashMap;

use unicorn_engine::RegisterRISCV as Register;

use super::{Core as _, Engine, low};

/// `mpccr`: the value of the performance counter.
const PERFORMANCE_COUNTER: u32 = 0x7e2;

/// Registers by number.
pub(super) type Registers = HashMap<u32, u32>;

/// Executes an instruction if it reads or writes such a register.
pub(super) fn execute(engine: &mut Engine<'_>, instruction: u32) -> bool {
    let kind = instruction >> 12 & 7;
    let number = instruction >> 20;
    let known = matches!(number, 0x3a0..=0x3bf | 0x7a0..=0x7af | 0x7e0..=0x7e2 | 0x800..=0x8ff | 0xbc0..=0xbff);
    if instruction & 0x7f != 0x73 || !known {
        return false;
    }
    let source = instruction >> 15 & 31;
    let operand = if kind & 4 == 0 { general(engine, source) } else { source };
    let old = read(engine, number);
    let new = match kind & 3 {
        0 => return false,
        1 => operand,
        2 => old | operand,
        _ => old & !operand,
    };
    engine.get_data_mut().csr.insert(number, new);
    set_general(engine, instruction >> 7 & 31, old);
    true
}

fn read(engine: &Engine<'_>, number: u32) -> u32 {
    if number == PERFORMANCE_COUNTER {
        return low(engine.board().now);
    }
    engine.get_data().csr.get(&number).copied().unwrap_or(0)
}

fn general(engine: &Engine<'_>, number: u32) -> u32 {
    name(number).map_or(0, |register| super::register(engine, register))
}

fn set_general(engine: &mut Engine<'_>, number: u32, value: u32) {
    if let Some(register) = name(number) {
        super::set_register(engine, register, value);
    }
}

/// Register 0 is no register.
fn name(number: u32) -> Option<Register> {
    let names = [
        Register::X1,
        Register::X2,
        Register::X3,
        Register::X4,
        Register::X5,
        Register::X6,
        Register::X7,
        Register::X8,
        Register::X9,
        Register::X10,
        Register::X11,
        Register::X12,
        Register::X13,
        Register::X14,
        Register::X15,
        Register::X16,
        Register::X17,
        Register::X18,
        Register::X19,
        Register::X20,
        Register::X21,
        Register::X22,
        Register::X23,
        Register::X24,
        Register::X25,
        Register::X26,
        Register::X27,
        Register::X28,
        Register::X29,
        Register::X30,
        Register::X31,
    ];
    names.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
}
