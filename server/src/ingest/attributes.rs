//! What a device says of itself: the object `attributes` in its telemetry, all of it each time.
//!
//! Telemetry with attributes that cannot be taken is telemetry still. Not here: which word counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use waxwing_wire::DeviceId;

use super::Ingest;
use crate::domain::Device;
use crate::domain::device::{Attributes, are_attributes};

/// The part of telemetry that the server understands.
#[derive(Deserialize)]
struct Telemetry {
    attributes: Option<BTreeMap<String, String>>,
}

impl Ingest {
    /// Returns a device as it describes itself in its telemetry, unless that is nothing new.
    pub(super) fn described(&self, id: &DeviceId, payload: &str, now_ms: u64) -> Option<Device> {
        let attributes = serde_json::from_str::<Telemetry>(payload);
        let reported = match attributes {
            Ok(Telemetry { attributes: None }) => return None,
            Ok(Telemetry { attributes: Some(attributes) }) if are_attributes(&attributes) => {
                attributes
            }
            Ok(_) | Err(_) => {
                tracing::warn!(device.id = %id, "attributes in telemetry are passed over");
                return None;
            }
        };
        let device = self.fleet.device(id)?;
        if device.attributes.reported == reported {
            return None;
        }
        let attributes = Attributes { reported, given: device.attributes.given.clone() };
        Some(self.fleet.changed(Device { attributes, ..Device::clone(&device) }, now_ms))
    }
}
