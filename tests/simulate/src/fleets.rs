//! Whole fleets in virtual time: the real engine of the server, and modelled devices that misbehave.
//!
//! The engine is [`waxwing_server::fleet`] with all its rules, over a virtual disk; server and devices
//! share one clock, one queue of events and one source of randomness, so a seed gives the same run again,
//! event by event. An auditor checks each transaction and each answer, and everything each virtual hour.
//! Not here: signatures, HTTP and SQL, which have tests of their own.

mod auditor;
mod cast;
mod device;
mod disk;
mod scenario;
mod server;
mod world;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(crate) use self::disk::Honesty;
pub(crate) use self::scenario::{Scenario, all};
pub(crate) use self::world::{Broken, Run, Summary, run};

/// How often everything is checked, in virtual seconds.
const AUDIT_S: u64 = 3600;

/// A scenario with what came of it.
pub(crate) type Done = (Scenario, Result<Summary, Broken>);

/// Runs scenarios on all cores: first those that may take longest, or one core would wait for the other.
///
/// # Errors
///
/// When a thread dies.
pub(crate) fn run_all(
    scenarios: &[Scenario],
    devices: u32,
    seed: u64,
    say: impl Fn(&Done) + Sync,
) -> anyhow::Result<Vec<Done>> {
    let mut longest_first: Vec<_> = scenarios.iter().collect();
    longest_first.sort_by_key(|scenario| Reverse(scenario.hours_max));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(scenario) = longest_first.get(next.fetch_add(1, Ordering::Relaxed)) {
            let honesty = Honesty::Honest;
            let outcome = run(scenario, Run { devices, seed, honesty, audit_s: AUDIT_S });
            let one = (Scenario::clone(scenario), outcome);
            say(&one);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(one);
        }
    };
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut ends = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ends.all(|end| end.is_ok()).then_some(()).ok_or_else(|| anyhow::anyhow!("a run panicked"))
    })?;
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = |one: &Done| scenarios.iter().position(|it| it.name == one.0.name);
    done.sort_by_key(place);
    Ok(done)
}

/// Says how a promise was broken, and how to see it again.
pub(crate) fn accusation(name: &str, broken: &Broken, devices: u32, seed: u64) -> String {
    let Broken { promise, after_ms, event } = broken;
    let (hours, minutes) = (after_ms / 3_600_000, after_ms / 60_000 % 60);
    let seconds = after_ms / 1000 % 60;
    format!(
        "broken promise: {promise}\n  scenario {name}, seed {seed}, {devices} devices, after \
         {hours}:{minutes:02}:{seconds:02}, {event}\n  again: cargo xtask simulate --scenario {name} \
         --seed {seed} --devices {devices}"
    )
}

/// Returns what came of the scenarios as a table in Markdown.
pub(crate) fn table(done: &[Done], devices: u32) -> String {
    let mut table = String::from(
        "| scenario | devices | ended | hours | harmed | restarts | lost writes |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (scenario, outcome) in done {
        let Ok(summary) = outcome else { continue };
        let ends: Vec<_> = summary.ends.iter().map(|end| end.as_str()).collect();
        let (hours, tenth) = (summary.lasted_s / 3600, summary.lasted_s % 3600 / 360);
        let Summary { harmed, restarts, lost_writes, .. } = summary;
        let written = writeln!(
            table,
            "| `{}`: {} | {devices} | {} | {hours}.{tenth} | {harmed} | {restarts} | {lost_writes} |",
            scenario.name,
            scenario.about,
            ends.join(", "),
        );
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    table
}
