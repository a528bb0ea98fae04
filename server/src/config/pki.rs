//! `[pki]`: what certificates say about this server.

use serde::{Deserialize, Serialize};

/// What certificates say about this server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pki {
    /// Where others find the list of revoked device certificates, as new certificates say. Default:
    /// `/crl/<device CA>.crl` on the listener `crl` under the first of `server_names`. Set it if others
    /// reach that listener under another name or port, or if a web server hands the list out; and set
    /// another one with another device CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_url: Option<String>,
}
