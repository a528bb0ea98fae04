//! MQTT topics: `waxwing/v1/<device>/<kind>`, made and parsed here and nowhere else.

use alloc::string::String;
use core::fmt;

use crate::id::DeviceId;

/// What every topic begins with.
pub const PREFIX: &str = "waxwing/v1/";

/// What the topics of existing devices begin with: `device/<device>/data` is their telemetry,
/// `device/<device>/response` what they are told.
pub const EXISTING_PREFIX: &str = "device/";
/// What they end with, by what they are about.
const EXISTING: [(&str, Kind); 2] = [("data", Kind::Telemetry), ("response", Kind::Command)];

/// The last level of a topic: what a message is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Server to device: do something.
    Command,
    /// Device to server: a change of a deployment.
    Report,
    /// Device to server: the answer to a command.
    Response,
    /// Device to server: on line or off line; also the topic of the will.
    State,
    /// Device to server: readings and health.
    Telemetry,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Command, Self::Report, Self::Response, Self::State, Self::Telemetry];

    /// Returns the topic level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Report => "report",
            Self::Response => "response",
            Self::State => "state",
            Self::Telemetry => "telemetry",
        }
    }

    /// Returns who may publish on the topic.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Command => Direction::Down,
            Self::Report | Self::Response | Self::State | Self::Telemetry => Direction::Up,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a message goes; part of the signed bytes, so no message can be turned around.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Server to device.
    Down,
    /// Device to server.
    Up,
}

impl Direction {
    /// Returns the word in the signed bytes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// A topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Whose topic it is.
    pub device: DeviceId,
    /// What its messages are about.
    pub kind: Kind,
}

impl Topic {
    /// Parses a topic name. Filters with wildcards are not topic names and give `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, kind) = text.strip_prefix(PREFIX)?.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind)?;
        Some(Self { device: DeviceId::parse(device).ok()?, kind })
    }

    /// Parses a topic name of an existing device.
    pub fn parse_existing(text: &str) -> Option<Self> {
        let (device, kind) = text.strip_prefix(EXISTING_PREFIX)?.split_once('/')?;
        let device = DeviceId::parse(device).ok()?;
        let (_, kind) = EXISTING.into_iter().find(|(name, _)| *name == kind)?;
        Some(Self { device, kind })
    }

    /// Returns what existing devices call the topic, if they have a name for it.
    pub fn existing_name(&self) -> Option<String> {
        let (name, _) = EXISTING.into_iter().find(|(_, kind)| *kind == self.kind)?;
        Some(alloc::format!("{EXISTING_PREFIX}{}/{name}", self.device))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.device, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_the_round_trip() {
        for kind in Kind::ALL {
            let topic = Topic { device: DeviceId::parse("d-1").unwrap(), kind };
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn existing_devices_have_one_topic_for_each_direction() {
        let device = DeviceId::parse("sensor_001").unwrap();
        for (name, kind) in [
            ("device/sensor_001/data", Kind::Telemetry),
            ("device/sensor_001/response", Kind::Command),
        ] {
            let topic = Topic { device: device.clone(), kind };
            assert_eq!(topic.existing_name().as_deref(), Some(name));
            assert_eq!(Topic::parse_existing(name), Some(topic));
        }
        assert_eq!(Topic { device, kind: Kind::Report }.existing_name(), None);
        for bad in ["device/+/data", "device/+/response", "device/a/command", "device/a/data/x"] {
            assert_eq!(Topic::parse_existing(bad), None, "{bad}");
        }
    }

    #[test]
    fn wildcards_and_foreign_topics_are_no_topics() {
        for bad in [
            "waxwing/v1/+/report",
            "waxwing/v1/#",
            "waxwing/v1/d-1/report/x",
            "waxwing/v1/d-1/",
            "waxwing/v1/d-1",
            "waxwing/v2/d-1/report",
            "/waxwing/v1/d-1/report",
            "waxwing/v1/../report",
            "$SYS/broker",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
    }
}
