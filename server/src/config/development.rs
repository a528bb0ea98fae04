//! `[development]`: only in builds for development. Any other server refuses the section as unknown.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use waxwing_wire::DeviceId;

use super::{ConfigError, check};

/// What no server in production does.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Development {
    /// MQTT without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext_mqtt: Option<PlaintextMqtt>,
}

/// A listener on which nobody proves who they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlaintextMqtt {
    /// Where: an address of this machine that no other one reaches.
    pub listen: SocketAddr,
    /// As which device everybody there speaks and listens.
    pub device: DeviceId,
}

impl Development {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_here = self.plaintext_mqtt.as_ref().is_none_or(|it| it.listen.ip().is_loopback());
        check(is_here, "development.plaintext_mqtt.listen", "must be a loopback address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_listens_without_tls_where_others_could_come() {
        for (listen, is_good) in [
            ("127.0.0.1:1883", true),
            ("[::1]:1883", true),
            ("0.0.0.0:1883", false),
            ("[::]:1883", false),
            ("192.0.2.1:1883", false),
        ] {
            let device = "sensor_001".parse().unwrap();
            let plaintext = PlaintextMqtt { listen: listen.parse().unwrap(), device };
            let development = Development { plaintext_mqtt: Some(plaintext) };
            assert_eq!(development.check().is_ok(), is_good, "{listen}");
        }
    }
}
