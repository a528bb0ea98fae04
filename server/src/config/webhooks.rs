//! Where messages about rollouts may go, and whose certificates are believed there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::webhooks::reach::Network;

/// Messages to others about rollouts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Networks besides the public Internet that messages may go to, such as `10.1.0.0/16`. Whoever has
    /// an admin token can have the server send messages to any machine in them.
    pub allow_networks: Vec<Network>,
    /// PEM file of the certificate authorities that sign the certificates of receivers. Default: those
    /// of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Seconds a receiver has to answer, connection included.
    pub timeout_s: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        // Standard Webhooks asks for 15 to 30 seconds; messages behind it wait meanwhile.
        Self { allow_networks: Vec::new(), ca_file: None, timeout_s: 15 }
    }
}
