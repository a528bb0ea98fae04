//! Topic filters (MQTT 5, 4.7), as far as one can find anything here: every topic that is listened to is
//! `waxwing/v1/<device>/<kind>`.
//!
//! Not here: who may subscribe to what ([`scope`](super::scope)).

use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Direction, Kind, PREFIX};

use super::reason::Reason;

/// Longest filter in bytes: that of the longest device, and some to spare.
const FILTER_BYTES_MAX: usize = 256;

/// What stands for a level.
const ANY: &str = "+";
/// What stands for the rest.
const REST: &str = "#";

/// Which messages of devices a filter finds.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Filter {
    /// Those of one device, or of all.
    pub device: Option<DeviceId>,
    /// Those of one kind, or of all that devices send.
    pub kind: Option<Kind>,
}

impl Filter {
    /// Understands a filter.
    ///
    /// # Errors
    ///
    /// The reason to refuse it: it is none, or finds nothing that there is.
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        if text.starts_with("$share/") {
            return Err(Reason::SharedSubscriptionsNotSupported);
        }
        if !is_filter(text) {
            return Err(Reason::TopicFilterInvalid);
        }
        let mut levels = text.split('/');
        let mut prefix = PREFIX.trim_end_matches('/').split('/');
        let found = |found: Option<Self>| found.ok_or(Reason::NotAuthorized);
        loop {
            let Some(expected) = prefix.next() else { return found(device(levels)) };
            match levels.next() {
                Some(REST) => return Ok(Self { device: None, kind: None }),
                Some(level) if level == expected || level == ANY => {}
                Some(_) | None => return Err(Reason::NotAuthorized),
            }
        }
    }

    /// Tells whether it finds the messages of this kind of a device.
    pub fn finds(&self, device: &DeviceId, kind: Kind) -> bool {
        self.device.as_ref().is_none_or(|it| it == device) && self.kind.is_none_or(|it| it == kind)
    }
}

/// Reads the level of the device and those behind it.
fn device<'a>(mut levels: impl Iterator<Item = &'a str>) -> Option<Filter> {
    let device = match levels.next()? {
        REST => return Some(Filter { device: None, kind: None }),
        ANY => None,
        name => Some(DeviceId::parse(name).ok()?),
    };
    let kind = match levels.next()? {
        REST => return Some(Filter { device, kind: None }),
        ANY => None,
        name => Some(upward(name)?),
    };
    // "a/#" finds "a", too (MQTT 5, 4.7.1.2).
    match (levels.next(), levels.next()) {
        (None | Some(REST), None) => Some(Filter { device, kind }),
        _ => None,
    }
}

fn upward(name: &str) -> Option<Kind> {
    let is_it = |kind: &Kind| kind.direction() == Direction::Up && kind.as_str() == name;
    Kind::ALL.into_iter().find(is_it)
}

/// MQTT 5, 4.7.1 and 4.7.3: wildcards have a level for themselves, `#` the last one.
fn is_filter(text: &str) -> bool {
    let fits = (1..=FILTER_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
    let mut levels = text.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let is_plain = |level: &str| level == ANY || !level.contains(['+', '#']);
    fits && (last == REST || is_plain(last)) && levels.all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MQTT 5, 4.7.1, word by word.
    fn finds(filter: &str, topic: &str) -> bool {
        let (filter, topic): (Vec<_>, Vec<_>) =
            (filter.split('/').collect(), topic.split('/').collect());
        found(&filter, &topic)
    }

    fn found(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([filter, filters @ ..], [topic, topics @ ..]) => {
                (filter == topic || *filter == "+") && found(filters, topics)
            }
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }

    fn all_topics() -> impl Iterator<Item = (DeviceId, Kind)> {
        let devices = ["d-1", "d-2", "waxwing", "v1"].map(|name| DeviceId::parse(name).unwrap());
        let upward = Kind::ALL.into_iter().filter(|kind| kind.direction() == Direction::Up);
        let kinds: Vec<_> = upward.collect();
        devices.into_iter().flat_map(move |device| {
            kinds.clone().into_iter().map(move |kind| (device.clone(), kind))
        })
    }

    /// A filter that is understood finds what the specification says; one that is not finds nothing, or
    /// is none.
    fn check(text: &str) {
        let understood = Filter::parse(text);
        for (device, kind) in all_topics() {
            let expected = finds(text, &format!("waxwing/v1/{device}/{kind}"));
            match &understood {
                Ok(filter) => assert_eq!(filter.finds(&device, kind), expected, "{text}"),
                Err(Reason::NotAuthorized) => assert!(!expected, "{text} finds {device}/{kind}"),
                Err(_) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_the_specification_says(
            levels in prop::collection::vec(
                prop::sample::select(vec![
                    "waxwing", "v1", "d-1", "d-2", "telemetry", "state", "command", "+", "#", "", "a+", "x",
                ]),
                0..7,
            )
        ) {
            check(&levels.join("/"));
        }

        #[test]
        fn no_text_is_too_strange_for_a_filter(text in any::<String>()) {
            check(&text);
        }
    }

    #[test]
    fn what_is_usual_is_understood_and_the_rest_refused_with_its_reason() {
        for text in [
            "#",
            "waxwing/#",
            "waxwing/v1/#",
            "waxwing/v1/+/telemetry",
            "+/+/+/+",
            "waxwing/v1/d-1/#",
            "waxwing/v1/d-1/state",
            "waxwing/v1/d-1/state/#",
        ] {
            assert!(Filter::parse(text).is_ok(), "{text}");
            check(text);
        }
        let long = format!("waxwing/v1/{}/#", "x".repeat(FILTER_BYTES_MAX));
        for (text, reason) in [
            ("", Reason::TopicFilterInvalid),
            ("waxwing/#/state", Reason::TopicFilterInvalid),
            ("waxwing/v1/d+/state", Reason::TopicFilterInvalid),
            ("waxwing/v1/d-1/state#", Reason::TopicFilterInvalid),
            ("a\0b", Reason::TopicFilterInvalid),
            (&long, Reason::TopicFilterInvalid),
            ("$SYS/#", Reason::NotAuthorized),
            ("waxwing/v1/+/command", Reason::NotAuthorized),
            ("waxwing/v2/#", Reason::NotAuthorized),
            ("/waxwing/v1/#", Reason::NotAuthorized),
            ("device/d-1/data", Reason::NotAuthorized),
            ("$share/group/waxwing/#", Reason::SharedSubscriptionsNotSupported),
        ] {
            assert_eq!(Filter::parse(text), Err(reason), "{text}");
        }
    }
}
