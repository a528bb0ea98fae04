//! `waxwing group`: named sets of devices.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;
use waxwing_wire::{DeviceId, GroupId, ProductId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

const CREATE_EXAMPLES: &str = "\
Examples:
  waxwing group create lab --product th1 --tag site=lab
  waxwing group create pilots --product th1 --device th1-0001 --device th1-0002";

/// Subcommands of `waxwing group`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name a set of devices: these, or all that have certain tags.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The group.
        group: GroupId,
        /// The product of its devices.
        #[arg(long)]
        product: ProductId,
        /// A member; may be given several times.
        #[arg(long = "device", value_name = "DEVICE", required_unless_present = "tags")]
        devices: Vec<DeviceId>,
        /// A tag that every member has, today's and later ones; may be given several times.
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = input::pair, conflicts_with = "devices")]
        tags: Vec<(String, String)>,
    },
    /// List all groups.
    List {
        /// Groups to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Show one group.
    Show {
        /// The group.
        group: GroupId,
    },
}

/// The request that makes a group.
#[derive(Serialize)]
struct NewGroup {
    id: GroupId,
    product: ProductId,
    #[serde(flatten)]
    members: Members,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Members {
    Devices(Vec<DeviceId>),
    Tags(BTreeMap<String, String>),
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Create { group, product, devices, tags } => {
            let sentence = format!("made group {group}");
            let members = if tags.is_empty() {
                Members::Devices(devices)
            } else {
                Members::Tags(tags.into_iter().collect())
            };
            let request = NewGroup { id: group, product, members };
            out.done(&sentence, &api.post("groups", &request).await?)
        }
        Command::List { limit } => {
            let groups = api.list("groups", &[], limit).await?;
            out.list(&groups, &["id", "product", "tags", "devices"])
        }
        Command::Show { group } => out.one(&api.get(&format!("groups/{group}"), &[]).await?),
    }
}
