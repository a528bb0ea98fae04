//! `waxwing webhook`: machines that are told of rollouts.

use clap::Subcommand;
use serde_json::json;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

const ADD_EXAMPLES: &str = "\
Examples:
  waxwing webhook add https://hooks.example/waxwing | jq -r .secret > secret
  waxwing webhook add https://hooks.example/pager --event rollout.halted --event rollout.approval_needed

The answer shows the secret of the signatures, this once. docs/webhooks.md has the events, and a receiver.";

const DELIVERIES_EXAMPLES: &str = "\
Examples:
  waxwing webhook deliveries wh-0011223344556677 --state dead
  waxwing webhook redeliver wh-0011223344556677 msg_01a2b3c4d5e60011223344556677";

/// Subcommands of `waxwing webhook`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Tell a machine of rollouts from now on. The secret is shown here and never again.
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Where messages go; https:// only.
        url: String,
        /// What to tell; may be given several times. Everything, if it is not given.
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
    },
    /// Show what a machine was told lately, newest first, and what became of it.
    #[command(after_help = DELIVERIES_EXAMPLES)]
    Deliveries {
        /// The webhook.
        webhook: String,
        /// Only messages that are `due`, `in_flight`, `delivered` or `dead`.
        #[arg(long)]
        state: Option<String>,
        /// Messages to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// List all webhooks.
    List,
    /// Send a message once more that was delivered or given up.
    Redeliver {
        /// The webhook.
        webhook: String,
        /// The message.
        message: String,
    },
    /// Tell a machine no more.
    Remove {
        /// The webhook.
        webhook: String,
    },
    /// Send a message of the event `webhook.test`.
    Test {
        /// The webhook.
        webhook: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Add { url, events } => {
            out.one(&api.post("webhooks", &json!({ "url": url, "events": events })).await?)
        }
        Command::Deliveries { webhook, state, limit } => {
            let path = format!("webhooks/{webhook}/deliveries");
            let state: Vec<_> = state.iter().map(|state| ("state", state.as_str())).collect();
            let deliveries = api.list(&path, &state, limit).await?;
            out.list(&deliveries, &["id", "event", "state", "attempts", "outcome", "due_at"])
        }
        Command::List => {
            let webhooks = api.list("webhooks", &[], usize::MAX).await?;
            out.list(&webhooks, &["id", "url", "events", "created_by"])
        }
        Command::Redeliver { webhook, message } => {
            let path = format!("webhooks/{webhook}/deliveries/{message}/redeliver");
            out.done(&format!("{message} is sent once more"), &api.act(&path).await?)
        }
        Command::Remove { webhook } => {
            let removed = api.remove(&format!("webhooks/{webhook}")).await?;
            out.done(&format!("removed {webhook}"), &removed)
        }
        Command::Test { webhook } => {
            let sent = api.act(&format!("webhooks/{webhook}/test")).await?;
            let sentence = format!("on its way; `waxwing webhook deliveries {webhook}` shows it");
            out.done(&sentence, &sent)
        }
    }
}
