//! A broker of others between devices and this server: the section `[broker]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{ConfigError, check};
use crate::ingest::FRESH_S;

/// Longest time in seconds for which a broker may keep messages: ids of messages are kept twice as long,
/// whatever room there is for them.
const KEPT_S_MAX: u64 = 24 * 3600;

/// Longest names in bytes: brokers may allow few.
const NAME_BYTES_MAX: usize = 64;

/// A broker.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Where it is: `mqtts://host:port`.
    pub url: String,
    /// PEM file of the certificate authorities that sign its certificate.
    pub ca_file: PathBuf,
    /// PEM file of the certificate that this process shows.
    pub cert_file: PathBuf,
    /// The key of that certificate.
    pub key_file: PathBuf,
    /// By which name the broker knows this process, each by another one, where it does not take the name of
    /// the certificate. With a sign in it that no name of a device has.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// Name of the shared subscription: all processes with the same one divide the messages. With an empty
    /// one this process gets them all.
    #[serde(default = "default_group")]
    pub group: String,
    /// Seconds for which the broker may keep a message while no process takes it; one that is older is
    /// refused.
    #[serde(default = "default_kept_s")]
    pub kept_s: u64,
}

fn default_client_id() -> String {
    "server:1".to_owned()
}

fn default_group() -> String {
    "waxwing".to_owned()
}

const fn default_kept_s() -> u64 {
    FRESH_S
}

impl Broker {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rule = "must be mqtts:// with a host, and hold no user or password";
        check(self.address().is_some(), "broker.url", rule)?;
        let is_name = |name: &str| {
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
            fits && name.bytes().all(|it| it.is_ascii_graphic() && !b"+#/".contains(&it))
        };
        let rule = "must be 1 to 64 signs of ASCII without `+`, `#` and `/`";
        check(self.group.is_empty() || is_name(&self.group), "broker.group", rule)?;
        check(is_name(&self.client_id), "broker.client_id", rule)?;
        let is_long = (FRESH_S..=KEPT_S_MAX).contains(&self.kept_s);
        check(is_long, "broker.kept_s", "must be 300 to 86400")
    }

    /// Returns where it is, if that may be.
    pub fn address(&self) -> Option<Url> {
        let url = Url::parse(&self.url).ok()?;
        let is_open = !url.username().is_empty() || url.password().is_some();
        (url.scheme() == "mqtts" && url.has_host() && !is_open).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn load(more: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        let files = "ca_file = 'a'\ncert_file = 'b'\nkey_file = 'c'\n";
        std::fs::write(&path, format!("[broker]\n{files}{more}")).unwrap();
        Config::load(Some(&path), []).map_err(|error| error.to_string())
    }

    #[test]
    fn a_broker_is_reached_over_tls_only_and_by_names_that_it_can_have() {
        let config = load("url = 'mqtts://broker.example:8884'").unwrap();
        let printed: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!(printed, config);
        for (text, key) in [
            ("url = 'mqtt://127.0.0.1:1883'", "broker.url"),
            ("url = 'mqtts://user:secret@broker.example'", "broker.url"),
            ("url = 'mqtts://b.example'\ngroup = 'a/b'", "broker.group"),
            ("url = 'mqtts://b.example'\nclient_id = '#'", "broker.client_id"),
            ("url = 'mqtts://b.example'\nkept_s = 299", "broker.kept_s"),
        ] {
            let message = load(text).unwrap_err();
            assert!(message.contains(&format!("`{key}`")), "{text}: {message}");
        }
        assert!(load("url = 'mqtts://b.example'\nport = 1").is_err());
    }
}
