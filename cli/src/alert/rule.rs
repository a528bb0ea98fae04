//! `waxwing alert rule`: what is looked for, and from when on somebody is told.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::api::Api;
use crate::error::Error;
use crate::input::{seconds, segment};
use crate::output::Output;

const SET_EXAMPLES: &str = "\
Examples:
  waxwing alert rule set device_lost --threshold 50 --clear-below 20 --window 2d
  waxwing alert rule set refused_connections --threshold 1000 --for 1m --clear-for 10m
  waxwing alert rule set rollout_halted --off --reason 'the pager has rollout.halted already'

What threshold and window mean, docs/alerts.md says for each rule.";

/// Subcommands of `waxwing alert rule`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List all rules.
    List,
    /// Make a rule as it usually is.
    Reset {
        /// The rule.
        #[arg(value_parser = segment)]
        rule: String,
    },
    /// Change a rule. What is not named stays as it is.
    #[command(after_help = SET_EXAMPLES)]
    Set {
        /// The rule.
        #[arg(value_parser = segment)]
        rule: String,
        #[command(flatten)]
        edit: Box<Edit>,
    },
    /// Show one rule.
    Show {
        /// The rule.
        #[arg(value_parser = segment)]
        rule: String,
    },
}

/// The request that changes a rule.
#[derive(Args, Debug, Serialize)]
#[group(required = true, multiple = true)]
pub(crate) struct Edit {
    /// Look for it.
    #[arg(long, conflicts_with = "off")]
    #[serde(skip)]
    on: bool,
    /// Do not look for it. Its alerts are over.
    #[arg(long)]
    #[serde(skip)]
    off: bool,
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// How urgent its alerts are: `warning` or `critical`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
    /// Fire from this number on.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u64>,
    /// It is over below this number.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clear_below: Option<u64>,
    /// The time that is looked at, such as `10m` or `14d`.
    #[arg(long = "window", value_name = "TIME", value_parser = seconds)]
    #[serde(skip_serializing_if = "Option::is_none")]
    window_s: Option<u32>,
    /// How long the threshold must be reached.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    #[serde(skip_serializing_if = "Option::is_none")]
    for_s: Option<u32>,
    /// How long the number must stay below the lower mark.
    #[arg(long = "clear-for", value_name = "TIME", value_parser = seconds)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clear_for_s: Option<u32>,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::List => {
            let rules = api.list("alert-rules", &[], usize::MAX).await?;
            let fields =
                ["name", "enabled", "severity", "threshold", "clear_below", "window_s", "for_s"];
            out.list(&rules, &fields)
        }
        Command::Reset { rule } => {
            let path = format!("alert-rules/{rule}");
            let seen = revision(&api.get(&path, &[]).await?);
            let answer = api.remove_seen(&path, seen).await?;
            out.done(&format!("{rule} is as it usually is"), &answer)
        }
        Command::Set { rule, mut edit } => {
            let path = format!("alert-rules/{rule}");
            let seen = revision(&api.get(&path, &[]).await?);
            edit.enabled = (edit.on || edit.off).then_some(edit.on);
            let answer = api.patch_seen(&path, seen, &edit).await?;
            out.done(&format!("changed {rule}"), &answer)
        }
        Command::Show { rule } => out.one(&api.get(&format!("alert-rules/{rule}"), &[]).await?),
    }
}

/// Which state of a rule was seen.
fn revision(rule: &Value) -> u64 {
    rule.get("revision").and_then(Value::as_u64).unwrap_or_default()
}
