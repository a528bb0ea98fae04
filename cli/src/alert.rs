//! `waxwing alert`: what somebody must know.

mod rule;
mod silence;

use clap::Subcommand;

use crate::api::Api;
use crate::error::Error;
use crate::input::segment;
use crate::output::Output;

const LIST_EXAMPLES: &str = "\
Examples:
  waxwing alert list --state firing
  waxwing alert list --rule device_lost --json | jq -r '.[].examples[]'";

/// Subcommands of `waxwing alert`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List alerts, newest first: those that are not over, and for a month those that are.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only alerts that are `pending`, `firing` or `resolved`.
        #[arg(long)]
        state: Option<String>,
        /// Only alerts of this rule.
        #[arg(long)]
        rule: Option<String>,
        /// Alerts to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Rules: what is looked for, and from when on somebody is told.
    #[command(subcommand)]
    Rule(rule::Command),
    /// Silences: of what nobody is told for a while.
    #[command(subcommand)]
    Silence(silence::Command),
    /// Show one alert, with examples of what was counted.
    Show {
        /// The alert.
        #[arg(value_parser = segment)]
        alert: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::List { state, rule, limit } => {
            let asked = [("state", state.as_deref()), ("rule", rule.as_deref())];
            let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let alerts = api.list("alerts", &asked.collect::<Vec<_>>(), limit).await?;
            out.list(&alerts, &["id", "state", "severity", "summary", "began_at", "silenced_until"])
        }
        Command::Rule(command) => rule::run(command, api, out).await,
        Command::Silence(command) => silence::run(command, api, out).await,
        Command::Show { alert } => out.one(&api.get(&format!("alerts/{alert}"), &[]).await?),
    }
}
