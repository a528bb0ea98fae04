//! `waxwing rollout plan`: what is to happen, from the command line or a file.
//!
//! What is not said here the server decides; its defaults are in its answer. Not here: any rule, the
//! server checks them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use semver::Version;
use serde::Serialize;
use serde_json::{Map, Value, json};
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

use crate::api::Api;
use crate::error::Error;
use crate::input::{self, seconds};
use crate::output::Output;

/// Arguments of `waxwing rollout plan`.
#[derive(clap::Args)]
pub(crate) struct Args {
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
    /// The whole plan as JSON, instead of the options below.
    #[arg(long, value_name = "FILE", conflicts_with = "Choices")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    choices: Choices,
    /// Draft nothing; show which devices would get the release, and why others would not.
    #[arg(long)]
    dry_run: bool,
}

/// What operators choose most.
#[derive(clap::Args)]
#[group(multiple = true)]
struct Choices {
    /// Whom each phase reaches, rising: `10` or `10%` of the group, `50d` devices, `@lab` another group.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<Reach>,
    /// Share of a phase that must certainly become healthy before the next begins, in percent.
    #[arg(long, value_parser = permille)]
    healthy_percent: Option<u16>,
    /// Share of a phase that may certainly fail before the rollout halts, in percent.
    #[arg(long, value_parser = permille)]
    failed_percent: Option<u16>,
    /// How many devices of a phase must have become healthy at least.
    #[arg(long)]
    sample: Option<u32>,
    /// How long an image must stay well before its device counts as healthy.
    #[arg(long, value_parser = seconds)]
    soak: Option<u32>,
    /// Somebody else must approve before each further phase.
    #[arg(long)]
    approval: bool,
    /// How many devices may be lost before it is known whether the release is good.
    #[arg(long)]
    risk: Option<u32>,
    /// How many devices may be in flight at most.
    #[arg(long, value_name = "DEVICES")]
    in_flight: Option<u32>,
    /// When devices may be interrupted, in their own time, such as `Mon,Tue 22:00-04:00`; may be repeated.
    #[arg(long = "window")]
    windows: Vec<String>,
    /// Offer nothing before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = unix_ms)]
    not_before: Option<u64>,
    /// How much may be sent, in Mbit/s.
    #[arg(long, value_name = "MBIT")]
    bandwidth: Option<f64>,
    /// How often a device is offered a release that it does not take, or whose download fails.
    #[arg(long)]
    tries: Option<u32>,
    /// The release closes a hole: no window and no user holds it up.
    #[arg(long, conflicts_with = "deferrable")]
    security: bool,
    /// A device's user may put the restart off this often, for a day at most at once.
    #[arg(long, value_name = "TIMES")]
    deferrable: Option<u8>,
    /// Until when a device's user may put the restart off (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = unix_ms, requires = "deferrable")]
    deferrable_until: Option<u64>,
    /// Decides between two rollouts that reach the same device: the higher one goes first.
    #[arg(long)]
    priority: Option<u8>,
    /// A release that devices which are older must run in between; may be repeated, oldest first.
    #[arg(long = "step", value_name = "VERSION")]
    steps: Vec<Version>,
    /// Go on when everybody has come to an end, for devices that join the group later.
    #[arg(long)]
    open_ended: bool,
}

/// Whom a phase reaches.
#[derive(Clone)]
enum Reach {
    Percent(u8),
    Count(u32),
    Group(GroupId),
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
    plan: Value,
}

/// Drafts a rollout, or shows what it would do.
pub(super) async fn run(args: Args, api: &Api, out: Output) -> Result<(), Error> {
    let plan = match &args.plan {
        Some(path) => serde_json::from_str(&input::file(path)?)
            .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?,
        None => args.choices.plan(),
    };
    let request = NewRollout {
        id: args.id,
        product: args.product,
        channel: args.channel,
        version: args.release,
        group: args.group,
        plan,
    };
    if args.dry_run {
        return out.one(&api.post("rollouts/dry-run", &request).await?);
    }
    out.one(&api.post("rollouts", &request).await?)
}

impl Choices {
    /// Returns the plan with what was chosen, and nothing else.
    fn plan(self) -> Value {
        let gate = self.gate();
        let everybody = vec![Reach::Percent(100)];
        let phases = if self.phases.is_empty() { everybody } else { self.phases };
        let phase = |reach: &Reach| json!({ "size": reach.size(), "gate": gate });
        let urgency = match (self.security, self.deferrable) {
            (true, _) => Some(json!("security")),
            (false, Some(times)) => {
                Some(json!({ "deferrable": { "times": times, "until": self.deferrable_until } }))
            }
            (false, None) => None,
        };
        let bytes_per_s = self.bandwidth.map(|mbit| json!((mbit * 125_000.0).round()));
        let some = |value: Option<u64>| value.map(Value::from);
        chosen([
            ("phases", Some(phases.iter().map(phase).collect())),
            ("risk", some(self.risk.map(u64::from))),
            ("in_flight_max", some(self.in_flight.map(u64::from))),
            ("windows", (!self.windows.is_empty()).then(|| json!(self.windows))),
            ("not_before", some(self.not_before)),
            ("bytes_per_s", bytes_per_s.as_ref().and_then(whole)),
            ("tries_max", some(self.tries.map(u64::from))),
            ("urgency", urgency),
            ("priority", some(self.priority.map(u64::from))),
            ("stepping_stones", (!self.steps.is_empty()).then(|| json!(self.steps))),
            ("open_ended", self.open_ended.then_some(Value::Bool(true))),
        ])
    }

    fn gate(&self) -> Value {
        chosen([
            ("healthy_permille", self.healthy_percent.map(Value::from)),
            ("failed_permille", self.failed_percent.map(Value::from)),
            ("sample_min", self.sample.map(Value::from)),
            ("soak_s", self.soak.map(Value::from)),
            ("approval", self.approval.then_some(Value::Bool(true))),
        ])
    }
}

fn chosen<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let chosen = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(chosen.collect::<Map<_, _>>())
}

/// Returns a number without a fraction as one that has none in JSON either.
fn whole(number: &Value) -> Option<Value> {
    format!("{:.0}", number.as_f64()?).parse::<u64>().ok().map(Value::from)
}

impl Reach {
    fn size(&self) -> Value {
        match self {
            Self::Percent(percent) => json!({ "percent": percent }),
            Self::Count(devices) => json!({ "count": devices }),
            Self::Group(group) => json!({ "group": group }),
        }
    }
}

impl FromStr for Reach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const USAGE: &str = "a phase is `10` or `10%`, `50d` devices, or `@group`";
        if let Some(group) = text.strip_prefix('@') {
            return GroupId::parse(group).map(Self::Group).map_err(|_| USAGE);
        }
        if let Some(devices) = text.strip_suffix('d') {
            return devices.parse().map(Self::Count).map_err(|_| USAGE);
        }
        let percent = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| USAGE)?;
        Some(percent).filter(|percent| (1..=100).contains(percent)).map(Self::Percent).ok_or(USAGE)
    }
}

/// Parses percent such as `95` or `99.5` into thousandths.
fn permille(text: &str) -> Result<u16, String> {
    const USAGE: &str = "a share is 0 to 100 percent, with one decimal at most";
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let (whole, tenth) = (whole.parse::<u16>(), tenth.parse::<u16>());
    let (Ok(whole), Ok(tenth)) = (whole, tenth) else { return Err(USAGE.to_owned()) };
    let thousandths = whole.checked_mul(10).and_then(|it| it.checked_add(tenth));
    thousandths.filter(|it| tenth < 10 && *it <= 1000).ok_or_else(|| USAGE.to_owned())
}

/// Parses a time such as `2026-12-01T08:00:00Z` into Unix milliseconds.
fn unix_ms(text: &str) -> Result<u64, String> {
    let time: SystemTime = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_to_the_tenth_of_a_percent() {
        assert_eq!([permille("95"), permille("99.5"), permille("0")], [Ok(950), Ok(995), Ok(0)]);
        for bad in ["", "101", "100.1", "9.55", "-1", "x"] {
            assert!(permille(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_phase_is_a_share_a_number_or_a_group() {
        let size = |text: &str| text.parse::<Reach>().map(|reach| reach.size());
        assert_eq!(size("10"), Ok(json!({ "percent": 10 })));
        assert_eq!(size("10%"), Ok(json!({ "percent": 10 })));
        assert_eq!(size("50d"), Ok(json!({ "count": 50 })));
        assert_eq!(size("@lab"), Ok(json!({ "group": "lab" })));
        for bad in ["", "0", "101", "@", "d", "x"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
