//! `waxwing group`: named sets of devices.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};
use waxwing_wire::{DeviceId, GroupId, ProductId};

use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::output::Output;

/// Longest query in bytes that is sent in an address; proxies take 8 KiB, and what is escaped is three times
/// as long.
const QUERY_IN_ADDRESS_BYTES_MAX: usize = 2000;

const CREATE_EXAMPLES: &str = "\
Examples:
  waxwing group create lab --product th1 --tag site=lab
  waxwing group create behind --product th1 --query 'tag==canary and version=lt=1.4.0'
  waxwing group create pilots --product th1 --device th1-0001 --device th1-0002";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  waxwing group preview 'tag==canary;version=lt=1.4.0'
  waxwing group preview 'controllerId==th1-* and attribute.region=in=(eu,uk)' --product th1

docs/groups.md describes the language: RSQL, with the names of hawkBit and our own.";

/// Subcommands of `waxwing group`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name a set of devices: these, all that have certain tags, or whoever a query finds.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The group.
        group: GroupId,
        /// The product of its devices.
        #[arg(long)]
        product: ProductId,
        /// A member; may be given several times.
        #[arg(long = "device", value_name = "DEVICE", required_unless_present_any = ["tags", "query"])]
        devices: Vec<DeviceId>,
        /// A tag that every member has, today's and later ones; may be given several times.
        #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = input::tag, conflicts_with = "devices")]
        tags: Vec<(String, String)>,
        /// Whoever this finds, today and later.
        #[arg(long, conflicts_with_all = ["devices", "tags"])]
        query: Option<String>,
        /// What to say of it.
        #[arg(long)]
        description: Option<String>,
    },
    /// Change who belongs to a group, or what is said of it. Refused while a rollout is under way for it.
    #[command(after_help = "Example:\n  waxwing group edit behind --query 'version=lt=1.5.0' \
        --description 'what support asks for'")]
    Edit {
        /// The group.
        group: GroupId,
        /// A member; may be given several times. These take the place of all others.
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<DeviceId>,
        /// A tag that every member has; may be given several times.
        #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = input::tag, conflicts_with = "devices")]
        tags: Vec<(String, String)>,
        /// Whoever this finds, today and later.
        #[arg(long, conflicts_with_all = ["devices", "tags"])]
        query: Option<String>,
        /// What to say of it.
        #[arg(long, required_unless_present_any = ["devices", "tags", "query"])]
        description: Option<String>,
    },
    /// List all groups.
    List {
        /// Groups to show.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Show whom a query finds now, and what each part of it finds by itself.
    #[command(after_help = PREVIEW_EXAMPLES)]
    Preview {
        /// The query.
        query: String,
        /// Only devices of this product.
        #[arg(long)]
        product: Option<ProductId>,
        /// Devices to show, 1 to 1000.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

/// The request that changes one.
#[derive(Serialize)]
struct GroupEdit {
    #[serde(flatten)]
    members: Option<Members>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Members {
    Devices(Vec<DeviceId>),
    Query(String),
    Tags(BTreeMap<String, String>),
}

/// Runs one of them.
pub(crate) async fn run(command: Command, api: &Api, out: Output) -> Result<(), Error> {
    match command {
        Command::Create { group, product, devices, tags, query, description } => {
            let sentence = format!("made group {group}");
            let asked = query.clone().unwrap_or_default();
            let members = members(devices, tags, query);
            let request = NewGroup { id: group, product, members, description };
            let answer = api.post("groups", &request).await;
            out.done(&sentence, &answer.map_err(|error| error.in_query(&asked))?)
        }
        Command::Edit { group, devices, tags, query, description } => {
            let asked = query.clone().unwrap_or_default();
            let has_members = query.is_some() || !devices.is_empty() || !tags.is_empty();
            let members = has_members.then(|| members(devices, tags, query));
            let request = GroupEdit { members, description };
            let answer = api.patch(&format!("groups/{group}"), &request).await;
            let answer = answer.map_err(|error| error.in_query(&asked))?;
            out.done(&format!("changed group {group}"), &answer)
        }
        Command::List { limit } => {
            let groups = api.list("groups", &[], limit).await?;
            out.list(&groups, &["id", "product", "query", "tags", "devices", "description"])
        }
        Command::Preview { query, product, limit } => {
            let search = json!({ "query": query, "limit": limit, "product": product });
            let limit = limit.to_string();
            let mut asked = vec![("query", query.as_str()), ("limit", limit.as_str())];
            asked.extend(product.as_ref().map(|product| ("product", product.as_str())));
            let answer = if query.len() > QUERY_IN_ADDRESS_BYTES_MAX {
                api.post("groups/preview", &search).await
            } else {
                api.get("groups/preview", &asked).await
            };
            preview(out, &answer.map_err(|error| error.in_query(&query))?)
        }
        Command::Show { group } => out.one(&api.get(&format!("groups/{group}"), &[]).await?),
    }
}

fn members(devices: Vec<DeviceId>, tags: Vec<(String, String)>, query: Option<String>) -> Members {
    match query {
        Some(query) => Members::Query(query),
        None if tags.is_empty() => Members::Devices(devices),
        None => Members::Tags(tags.into_iter().collect()),
    }
}

/// Prints what was found: the sum, each part of the query, and some of the devices.
fn preview(out: Output, answer: &Value) -> Result<(), Error> {
    if out == Output::Json {
        return out.one(answer);
    }
    let items = |field| answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |field| answer.get(field).and_then(Value::as_u64).unwrap_or_default();
    out.list(&items("terms"), &["count", "term"])?;
    out.say(&format!("\n{} of {} devices\n", number("count"), number("of")))?;
    out.list(&items("devices"), &["id", "product", "status", "version", "tags", "attributes"])
}
