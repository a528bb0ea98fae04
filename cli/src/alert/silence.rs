//! `waxwing alert silence`: of what nobody is told for a while.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::api::Api;
use crate::error::Error;
use crate::input::{seconds, segment};
use crate::output::Output;

const ADD_EXAMPLES: &str = "\
Examples:
  waxwing alert silence add --rule device_lost --subject product/th1 --for 2h --reason 'the hall is rewired'
  waxwing alert silence add --rule update_failed --for 1d --reason https://tickets.example/7

What still fires when the silence is over is told then.";

/// Subcommands of `waxwing alert silence`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Have nobody told of some alerts for a while. `--reason` says why, and must be given.
    #[command(after_help = ADD_EXAMPLES)]
    Add(NewSilence),
    /// List the silences that are not over.
    List,
    /// End a silence.
    Remove {
        /// The silence.
        #[arg(value_parser = segment)]
        silence: String,
    },
}

/// The request that makes a silence.
#[derive(Args, Debug, Serialize)]
pub(crate) struct NewSilence {
    /// Alerts of this rule.
    #[arg(long, required_unless_present = "subject")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Alerts about this.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// For how long, 30 days at most.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    for_s: u32,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Add(new) => out.one(&api.post("alert-silences", &new).await?),
        Command::List => {
            let silences = api.list("alert-silences", &[], usize::MAX).await?;
            out.list(&silences, &["id", "rule", "subject", "until", "created_by", "reason"])
        }
        Command::Remove { silence } => {
            let removed = api.remove(&format!("alert-silences/{silence}")).await?;
            out.done(&format!("ended {silence}"), &removed)
        }
    }
}
