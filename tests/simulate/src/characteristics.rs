//! The operating characteristics of the default plan: shares of broken devices against what follows.

use std::fmt::Write as _;
use std::ops::Range;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use waxwing_server::domain::rollout::Plan;

use crate::operating::{End, Outcome, Trial, run};

/// The shares that are tried, in thousandths.
const BROKEN_PERMILLE: [u32; 10] = [0, 1, 5, 10, 20, 30, 50, 100, 200, 500];

/// What came of one share over all seeds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// Share of devices that the release breaks, in thousandths.
    pub(crate) broken_permille: u32,
    /// Runs.
    pub(crate) runs: u64,
    /// Runs that halted.
    pub(crate) halted: u64,
    /// Runs in which everybody came to an end.
    pub(crate) finished: u64,
    /// Harmed devices in the middle run.
    pub(crate) harmed_median: u64,
    /// Harmed devices in all but one run in a hundred, at most.
    pub harmed_p99: u64,
    /// Harmed devices in the worst run.
    pub(crate) harmed_max: u64,
    /// The seed of the worst run.
    pub(crate) worst_seed: u64,
    /// How long the middle run took, in virtual seconds.
    pub(crate) lasted_median_s: u64,
    /// How long the longest run took, in virtual seconds.
    pub(crate) lasted_max_s: u64,
}

/// Tries the default plan with every share and seed, on all cores.
///
/// # Errors
///
/// When a thread cannot be started or dies.
pub(crate) fn of_default_plan(devices: u64, seeds: Range<u64>) -> anyhow::Result<Vec<Line>> {
    let shares = u64::try_from(BROKEN_PERMILLE.len())?;
    let bar = ProgressBar::new(shares * (seeds.end - seeds.start));
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} rollouts, {eta} left")?);
    let lines = BROKEN_PERMILLE.into_iter().map(|broken_permille| {
        let broken = f64::from(broken_permille) / 1000.0;
        let trial = Trial { devices, broken, plan: Plan::default() };
        Ok(line(broken_permille, &all(&trial, &seeds, &bar)?))
    });
    let lines = lines.collect();
    bar.finish_and_clear();
    lines
}

/// Runs all seeds of a trial.
fn all(
    trial: &Trial,
    seeds: &Range<u64>,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<(u64, Outcome)>> {
    let cores = u64::try_from(thread::available_parallelism()?.get())?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                let own = seeds.clone().skip(usize::try_from(core).unwrap_or(0));
                let own = own.step_by(usize::try_from(cores).unwrap_or(1));
                scope.spawn(move || {
                    let outcome = |seed| {
                        bar.inc(1);
                        (seed, run(trial, seed))
                    };
                    own.map(outcome).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for thread in threads {
            outcomes.extend(thread.join().map_err(|_| anyhow::anyhow!("a run panicked"))?);
        }
        Ok(outcomes)
    })
}

fn line(broken_permille: u32, outcomes: &[(u64, Outcome)]) -> Line {
    let ended = |end| outcomes.iter().filter(|(_, outcome)| outcome.end == end).count();
    let mut harmed: Vec<_> = outcomes.iter().map(|(seed, it)| (it.harmed, *seed)).collect();
    let mut lasted: Vec<_> = outcomes.iter().map(|(_, it)| it.lasted_s).collect();
    harmed.sort_unstable();
    lasted.sort_unstable();
    let (harmed_max, worst_seed) = harmed.last().copied().unwrap_or_default();
    let harmed: Vec<_> = harmed.into_iter().map(|(devices, _)| devices).collect();
    Line {
        broken_permille,
        runs: count(outcomes.len()),
        halted: count(ended(End::Halted)),
        finished: count(ended(End::Finished)),
        harmed_median: quantile(&harmed, 50),
        harmed_p99: quantile(&harmed, 99),
        harmed_max,
        worst_seed,
        lasted_median_s: quantile(&lasted, 50),
        lasted_max_s: lasted.last().copied().unwrap_or_default(),
    }
}

/// Returns the value that so many in a hundred do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

fn count(runs: usize) -> u64 {
    u64::try_from(runs).unwrap_or(u64::MAX)
}

/// Returns what the default plan promises and these runs did not keep.
pub(crate) fn broken_promises(lines: &[Line]) -> Vec<String> {
    let of = |permille| lines.iter().find(|line| line.broken_permille == permille);
    let mut broken = Vec::new();
    if let Some(bad) = of(200)
        && (bad.halted * 100 < bad.runs * 99 || bad.harmed_p99 >= 30)
    {
        broken.push(format!("a fifth broken: halted with fewer than 30 harmed in 99 %: {bad:?}"));
    }
    if let Some(good) = of(1)
        && good.finished * 100 < good.runs * 99
    {
        broken.push(format!("one in a thousand broken: finished in 99 %: {good:?}"));
    }
    if let Some(perfect) = of(0)
        && (perfect.finished < perfect.runs || perfect.lasted_max_s > 24 * 3600)
    {
        broken.push(format!("none broken: finished within a day: {perfect:?}"));
    }
    broken
}

/// Returns the lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut table = String::from(
        "  broken   runs  halted  finished   harmed: median   99 %   worst (seed)   hours: median   longest\n",
    );
    for line in lines {
        let percent = f64::from(line.broken_permille) / 10.0;
        let Line { runs, halted, finished, harmed_median, harmed_p99, harmed_max, .. } = line;
        let (median, longest) = (hours(line.lasted_median_s), hours(line.lasted_max_s));
        let worst = format!("{harmed_max} ({})", line.worst_seed);
        let written = writeln!(
            table,
            "{percent:6.1} % {runs:6} {halted:7} {finished:9} {harmed_median:16} {harmed_p99:6} \
             {worst:>14} {median:>15} {longest:>9}"
        );
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    table
}

fn hours(seconds: u64) -> String {
    format!("{}.{}", seconds / 3600, seconds % 3600 / 360)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_so_many_do_not_exceed() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!([50, 99, 100].map(|percent| quantile(&values, percent)), [100, 198, 200]);
        assert_eq!(quantile(&[], 50), 0);
    }

    #[test]
    fn a_promise_that_is_not_kept_is_named() {
        let line = |broken_permille, finished, harmed_p99| Line {
            broken_permille,
            runs: 100,
            halted: 100 - finished,
            finished,
            harmed_median: 0,
            harmed_p99,
            harmed_max: harmed_p99,
            worst_seed: 0,
            lasted_median_s: 3600,
            lasted_max_s: 3600,
        };
        assert_eq!(broken_promises(&[line(0, 100, 0), line(1, 99, 0), line(200, 0, 29)]).len(), 0);
        for kept_not in [line(0, 99, 0), line(1, 98, 0), line(200, 2, 20), line(200, 0, 30)] {
            assert_eq!(broken_promises(std::slice::from_ref(&kept_not)).len(), 1, "{kept_not:?}");
        }
    }
}
