//! Numbers to read and to compare: medians over the runs, and how the server does against the bare
//! one.
//!
//! Not here: measuring.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::load::{Mode, Observed};

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Run {
    /// Polls in all.
    pub(crate) polls: usize,
    pub(crate) polls_per_second: f64,
    /// Processor time of the server per poll, in microseconds.
    pub(crate) cpu_us_per_poll: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// All runs of one mode.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) mode: Mode,
    /// Alternating with `waxwing`.
    pub(crate) bare: Vec<Run>,
    pub(crate) waxwing: Vec<Run>,
    /// Median processor time of the one per poll over that of the other.
    pub(crate) cpu_ratio: f64,
    /// Highest ratio that is good enough.
    pub(crate) cpu_ratio_goal: f64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) devices: usize,
    pub(crate) pollers: usize,
    pub(crate) start_seconds: f64,
    pub(crate) memory_bytes: u64,
    pub(crate) comparisons: Vec<Comparison>,
}

impl Run {
    pub(crate) fn new(mut observed: Observed, cpu: Duration) -> Self {
        observed.latencies.sort_unstable();
        let polls = observed.latencies.len();
        Self {
            polls,
            polls_per_second: count(polls) / observed.time.as_secs_f64(),
            cpu_us_per_poll: cpu.as_secs_f64() * 1e6 / count(polls),
            p50_ms: percentile(&observed.latencies, 50),
            p99_ms: percentile(&observed.latencies, 99),
        }
    }
}

impl Comparison {
    pub(crate) fn new(mode: Mode, bare: Vec<Run>, waxwing: Vec<Run>) -> Self {
        let cpu = |runs: &[Run]| median(runs, |run| run.cpu_us_per_poll);
        let cpu_ratio = cpu(&waxwing) / cpu(&bare);
        // One Ed25519 signature costs three bare requests, and nothing beside a handshake.
        let cpu_ratio_goal = match mode {
            Mode::KeepAlive => 6.0,
            Mode::NewConnection => 1.25,
        };
        Self { mode, bare, waxwing, cpu_ratio, cpu_ratio_goal }
    }
}

impl Report {
    /// Writes a table of medians.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let megabytes = self.memory_bytes / (1 << 20);
        writeln!(
            to,
            "{} devices, {} of them polling; started in {:.1} s, {megabytes} MB",
            self.devices, self.pollers, self.start_seconds
        )?;
        writeln!(
            to,
            "{:<15} {:<8} {:>10} {:>12} {:>8} {:>8}",
            "median", "server", "polls/s", "CPU us/poll", "p50 ms", "p99 ms"
        )?;
        for comparison in &self.comparisons {
            comparison.write(to)?;
        }
        Ok(())
    }
}

impl Comparison {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mode = match self.mode {
            Mode::KeepAlive => "keep-alive",
            Mode::NewConnection => "new connection",
        };
        for (server, runs) in [("bare", &self.bare), ("waxwing", &self.waxwing)] {
            writeln!(
                to,
                "{mode:<15} {server:<8} {:>10.0} {:>12.1} {:>8.2} {:>8.2}",
                median(runs, |run| run.polls_per_second),
                median(runs, |run| run.cpu_us_per_poll),
                median(runs, |run| run.p50_ms),
                median(runs, |run| run.p99_ms),
            )?;
        }
        writeln!(
            to,
            "{mode:<15} {:<8} {:.2} times the CPU of the bare server (goal: at most {})",
            "ratio", self.cpu_ratio, self.cpu_ratio_goal
        )
    }
}

fn median(runs: &[Run], number: impl Fn(&Run) -> f64) -> f64 {
    let mut numbers: Vec<f64> = runs.iter().map(number).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

fn count(polls: usize) -> f64 {
    f64::from(u32::try_from(polls).unwrap_or(u32::MAX))
}
