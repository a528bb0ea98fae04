//! Memory of the agent on an emulated chip, and of all it brings along: TLS, HTTP, MQTT.
//!
//! Counted is what was ever in use of heap and stack from the first start of a new device, its enrolment
//! included, until the update it takes is found healthy, and what is taken before the first statement, code
//! that runs from memory included; less the same of the same product without an agent, whose network with
//! all its buffers is the same. Both say it on the serial line.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::chip::EMULATOR;
use crate::process::run;
use crate::program::beside;

/// The flash of the product without an agent.
const BARE: &str = "firmware/flash-bare-ethernet.bin";
/// Where what was found is left for `cargo xtask bench device`: beside what is known of the images.
const FOUND: &str = "memory.json";
/// What the product without an agent says when it has done all it ever does.
const DONE: &str = " degrees, sent: ";
/// Chip time for that, in seconds.
const BARE_S_MAX: &str = "60";

/// What was ever in use, and what there is, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    heap_used: u32,
    heap: u32,
    stack_used: u32,
    stack: u32,
}

impl Memory {
    /// Finds it in a line: `heap 1 of 2, stack 3 of 4`, whatever is before.
    pub fn in_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.split_once("heap ")?;
        let (heap, stack) = numbers.split_once(", stack ")?;
        let pair = |text: &str| {
            let (used, all) = text.trim().split_once(" of ")?;
            Some((used.parse().ok()?, all.parse().ok()?))
        };
        let ((heap_used, heap), (stack_used, stack)) = (pair(heap)?, pair(stack)?);
        Some(Self { heap_used, heap, stack_used, stack })
    }

    /// Looks at the product without an agent.
    ///
    /// # Errors
    ///
    /// Fails when firmware or emulator were not built.
    pub fn without_agent() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let flash = folder.path().join("flash.bin");
        fs::copy(beside(BARE)?, &flash)?;
        let mut emulator = Command::new(beside(EMULATOR)?);
        emulator.arg("--flash").arg(flash);
        emulator.args(["--until", DONE, "--max-virtual-seconds", BARE_S_MAX, "--seed", "1"]);
        let said = run(&mut emulator, b"")?;
        said.lines().rev().find_map(Self::in_line).context("the product says what it uses")
    }

    /// Returns what this is more than `bare`, in bytes.
    ///
    /// # Errors
    ///
    /// Fails when they are not the same product.
    pub fn beyond(&self, bare: &Self) -> Result<u32> {
        ensure!(self.heap == bare.heap, "not the same heap: {self:?}, {bare:?}");
        // What is taken before the first statement is not there for the stack.
        let taken = bare.stack.checked_sub(self.stack).context("the agent takes nothing")?;
        let used = self.heap_used + self.stack_used + taken;
        used.checked_sub(bare.heap_used + bare.stack_used).context("the agent uses nothing")
    }
}

/// Leaves the memory of the agent in an update where `cargo xtask bench device` finds it.
///
/// # Errors
///
/// Fails when it cannot be written.
pub fn leave(agent_ram_bytes: u32) -> Result<()> {
    let found = json!({ "agent_ram_bytes": agent_ram_bytes });
    Ok(fs::write(beside(BARE)?.with_file_name(FOUND), format!("{found}\n"))?)
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn what_the_agent_uses_is_what_it_uses_more() {
        let bare = Memory::in_line("21.5 degrees, sent: false; heap 100 of 9000, stack 50 of 800");
        let with = Memory::in_line("memory: heap 1100 of 9000, stack 350 of 780").unwrap();
        // 1000 of the heap, 300 of the stack, 20 before the first statement.
        assert_eq!(with.beyond(&bare.unwrap()).unwrap(), 1320);
        assert!(bare.unwrap().beyond(&with).is_err());
        assert_eq!(Memory::in_line("idle Poll None"), None);
        assert_eq!(Memory::in_line("heap 1 of 2"), None);
    }
}
