//! `waxwing rollout`: bring a release to a group, in phases, and see how it goes.

mod watch;

use clap::Subcommand;
use semver::Version;
use serde::Serialize;
use serde_json::Value;
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

const CREATE_EXAMPLES: &str = "\
Examples:
  waxwing rollout create --product th1 --channel stable --release 1.1.0 --group lab --phases 10,50,100
  waxwing rollout create --product th1 --channel beta --release 1.2.0 --group pilots --soak 10m";

/// Subcommands of `waxwing rollout`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// End a rollout; devices that have not activated the release are no longer offered it.
    Cancel {
        /// The rollout.
        rollout: RolloutId,
    },
    /// Plan a rollout. It does nothing until it is started.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
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

/// Arguments of `waxwing rollout create`.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// Its name; the server makes one up when there is none.
    #[arg(long)]
    id: Option<RolloutId>,
    /// The product.
    #[arg(long)]
    product: ProductId,
    /// The channel that lists the release.
    #[arg(long)]
    channel: Channel,
    /// The version of the release.
    #[arg(long)]
    release: Version,
    /// The devices.
    #[arg(long)]
    group: GroupId,
    /// Share of the group that each phase reaches, in percent, rising.
    #[arg(long, value_delimiter = ',', default_value = "100", value_parser = clap::value_parser!(u8).range(1..=100))]
    phases: Vec<u8>,
    /// Share of a phase that must be healthy before the next begins, in percent.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    healthy_percent: u8,
    /// Share of a phase that may fail before the rollout halts, in percent.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    failed_percent: u8,
    /// How long an image must stay well before its device counts as healthy.
    #[arg(long, default_value = "60s", value_parser = seconds)]
    soak: u32,
}

/// The request that plans a rollout.
#[derive(Serialize)]
struct NewRollout {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RolloutId>,
    product: ProductId,
    channel: Channel,
    version: Version,
    group: GroupId,
    phases: Vec<Phase>,
    gate: Gate,
    soak_s: u32,
}

#[derive(Serialize)]
struct Phase {
    percent: u8,
}

#[derive(Serialize)]
struct Gate {
    healthy_percent: u8,
    failed_percent: u8,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Cancel { rollout } => change(&rollout, "cancel", api, out).await,
        Command::Create(args) => create(*args, api, out).await,
        Command::Deployments { rollout, limit } => {
            let path = format!("rollouts/{rollout}/deployments");
            let deployments = api.list(&path, &[], limit).await?;
            out.list(
                &deployments,
                &["device", "state", "code", "code_name", "attempt", "changed_at"],
            )
        }
        Command::List { limit } => {
            let rollouts = api.list("rollouts", &[], limit).await?;
            out.list(
                &rollouts,
                &["id", "state", "product", "channel", "version", "group", "members"],
            )
        }
        Command::Pause { rollout } => change(&rollout, "pause", api, out).await,
        Command::Recount { rollout } => recount(&rollout, api, out).await,
        Command::Resume { rollout } => change(&rollout, "resume", api, out).await,
        Command::Start { rollout } => change(&rollout, "start", api, out).await,
        Command::Status { rollout } => {
            out.one(&api.get(&format!("rollouts/{rollout}"), &[]).await?)
        }
        Command::Watch { rollout } => watch::run(&rollout, api, out).await,
    }
}

async fn create(args: Create, api: &Api, out: Output) -> Result<(), Error> {
    let request = NewRollout {
        id: args.id,
        product: args.product,
        channel: args.channel,
        version: args.release,
        group: args.group,
        phases: args.phases.into_iter().map(|percent| Phase { percent }).collect(),
        gate: Gate { healthy_percent: args.healthy_percent, failed_percent: args.failed_percent },
        soak_s: args.soak,
    };
    out.one(&api.post("rollouts", &request).await?)
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

/// Parses a duration such as `90s` or `10m` into whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u32::try_from(duration.as_secs()).map_err(|_| "longer than 136 years".to_owned())
}
