//! Whether the counters of rollouts are what devices signed.

use serde::Deserialize;
use waxwing_wire::RolloutId;

use super::{Status, Verdict};
use crate::api::Api;
use crate::error::Error;

/// Rollouts looked at, at most; those that are open are few.
const ROLLOUTS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Recount {
    equal: bool,
    reports: u64,
    invalid: u64,
}

#[derive(Deserialize)]
struct Rollout {
    id: RolloutId,
    state: String,
}

/// Counts one again.
pub(super) async fn check(rollout: &RolloutId, api: &Api) -> Result<Verdict, Error> {
    let path = format!("rollouts/{rollout}/recount");
    let Recount { equal, reports, invalid } = api.read(&path, &[]).await?;
    let verdict = |status, detail| {
        Verdict::new("rollouts", format!("rollout {rollout}"), status).detail(detail)
    };
    if !equal {
        let detail = format!("the counters are not what its {reports} signed reports say");
        let next = Some("keep the database, and report this as a bug");
        return Ok(verdict(Status::Failed, detail).next(next));
    }
    if invalid > 0 {
        let detail = format!("{invalid} of {reports} reports do not verify any more");
        return Ok(verdict(Status::Failed, detail).next(Some("somebody changed the database")));
    }
    Ok(verdict(Status::Ok, format!("recounted from {reports} signed reports")))
}

/// Counts those again that are not over.
pub(super) async fn check_open(api: &Api) -> Result<Vec<Verdict>, Error> {
    let mut verdicts = Vec::new();
    for rollout in api.list("rollouts", &[], ROLLOUTS_MAX).await? {
        let rollout: Rollout =
            serde_json::from_value(rollout).map_err(|error| Error::Answer(error.to_string()))?;
        if matches!(rollout.state.as_str(), "running" | "paused" | "halted") {
            verdicts.push(check(&rollout.id, api).await?);
        }
    }
    Ok(verdicts)
}
