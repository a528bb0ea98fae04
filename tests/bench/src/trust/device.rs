//! Runs the harness of `tests/bench/device` in an emulator, and reads the numbers it prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Where the machine expects the scenario (`device/memory.x`).
const SCENARIO_ADDRESS: &str = "0x83000000";

/// The numbers by name, as the harness prints them.
pub(crate) type Numbers = BTreeMap<String, u64>;

/// Runs one harness with one scenario.
///
/// # Errors
///
/// When QEMU is not there, or the harness refuses an answer of the scenario.
pub(crate) fn run(program: &Path, scenario: &[u8]) -> anyhow::Result<Numbers> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scenario");
    fs::write(&file, scenario)?;
    let loader = format!("loader,file={},addr={SCENARIO_ADDRESS},force-raw=on", file.display());
    let mut emulator = Command::new("qemu-system-riscv32");
    // With `-icount` the instruction counter counts instructions, and every run counts the same.
    emulator.args(["-M", "virt", "-m", "64M", "-bios", "none", "-icount", "shift=0"]);
    emulator.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    emulator.arg("-kernel").arg(program).args(["-device", &loader]);
    let output = emulator.output().context("cannot start qemu-system-riscv32")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {}", program.display(), text.trim_end());
    text.lines().map(line).collect()
}

fn line(line: &str) -> anyhow::Result<(String, u64)> {
    let (name, value) = line.split_once(' ').context("not a number of the harness")?;
    Ok((name.to_owned(), value.parse()?))
}
