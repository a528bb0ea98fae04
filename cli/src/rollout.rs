//! `waxwing rollout`: bring a release to a group, in phases, and see how it goes.

mod plan;
mod watch;

use clap::Subcommand;
use serde_json::{Value, json};
use waxwing_wire::{DeviceId, RolloutId};

use crate::api::Api;
use crate::error::Error;
use crate::input::seconds;
use crate::output::Output;

const PLAN_EXAMPLES: &str = "\
Examples:
  waxwing rollout plan --product th1 --channel stable --release 1.1.0 --group all --dry-run
  waxwing rollout plan --product th1 --channel stable --release 1.1.0 --group all --phases @lab,5,100
  waxwing rollout plan --product th1 --channel beta --release 1.2.0 --group pilots --soak 10m \\
      --window 'Sat,Sun 01:00-05:00' --bandwidth 200";

/// Subcommands of `waxwing rollout`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Agree to the next phase of a rollout that somebody else planned.
    Approve {
        /// The rollout.
        rollout: RolloutId,
    },
    /// End a rollout; devices that have not activated the release are no longer offered it.
    Cancel {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Wait longer for devices that do not poll.
    #[command(after_help = "Example:\n  waxwing rollout extend r-1 --by 7d")]
    Extend {
        /// The rollout.
        rollout: RolloutId,
        /// How much longer.
        #[arg(long, value_parser = seconds)]
        by: u32,
    },
    /// Plan the way back: the release before, for the devices that switched to this one.
    WayBack {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Explain in words why a device has or has not an update.
    #[command(after_help = "Example:\n  waxwing rollout why th1-0001")]
    Why {
        /// The device.
        device: DeviceId,
    },
    /// List each device's part in a rollout.
    Deployments {
        /// The rollout.
        rollout: RolloutId,
        /// Deployments to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// List all rollouts.
    List {
        /// Rollouts to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Offer the release to no further device until resumed.
    Pause {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Plan a rollout. It does nothing until it is started.
    #[command(visible_alias = "create", after_help = PLAN_EXAMPLES)]
    Plan(Box<plan::Args>),
    /// Count the rollout again from the signed reports; exits 0 only if the counters agree.
    Recount {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Go on after a pause.
    Resume {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Start the first phase.
    Start {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Show the state, phases and counts of a rollout.
    Status {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Follow a rollout until it ends; exits 0 only if it finished.
    Watch {
        /// The rollout.
        rollout: RolloutId,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Approve { rollout } => change(&rollout, "approve", api, out).await,
        Command::Cancel { rollout } => change(&rollout, "cancel", api, out).await,
        Command::Deployments { rollout, limit } => {
            let path = format!("rollouts/{rollout}/deployments");
            let deployments = api.list(&path, &[], limit).await?;
            out.list(
                &deployments,
                &["device", "state", "code", "code_name", "attempt", "changed_at"],
            )
        }
        Command::Extend { rollout, by } => {
            let path = format!("rollouts/{rollout}/extend");
            let answer = api.post(&path, &json!({ "seconds": by })).await?;
            out.done(&format!("{rollout}: waits {by} seconds longer"), &answer)
        }
        Command::WayBack { rollout } => change(&rollout, "way-back", api, out).await,
        Command::Why { device } => {
            out.one(&api.get(&format!("devices/{device}/standing"), &[]).await?)
        }
        Command::List { limit } => {
            let rollouts = api.list("rollouts", &[], limit).await?;
            out.list(
                &rollouts,
                &["id", "state", "product", "channel", "version", "group", "members"],
            )
        }
        Command::Pause { rollout } => change(&rollout, "pause", api, out).await,
        Command::Plan(args) => plan::run(*args, api, out).await,
        Command::Recount { rollout } => recount(&rollout, api, out).await,
        Command::Resume { rollout } => change(&rollout, "resume", api, out).await,
        Command::Start { rollout } => change(&rollout, "start", api, out).await,
        Command::Status { rollout } => {
            out.one(&api.get(&format!("rollouts/{rollout}"), &[]).await?)
        }
        Command::Watch { rollout } => watch::run(&rollout, api, out).await,
    }
}

/// Shows the counters beside what the evidence says.
async fn recount(rollout: &RolloutId, api: &Api, out: Output) -> Result<(), Error> {
    let recount = api.get(&format!("rollouts/{rollout}/recount"), &[]).await?;
    out.one(&recount)?;
    match recount.get("equal").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Unequal(rollout.to_string())),
        None => Err(Error::Answer("it does not say whether the counters agree".to_owned())),
    }
}

/// Asks for a change of state; the server knows which are allowed.
async fn change(rollout: &RolloutId, verb: &str, api: &Api, out: Output) -> Result<(), Error> {
    let answer = api.act(&format!("rollouts/{rollout}/{verb}")).await?;
    out.done(&format!("{rollout}: {verb} is done"), &answer)
}
