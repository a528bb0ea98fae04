//! Which topics a device may use: its own, each in one direction.
//!
//! Not here: whether the device is known, or a message genuine.

use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Direction, Kind, Topic};

/// Returns what a message on `topic` is about, when `device` may publish there.
pub(super) fn publish(device: &DeviceId, topic: &str) -> Option<Kind> {
    own(device, topic, Direction::Up)
}

/// Returns whether `device` may subscribe with `filter`: only to its own commands, and without
/// wildcards, since a filter that covers more than it asks for hides a mistake.
pub(super) fn subscribe(device: &DeviceId, filter: &str) -> bool {
    own(device, filter, Direction::Down).is_some()
}

fn own(device: &DeviceId, text: &str, direction: Direction) -> Option<Kind> {
    let topic = Topic::parse(text).or_else(|| Topic::parse_existing(text))?;
    (topic.device == *device && topic.kind.direction() == direction).then_some(topic.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_publishes_upwards_on_its_own_topics_only() {
        let device = DeviceId::parse("d-1").unwrap();
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
            assert_eq!(publish(&device, topic), expected, "{topic}");
        }
    }

    #[test]
    fn a_device_subscribes_to_its_own_commands_only() {
        let device = DeviceId::parse("d-1").unwrap();
        assert!(subscribe(&device, "waxwing/v1/d-1/command"));
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
            assert!(!subscribe(&device, foreign), "{foreign}");
        }
    }
}
