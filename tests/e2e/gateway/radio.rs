//! A radio: Bluetooth Low Energy by Bumble's virtual controllers, in a process of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use waxwing_e2e::process::{Line, Process};

/// A radio that is on.
pub(super) struct Radio {
    /// Where the sensor's side of it is.
    pub(super) address: String,
    process: Process,
}

impl Radio {
    /// Switches on a radio between sensors and a gateway.
    pub(super) fn switch_on(gateway: &str, logs: &Path) -> Result<Self> {
        let python = std::env::var_os("WAXWING_PYTHON")
            .context("WAXWING_PYTHON must name a Python with bumble; `cargo xtask test` does")?;
        let mut command = Command::new(python);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/gateway/radio.py");
        command.arg(script).arg(gateway);
        let process = Process::spawn("radio", command, logs)?;
        let said = next(&process, "sensor")?;
        let address = said.get("sensor").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { address: address.context("the radio says where it is")?, process })
    }

    /// Waits until the last link has ended; returns how many packets went over all of them, and the length of
    /// the longest.
    pub(super) fn after_all_links(&self) -> Result<(u64, u64)> {
        let mut ended = vec![next(&self.process, "packets")?];
        let more = self.process.lines_so_far().filter_map(|line| said(&line));
        ended.extend(more.filter(|line| line.get("packets").is_some()));
        let numbers = |name: &str| -> Vec<u64> {
            ended.iter().filter_map(|line| line.get(name)?.as_u64()).collect()
        };
        let longest = numbers("longest").into_iter().max();
        Ok((numbers("packets").iter().sum(), longest.unwrap_or(0)))
    }
}

/// Waits for a line with this field.
fn next(process: &Process, field: &str) -> Result<Value> {
    while let Some(line) = process.line()? {
        if let Some(line) = said(&line)
            && line.get(field).is_some()
        {
            return Ok(line);
        }
    }
    bail!("the radio ended; see {}", process.log().display())
}

fn said(line: &Line) -> Option<Value> {
    match line {
        Line::Error(_) => None,
        Line::Output(line) => serde_json::from_str(line).ok(),
    }
}
