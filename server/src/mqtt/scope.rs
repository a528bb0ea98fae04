//! What a client may do: a device on its own topics, each in one direction; an operator listens.
//!
//! Not here: whether the client is known, or a message genuine.

use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Direction, Kind, Topic};

use super::filter::Filter;
use super::reason::Reason;

/// Who a client is, as its certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// A device.
    Device(DeviceId),
    /// Somebody with a certificate of the operator CA, by name.
    Operator(String),
}

/// What a client subscribes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subscription {
    /// The device's own commands.
    Commands,
    /// Messages of devices.
    Feed(Filter),
}

impl Scope {
    /// Returns what a message on `topic` is about, when the client may publish there. Nobody but the
    /// device itself may.
    pub(super) fn publish(&self, topic: &str) -> Option<Kind> {
        match self {
            Self::Device(device) => own(device, topic, Direction::Up),
            Self::Operator(_) => None,
        }
    }

    /// Returns what the client subscribes to with a filter. A device to its own commands only, and
    /// without wildcards, since a filter that covers more than it asks for hides a mistake.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub(super) fn subscribe(&self, filter: &str) -> Result<Subscription, Reason> {
        match self {
            Self::Device(device) => own(device, filter, Direction::Down)
                .map(|_| Subscription::Commands)
                .ok_or(Reason::NotAuthorized),
            Self::Operator(_) => Filter::parse(filter).map(Subscription::Feed),
        }
    }
}

fn own(device: &DeviceId, text: &str, direction: Direction) -> Option<Kind> {
    let topic = Topic::parse(text).or_else(|| Topic::parse_existing(text))?;
    (topic.device == *device && topic.kind.direction() == direction).then_some(topic.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Scope {
        Scope::Device(DeviceId::parse("d-1").unwrap())
    }

    #[test]
    fn a_device_publishes_upwards_on_its_own_topics_only() {
        for (topic, expected) in [
            ("waxwing/v1/d-1/report", Some(Kind::Report)),
            ("waxwing/v1/d-1/response", Some(Kind::Response)),
            ("waxwing/v1/d-1/state", Some(Kind::State)),
            ("waxwing/v1/d-1/telemetry", Some(Kind::Telemetry)),
            ("device/d-1/data", Some(Kind::Telemetry)),
            ("device/d-2/data", None),
            ("waxwing/v1/d-1/command", None),
            ("waxwing/v1/d-2/telemetry", None),
            ("waxwing/v1/d-1/telemetry/x", None),
            ("waxwing/v1/d-10/telemetry", None),
            ("$share/g/waxwing/v1/d-1/telemetry", None),
            ("", None),
        ] {
            assert_eq!(device().publish(topic), expected, "{topic}");
            let operator = Scope::Operator("d-1".to_owned());
            assert_eq!(operator.publish(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_device_subscribes_to_its_own_commands_only() {
        assert_eq!(device().subscribe("waxwing/v1/d-1/command"), Ok(Subscription::Commands));
        for foreign in [
            "#",
            "waxwing/v1/#",
            "waxwing/v1/+/command",
            "waxwing/v1/d-1/#",
            "waxwing/v1/d-1/+",
            "waxwing/v1/d-1/telemetry",
            "waxwing/v1/d-2/command",
            "$share/g/waxwing/v1/d-1/command",
            "$SYS/#",
        ] {
            assert_eq!(device().subscribe(foreign), Err(Reason::NotAuthorized), "{foreign}");
        }
    }
}
