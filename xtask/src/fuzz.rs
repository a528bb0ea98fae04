//! `cargo xtask fuzz`: builds the targets of `fuzz/` and runs them.
//!
//! On the stable compiler: what libFuzzer needs of it is behind `RUSTC_BOOTSTRAP=1` (D33). No
//! sanitizer: `unsafe` is forbidden in what is fuzzed. Not here: the targets and their promises.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, iter, thread};

use anyhow::{Context as _, bail};

use crate::debian::{self, Package};
use crate::tools;
use crate::workspace::{cargo, command, root, run, target_dir};

/// The workspace of the targets.
const FOLDER: &str = "fuzz";
/// Seconds for each target in CI (D33: time enough for a planted bug).
const SECONDS: u32 = 10;
/// Longest input in bytes: more than the longest packet, poll or answer of the corpus. From the
/// beginning: in ten seconds there is no time to start small.
const INPUT_BYTES_MAX: [&str; 2] = ["-max_len=8192", "-len_control=0"];
/// Memory of one target in MB: a parser that wants more than this of 8 KiB is broken.
const MEMORY: &str = "-rss_limit_mb=1024";
/// Seconds for one input.
const TIMEOUT: &str = "-timeout=5";

/// libFuzzer is C++.
const COMPILER: Package = Package { name: "g++", probe: &["c++", "--version"] };

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this target; default: each in turn.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,
    /// Write the corpus that every run begins with anew, and run nothing.
    #[arg(long)]
    seed: bool,
}

/// Builds and runs the targets.
///
/// # Errors
///
/// Names the targets that found something; what they found lies where they say.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    if args.seed {
        let folder = root().join(FOLDER);
        let corpus = folder.join("corpus");
        return run(cargo("run").current_dir(folder).args(["--example", "seed", "--"]).arg(corpus));
    }
    debian::require(&[COMPILER])?;
    tools::require(tools::FUZZ)?;
    let targets = match &args.target {
        Some(target) => vec![target.clone()],
        None => targets()?,
    };
    run(cargo_fuzz("build")?.args(args.target.as_slice()))?;
    let found = fuzz_each(&targets, args.seconds)?;
    if !found.is_empty() {
        bail!("found something: {}", found.join(", "));
    }
    Ok(())
}

/// Runs as many targets at a time as there are processors, and returns those that found something.
fn fuzz_each(targets: &[String], seconds: u32) -> anyhow::Result<Vec<&str>> {
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    let (begun, built, host) = (AtomicUsize::new(0), built()?, host()?);
    let next = || targets.get(begun.fetch_add(1, Ordering::Relaxed)).map(String::as_str);
    let work = || iter::from_fn(next).filter(|it| fuzz(it, seconds, &built, &host).is_err());
    Ok(thread::scope(|scope| {
        let workers: Vec<_> =
            (0..jobs).map(|_| scope.spawn(|| work().collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|it| it.join().expect("a worker does not panic")).collect()
    }))
}

/// Gives each target the seconds it has in CI.
///
/// # Errors
///
/// As [`run_all`].
pub(crate) fn run_each_shortly() -> anyhow::Result<()> {
    run_all(&Args { target: None, seconds: SECONDS, seed: false })
}

fn cargo_fuzz(what: &str) -> anyhow::Result<Command> {
    let mut fuzz = cargo("fuzz");
    fuzz.env("RUSTC_BOOTSTRAP", "1").args([what, "--fuzz-dir", FOLDER]);
    fuzz.args(["--sanitizer", "none", "--target-dir"]).arg(built()?);
    Ok(fuzz)
}

fn targets() -> anyhow::Result<Vec<String>> {
    let output = cargo("fuzz").args(["list", "--fuzz-dir", FOLDER]).output()?;
    let list = String::from_utf8(output.stdout).context("a target is not UTF-8")?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// What a run learns is kept for the next one here, and never mixed into the corpus of the
/// repository.
fn fuzz(target: &str, seconds: u32, built: &Path, host: &str) -> anyhow::Result<()> {
    eprintln!("==> fuzz {target}");
    let learnt = built.join("corpus").join(target);
    let found = built.join("found");
    fs::create_dir_all(&learnt)?;
    fs::create_dir_all(&found)?;
    // `cargo fuzz` always builds for a named platform.
    let mut fuzz = command(built.join(host).join("release").join(target));
    fuzz.arg(format!("-max_total_time={seconds}")).args(INPUT_BYTES_MAX).args([MEMORY, TIMEOUT]);
    fuzz.arg("-print_final_stats=0").arg("-verbosity=0");
    fuzz.arg(format!("-artifact_prefix={}/{target}-", found.display()));
    let dictionary = root().join(FOLDER).join("dictionaries").join(format!("{target}.dict"));
    if dictionary.exists() {
        fuzz.arg(format!("-dict={}", dictionary.display()));
    }
    run(fuzz.arg(learnt).arg(root().join(FOLDER).join("corpus").join(target)))
}

fn host() -> anyhow::Result<String> {
    let output = command("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout).context("rustc does not speak UTF-8")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

fn built() -> anyhow::Result<PathBuf> {
    Ok(target_dir()?.join("fuzz"))
}
