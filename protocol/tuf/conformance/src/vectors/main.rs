//! Runs the Uptane test vectors of `advancedtelematic/tuf-test-vectors` against our verifier.
//!
//! The vectors are of 2017: their Director has no timestamp and no snapshot, and their targets say in
//! other fields which device and which hardware they are for. So [`waxwing_tuf::uptane::Client`]
//! cannot read them. What is tested here is everything below it: roots, thresholds, expiry, versions,
//! delegations, content, and that Director and Image repository agree, as the same functions judge it for
//! a device. Which device and which hardware a target is for is read by this program alone.

mod device;

use std::process::ExitCode;

use serde_json::Value;
use ureq::Agent;

use self::device::Device;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How many vectors there are: a run of fewer proves less.
const VECTORS: usize = 86;

/// Steps of all vectors together.
const STEPS: usize = 99;

/// Vectors that contradict the specification we follow, and why.
const DEVIATIONS: [(&str, &str); 1] = [(
    "image_repo_metadata_changed_while_version_same",
    "TUF 5.4.3.1 discards a timestamp whose version did not rise; the vector wants it taken",
)];

fn main() -> ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".into());
    match run(url.trim_end_matches('/')) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("uptane-vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all vectors; true if all are there and every step that must agree does.
fn run(url: &str) -> Outcome<bool> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    let names = agent.get(format!("{url}/")).call()?.into_body().read_to_string()?;
    let names: Vec<String> = serde_json::from_str(&names)?;
    let (mut steps, mut agreed, mut expected) = (0, 0, true);
    for name in &names {
        let mut device = Device::new(&agent, &format!("{url}/{name}"));
        while let Some(wanted) = next_step(&agent, &format!("{url}/{name}/step"))? {
            let found = device.update();
            steps += 1;
            if wanted == found.is_ok() {
                agreed += 1;
                continue;
            }
            let known = DEVIATIONS.iter().find(|(vector, _)| vector == name);
            let found = found.map_or_else(|error| error.to_string(), |()| "installed".into());
            eprintln!("{name}, wanted {wanted}: {found}. {}", known.map_or("", |(_, why)| why));
            expected &= known.is_some();
        }
    }
    eprintln!("{} vectors, {steps} steps, {agreed} agree", names.len());
    let all_there = names.len() == VECTORS && steps == STEPS;
    Ok(all_there && expected && agreed + DEVIATIONS.len() >= STEPS)
}

/// Begins the next step of a vector: whether it ends with everything installed.
fn next_step(agent: &Agent, url: &str) -> Outcome<Option<bool>> {
    let response = agent.post(url).send_empty()?;
    if response.status() == 204 {
        return Ok(None);
    }
    let step: Value = serde_json::from_str(&response.into_body().read_to_string()?)?;
    Ok(Some(all_successes(&step)))
}

/// Whether no part of a step is said to fail: the update of either repository, or a target.
fn all_successes(part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            if name == "is_success" { value == &Value::Bool(true) } else { all_successes(value) }
        }),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            true
        }
    }
}
