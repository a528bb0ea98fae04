//! A run in named steps, each timed, with a table at the end.
//!
//! Everything goes to standard error, so that a step's own output can be piped.

use std::time::{Duration, Instant};

use anyhow::bail;

/// The steps of one run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// Runs one step and records how it went; a failure is printed at once and gives `None`.
    #[expect(clippy::disallowed_methods, reason = "measures a run for a human, decides nothing")]
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> Option<T> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let outcome = step();
        self.done.push(Step { name, took: start.elapsed(), passed: outcome.is_ok() });
        outcome.inspect_err(|error| eprintln!("==> {name} failed: {error:#}")).ok()
    }

    /// Prints the minutes per step.
    ///
    /// # Errors
    ///
    /// Names the steps that failed.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        eprintln!();
        for step in &self.done {
            let mark = if step.passed { "ok" } else { "FAILED" };
            eprintln!("{:>6.1} min  {:<20} {mark}", step.took.as_secs_f64() / 60.0, step.name);
        }
        let failed: Vec<_> = self.done.iter().filter(|s| !s.passed).map(|s| s.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}
