//! What a client may do: a device on its own topics, each in one direction; an operator listens.
//!
//! Not here: whether the client is known, or a message genuine.

use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Direction, Kind, Topic};

use super::filter::Filter;
use super::grants::Readable;
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

    /// Returns what the client subscribes to with a filter. A device to its own commands, and to what it
    /// may read of others; without wildcards, since a filter that covers more than it asks for hides a
    /// mistake.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub(super) fn subscribe(
        &self,
        filter: &str,
        readable: &Readable,
    ) -> Result<Subscription, Reason> {
        match self {
            Self::Device(device) => own(device, filter, Direction::Down)
                .map(|_| Subscription::Commands)
                .or_else(|| granted(filter, readable).map(Subscription::Feed))
                .ok_or(Reason::NotAuthorized),
            Self::Operator(_) => Filter::parse(filter).map(Subscription::Feed),
        }
    }
}

fn granted(text: &str, readable: &Readable) -> Option<Filter> {
    let Topic { device, kind } = Topic::parse(text)?;
    let is_granted = readable.contains(&(device.clone(), kind));
    is_granted.then_some(Filter { device: Some(device), kind: Some(kind) })
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
            ("device/d-1/response", None),
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
        let none = Readable::new();
        for own in ["waxwing/v1/d-1/command", "device/d-1/response"] {
            assert_eq!(device().subscribe(own, &none), Ok(Subscription::Commands), "{own}");
        }
        for foreign in [
            "#",
            "waxwing/v1/#",
            "waxwing/v1/+/command",
            "waxwing/v1/d-1/#",
            "waxwing/v1/d-1/+",
            "waxwing/v1/d-1/telemetry",
            "waxwing/v1/d-2/command",
            "$share/g/waxwing/v1/d-1/command",
            "device/d-2/response",
            "device/+/response",
            "device/d-1/data",
            "$SYS/#",
        ] {
            let refused = device().subscribe(foreign, &none);
            assert_eq!(refused, Err(Reason::NotAuthorized), "{foreign}");
        }
    }

    #[test]
    fn a_device_subscribes_to_exactly_what_it_was_granted() {
        let other = DeviceId::parse("d-2").unwrap();
        let readable = Readable::from([(other.clone(), Kind::Telemetry)]);
        let feed = Filter { device: Some(other), kind: Some(Kind::Telemetry) };
        let subscribe = |filter| device().subscribe(filter, &readable);
        assert_eq!(subscribe("waxwing/v1/d-2/telemetry"), Ok(Subscription::Feed(feed)));
        for foreign in [
            "waxwing/v1/d-2/state",
            "waxwing/v1/d-2/command",
            "waxwing/v1/d-2/+",
            "waxwing/v1/d-2/#",
            "waxwing/v1/+/telemetry",
            "waxwing/v1/d-2/telemetry/#",
            "device/d-2/data",
            "waxwing/v1/d-3/telemetry",
        ] {
            assert_eq!(subscribe(foreign), Err(Reason::NotAuthorized), "{foreign}");
        }
    }
}
