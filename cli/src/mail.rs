//! `waxwing mail`: e-mail about alerts.

use clap::Subcommand;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// Subcommands of `waxwing mail`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what was sent lately, newest first, and what became of it.
    #[command(after_help = "Example:\n  waxwing mail deliveries --state dead")]
    Deliveries {
        /// Only messages that are `due`, `in_flight`, `delivered` or `dead`.
        #[arg(long)]
        state: Option<String>,
        /// Messages to show, 1 to 1000.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Send a message to every recipient, to see whether it comes.
    Test,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Deliveries { state, limit } => {
            let state: Vec<_> = state.iter().map(|state| ("state", state.as_str())).collect();
            let mails = api.list("mail/deliveries", &state, limit).await?;
            out.list(&mails, &["recipient", "subject", "state", "attempts", "outcome", "due_at"])
        }
        Command::Test => {
            let sent = api.act("mail/test").await?;
            out.done("on its way; `waxwing mail deliveries` shows it", &sent)
        }
    }
}
