//! `waxwing doctor`: is everything as it should be, and if not, what to do.
//!
//! Each check asks the server and gives verdicts; the audit log is checked without believing the
//! server. Not here: mending anything.

mod audit;
mod expiries;
mod memory;
mod rollouts;
mod roots;
mod server;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;
use waxwing_wire::RolloutId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;
use crate::profile::ProfileName;

const EXAMPLES: &str = "\
Exits 0 if nothing failed, 1 if something did; warnings do not fail.

Examples:
  waxwing doctor
  waxwing doctor audit --director-root director/metadata/1.root.json
  waxwing doctor expiries --json | jq '.[] | select(.status != \"ok\")'
  waxwing doctor rollout r-1";

/// Arguments of `waxwing doctor`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    check: Option<Check>,
}

/// One check instead of all.
#[derive(Subcommand)]
enum Check {
    /// Check the audit log row by row, and that nothing of what was seen before has changed.
    Audit(audit::Args),
    /// Show what expires: metadata of every role, and certificates.
    Expiries,
    /// Count a rollout again from the reports that devices signed.
    Rollout {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Ask whether devices can be served.
    Server,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Failed,
}

/// What a check found about one thing.
#[derive(Debug, Serialize)]
struct Verdict {
    check: &'static str,
    subject: String,
    status: Status,
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
    /// The first bad row of the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<i64>,
}

impl Verdict {
    fn new(check: &'static str, subject: impl Into<String>, status: Status) -> Self {
        Self {
            check,
            subject: subject.into(),
            status,
            detail: String::new(),
            next: None,
            row: None,
        }
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    fn next(self, next: Option<&'static str>) -> Self {
        Self { next, ..self }
    }
}

/// Runs one check, or all of them.
pub(crate) async fn run(
    args: Args,
    api: &Api,
    profile: &ProfileName,
    out: Output,
) -> Result<(), Error> {
    let verdicts = match args.check {
        Some(Check::Audit(args)) => audit::check(&args, api, profile).await?,
        Some(Check::Expiries) => expiries::check(api).await?,
        Some(Check::Rollout { rollout }) => vec![rollouts::check(&rollout, api).await?],
        Some(Check::Server) => server::check(api).await?,
        None => all(api, profile).await,
    };
    show(&verdicts, out)?;
    match verdicts.iter().filter(|verdict| verdict.status == Status::Failed).count() {
        0 => Ok(()),
        failed => Err(Error::Unwell(failed)),
    }
}

/// A check that cannot be done has failed; the others are done all the same.
async fn all(api: &Api, profile: &ProfileName) -> Vec<Verdict> {
    let failed =
        |check, error: &Error| vec![Verdict::new(check, "-", Status::Failed).detail(error.chain())];
    let server = match server::check(api).await {
        Ok(verdicts) => verdicts,
        Err(error) => return failed("server", &error),
    };
    let audit = audit::check(&audit::Args::default(), api, profile).await;
    let checks = [
        ("expiries", expiries::check(api).await),
        ("rollouts", rollouts::check_open(api).await),
        ("audit", audit),
    ];
    let rest = checks
        .into_iter()
        .flat_map(|(name, verdicts)| verdicts.unwrap_or_else(|error| failed(name, &error)));
    server.into_iter().chain(rest).collect()
}

fn show(verdicts: &[Verdict], out: Output) -> Result<(), Error> {
    let rows: Result<Vec<Value>, _> = verdicts.iter().map(serde_json::to_value).collect();
    let rows = rows.map_err(|error| Error::Answer(error.to_string()))?;
    out.list(&rows, &["check", "subject", "status", "detail", "next"])
}
