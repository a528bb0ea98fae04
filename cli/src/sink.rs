//! `waxwing sink`: other systems that get what devices say, and what they did not take.

use clap::Subcommand;
use serde_json::Value;
use waxwing_wire::SinkId;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

const DEAD_EXAMPLES: &str = "\
Examples:
  waxwing sink dead backend
  waxwing sink dead backend --json | jq -r '.[].reason' | sort | uniq -c
  waxwing sink replay backend
  waxwing --reason 'test devices' sink discard backend 4711

docs/sinks.md says when a message becomes a dead letter.";

/// Subcommands of `waxwing sink`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the messages that a sink did not take, those first that came first.
    #[command(after_help = DEAD_EXAMPLES)]
    Dead {
        /// The sink.
        sink: SinkId,
        /// Dead letters to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Remove dead letters of a sink; the messages stay in the log for their time.
    Discard {
        /// The sink.
        sink: SinkId,
        /// Only this one, by its position; all without it.
        position: Option<u64>,
    },
    /// List all sinks, how far they are and how they do.
    List,
    /// Send dead letters of a sink once more; what is not taken again stays.
    Replay {
        /// The sink.
        sink: SinkId,
        /// Only this one, by its position; all without it.
        position: Option<u64>,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Dead { sink, limit } => {
            let letters = api.list(&path(&sink, None), &[], limit).await?;
            out.list(&letters, &["position", "device", "message_id", "tries", "died_at", "reason"])
        }
        Command::Discard { sink, position } => {
            let done = api.remove(&path(&sink, position)).await?;
            out.done(&format!("dead letters removed: {}", touched(&done)), &done)
        }
        Command::List => {
            let sinks = api.list("sinks", &[], usize::MAX).await?;
            let fields =
                ["name", "kind", "origin", "behind", "dead_letters", "failures", "last_error"];
            out.list(&sinks, &fields)
        }
        Command::Replay { sink, position } => {
            let done = api.act(&format!("{}/replay", path(&sink, position))).await?;
            out.done(&format!("dead letters sent once more: {}", touched(&done)), &done)
        }
    }
}

fn touched(answer: &Value) -> u64 {
    answer.get("dead_letters").and_then(Value::as_u64).unwrap_or_default()
}

fn path(sink: &SinkId, position: Option<u64>) -> String {
    let position = position.map(|position| format!("/{position}")).unwrap_or_default();
    format!("sinks/{sink}/dead-letters{position}")
}
