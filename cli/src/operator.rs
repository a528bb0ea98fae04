//! `waxwing operator`: who may do everything.

use clap::Subcommand;
use serde_json::json;

use crate::api::Api;
use crate::error::Error;
use crate::input::segment;
use crate::output::Output;

/// Subcommands of `waxwing operator`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add somebody who may do everything, and so approve what others planned. The token is shown here
    /// and never again.
    #[command(after_help = "Example:\n  waxwing operator add ada | jq -r .token > token")]
    Add {
        /// How the audit log calls them.
        operator: String,
    },
    /// List all operators.
    List {
        /// Operators to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Remove an operator, whose token is good no more.
    Remove {
        /// The operator.
        #[arg(value_parser = segment)]
        operator: String,
    },
    /// Make a new token in the place of the present one. It is shown here and never again.
    #[command(after_help = "Keep the new token with `waxwing login` before the old one ends.\n\n\
        Examples:\n  waxwing operator replace-token admin | jq -r .token > token\n  \
        waxwing operator replace-token admin --overlap 0   # somebody else may know the old one")]
    ReplaceToken {
        /// The operator; the first one is `admin`.
        #[arg(value_parser = segment)]
        operator: String,
        /// Seconds for which the present token stays good.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        overlap: u64,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Add { operator } => {
            out.one(&api.post("operators", &json!({ "name": operator })).await?)
        }
        Command::List { limit } => {
            out.list(&api.list("operators", &[], limit).await?, &["name", "created_at"])
        }
        Command::Remove { operator } => {
            let removed = api.remove(&format!("operators/{operator}")).await?;
            out.done(&format!("removed {operator}"), &removed)
        }
        Command::ReplaceToken { operator, overlap } => {
            let path = format!("operators/{operator}/token");
            out.one(&api.post(&path, &json!({ "overlap_s": overlap })).await?)
        }
    }
}
