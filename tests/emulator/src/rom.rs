//! What is in the chip's mask ROM: functions by address, and how it starts what is in flash.
//!
//! Addresses are those that Espressif publishes for linking (`esp-rom-sys`, `ld/esp32c3/rom`); what
//! a function does is what its prototype and the manual say. A program that calls one that is not
//! here stops the run with its address, so that nothing passes for working by accident.

mod boot;
mod chip;
mod digest;
mod flash;
mod math;
mod memory;
mod print;

use std::collections::HashMap;

use crate::board::Halt;
use crate::core::{Core as _, Engine};

pub(crate) use boot::{BootError, start};

/// Where the ROM begins.
pub(crate) const ROM: u32 = 0x4000_0000;
/// How far it reaches.
pub(crate) const ROM_BYTES: u32 = 0x0006_0000;
/// `c.jr ra`: every function of the model returns to its caller.
pub(crate) const RETURN: [u8; 2] = [0x82, 0x80];

/// What the ROM keeps between calls: in the chip this is memory of its own.
#[derive(Default)]
pub(crate) struct RomState {
    sha256: HashMap<u32, sha2::Sha256>,
    md5: HashMap<u32, md5::Md5>,
    megahertz: u32,
}

/// A function: takes the core with the arguments in its registers.
type Function = fn(&mut Call<'_, '_>);

/// One call.
struct Call<'a, 'e> {
    engine: &'a mut Engine<'e>,
}

const GROUPS: [&[(u32, Function)]; 6] = [
    chip::FUNCTIONS,
    digest::FUNCTIONS,
    flash::FUNCTIONS,
    math::FUNCTIONS,
    memory::FUNCTIONS,
    print::FUNCTIONS,
];

/// Does what the function at an address does.
pub(crate) fn call(engine: &mut Engine<'_>, address: u32) {
    let found = GROUPS.iter().flat_map(|group| *group).find(|(known, _)| *known == address);
    let Some((_, function)) = found else {
        let text = format!("the ROM function at {address:#010x} is not modelled");
        return engine.stop(Halt::Unknown(text));
    };
    function(&mut Call { engine });
}

impl Call<'_, '_> {
    fn argument(&self, number: u8) -> u32 {
        self.engine.argument(number)
    }

    /// Two registers that hold one number, as the calling convention splits it.
    fn argument64(&self, number: u8) -> u64 {
        u64::from(self.argument(number)) | u64::from(self.argument(number + 1)) << 32
    }

    fn answer(&mut self, value: u32) {
        self.engine.set_answer(value);
    }

    fn answer64(&mut self, value: u64) {
        self.engine.set_answer64(value);
    }

    fn read(&self, address: u32, length: u32) -> Vec<u8> {
        self.engine.read(address, length)
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.engine.write(address, bytes);
    }

    /// Bytes up to a zero, which is not among them.
    fn text(&self, address: u32) -> Vec<u8> {
        let mut text = Vec::new();
        for at in address.. {
            match self.read(at, 1).first() {
                Some(0) | None => break,
                Some(byte) => text.push(*byte),
            }
        }
        text
    }
}
