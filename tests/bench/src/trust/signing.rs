//! What an idle poll costs the Director: the signature and the bundle, against a signature alone.

use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use waxwing_tuf::author::{Ed25519Signer, Signer, director};
use waxwing_wire::bundle::{Kind, Writer};

use super::repository::DEVICE;

/// Runs of each, in turns.
const RUNS: usize = 5;
/// Answers in one run: a tenth of a second and more.
const ANSWERS: u16 = 5_000;
const NOW_MS: u64 = 1_795_167_000_000;

/// Returns how many signatures the answer to an idle poll costs, as the median of alternating runs,
/// in processor time of this thread.
///
/// # Errors
///
/// When something cannot be signed.
pub(crate) fn ratio() -> anyhow::Result<f64> {
    let signer = Ed25519Signer::from_seed(&[24; 32])?;
    let message = signed_part(&answer(&signer, 0)?)?;
    let (mut alone, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        alone.push(time(|_| Ok(signer.sign(&message).map(drop)?))?);
        answers.push(time(|number| answer(&signer, number).map(drop))?);
    }
    Ok(median(answers) / median(alone))
}

/// What the server does for a device that has everything.
fn answer(signer: &Ed25519Signer, number: u16) -> anyhow::Result<Vec<u8>> {
    let nonce = u128::from(number).to_be_bytes();
    let now_ms = NOW_MS + u64::from(number);
    let timestamp = director::timestamp(signer, DEVICE, &nonce, now_ms, NOW_MS)?;
    let mut bundle = Writer::new();
    bundle.push(Kind::Director, "timestamp.json", &timestamp)?;
    Ok(bundle.finish(60))
}

/// As many bytes as are signed in an answer.
fn signed_part(bundle: &[u8]) -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8_lossy(bundle);
    let (_, signed) = text.split_once("\"signed\":").context("no signed part")?;
    Ok(signed.as_bytes().to_vec())
}

fn time(mut once: impl FnMut(u16) -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = cpu()?;
    (0..ANSWERS).try_for_each(&mut once)?;
    Ok(cpu()?.saturating_sub(start))
}

fn cpu() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}
