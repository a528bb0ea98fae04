//! Configuration: one TOML file, overridden by environment variables, complete with defaults.
//!
//! Read once, at start, and never again; a reload is a restart. Secrets are not in here, they are
//! files in `secrets_dir`. A key nobody knows is an error: a typing mistake must not silently leave
//! a default in force.
//!
//! Every key has an environment variable: `WAXWING_SERVER__` and the path in upper case, joined by
//! two underscores, such as `WAXWING_SERVER__LISTEN__DEVICE=0.0.0.0:8443`. Values are TOML; what is
//! not TOML is taken as a string.

mod broker;
#[cfg(feature = "development")]
mod development;
mod limits;
mod log;
mod mail;
mod messages;
mod mqtt;
mod pki;
mod sinks;
mod source;
mod webhooks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::DnsName;
use serde::{Deserialize, Serialize};

pub use self::broker::Broker;
#[cfg(feature = "development")]
pub use self::development::{Development, PlaintextMqtt};
pub use self::limits::Limits;
pub use self::log::{Log, LogFormat};
pub use self::mail::{Mail, MailTls};
pub use self::messages::Messages;
pub use self::mqtt::Mqtt;
pub use self::pki::Pki;
pub use self::sinks::{DEVICE_PLACE, Sink};
pub use self::webhooks::Webhooks;

/// What every environment variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "WAXWING_SERVER__";

/// Longest life of a device certificate in days: ten years, as long as devices are in use, and well
/// within the thirty of the authority that signs it.
const CERTIFICATE_DAYS_MAX: u32 = 10 * 365;

/// Where the listener `crl` serves the lists of revoked device certificates.
pub const CRL_FOLDER: &str = "/crl/";

/// Longest address that is written into certificates.
const URL_CHARS_MAX: usize = 200;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of database, images, certificates and secrets. Made at first start.
    pub data_dir: PathBuf,
    /// Folder of the private keys. Default: `secrets` in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets_dir: Option<PathBuf>,
    /// DNS names and IP addresses under which devices, tools and operators reach this server.
    pub server_names: Vec<String>,
    /// Where to listen.
    pub listen: Listen,
    /// What devices are told when they poll.
    pub poll: Poll,
    /// Device certificates.
    pub identity: Identity,
    /// What certificates say about this server.
    pub pki: Pki,
    /// The Director's clock guard.
    pub director: Director,
    /// Bounds on what others can make the server do.
    pub limits: Limits,
    /// What is kept of what devices say.
    pub messages: Messages,
    /// A broker of others between devices and this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// How much one device may send.
    pub mqtt: Mqtt,
    /// Messages to others about rollouts.
    pub webhooks: Webhooks,
    /// E-mail about alerts.
    pub mail: Mail,
    /// Logging.
    pub log: Log,
    /// What no server in production does.
    #[cfg(feature = "development")]
    pub development: Development,
    /// Other systems that get what devices say.
    pub sinks: Vec<Sink>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/waxwing"),
            secrets_dir: None,
            server_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            listen: Listen::default(),
            poll: Poll::default(),
            identity: Identity::default(),
            pki: Pki::default(),
            director: Director::default(),
            limits: Limits::default(),
            messages: Messages::default(),
            broker: None,
            mqtt: Mqtt::default(),
            webhooks: Webhooks::default(),
            mail: Mail::default(),
            log: Log::default(),
            #[cfg(feature = "development")]
            development: Development::default(),
            sinks: Vec::new(),
        }
    }
}

/// Addresses of the listeners. Port 0 takes a free port; `<data_dir>/run/listeners.json` says which.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Polls, images and certificate renewal; client certificate required.
    pub device: SocketAddr,
    /// EST for devices that have no certificate yet (D12).
    pub enrol: SocketAddr,
    /// REST API and command line.
    pub admin: SocketAddr,
    /// MQTT over TLS; client certificate required.
    pub mqtt: SocketAddr,
    /// The list of revoked device certificates in plain HTTP, as RFC 5280 has it: it is signed, and for
    /// everybody. Certificates say its port.
    pub crl: SocketAddr,
    /// Health and metrics in plain HTTP: keep it on loopback or a private network.
    pub ops: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            device: everywhere(8443),
            enrol: everywhere(8444),
            admin: everywhere(8445),
            mqtt: everywhere(8883),
            crl: everywhere(8446),
            ops: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464),
        }
    }
}

/// What devices are told when they poll.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// Seconds until a device should poll again.
    pub retry_after_s: u32,
}

impl Default for Poll {
    fn default() -> Self {
        Self { retry_after_s: 15 * 60 }
    }
}

/// Device certificates.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Life of a device certificate in days, at most ten years.
    pub certificate_days: u32,
    /// Days after its end during which an expired certificate may still renew itself (D14).
    pub expired_grace_days: u32,
    /// Wrong enrolment tokens that one source address may send in a minute.
    pub wrong_tokens_per_minute: u32,
}

impl Default for Identity {
    fn default() -> Self {
        Self { certificate_days: 90, expired_grace_days: 730, wrong_tokens_per_minute: 10 }
    }
}

/// The Director's clock guard (D5).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Director {
    /// Seconds the wall clock may be ahead of the last signed time plus the time that verifiably
    /// passed since. After a restart of the *machine* no passing time can be verified, so a longer
    /// outage needs `--confirm-clock` once.
    pub clock_ahead_s: u64,
}

impl Default for Director {
    fn default() -> Self {
        Self { clock_ahead_s: 60 }
    }
}

impl Config {
    /// Reads the file, if one is given, then applies the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file or variable, and the key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = file.map_or_else(|| Ok(toml::Table::new()), source::read_file)?;
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                source::apply(&mut table, path, &value)
                    .and_then(|()| source::parse(table.clone()))
                    .map_err(|source| ConfigError::Variable { name: name.clone(), source })?;
            }
        }
        let config = source::parse(table).map_err(ConfigError::Defaults)?;
        config.check()?;
        Ok(config)
    }

    /// Returns the file that is read when none is named, if there is one.
    pub fn default_file(environment: &[(String, String)]) -> Option<PathBuf> {
        let base = environment.iter().find(|(name, _)| name == "XDG_CONFIG_HOME");
        let personal = base.map(|(_, base)| Path::new(base).join("waxwing/server.toml"));
        let files = [personal, Some(PathBuf::from("/etc/waxwing/server.toml"))];
        files.into_iter().flatten().find(|file| file.exists())
    }

    /// Writes the effective configuration as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// Returns the folder of the private keys.
    pub fn secrets_dir(&self) -> PathBuf {
        self.secrets_dir.clone().unwrap_or_else(|| self.data_dir.join("secrets"))
    }

    /// Returns where others find the list of revoked device certificates, a file of this name.
    pub fn crl_url(&self, file: &str) -> String {
        let by_name = || {
            let name = self.server_names.first().map_or("localhost", String::as_str);
            let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
            format!("http://{host}:{}{CRL_FOLDER}{file}", self.listen.crl.port())
        };
        self.pki.crl_url.clone().unwrap_or_else(by_name)
    }

    /// Tells whether nobody but this machine can follow [`Self::crl_url`], although devices of others
    /// are served: certificates would carry it for good.
    pub fn crl_is_out_of_reach(&self) -> bool {
        let name = self.server_names.first().map_or("localhost", String::as_str);
        let is_local_name = name == "localhost"
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_local = is_local_name || self.listen.crl.ip().is_loopback();
        self.pki.crl_url.is_none() && is_local && !self.listen.device.ip().is_loopback()
    }

    fn check(&self) -> Result<(), ConfigError> {
        check(!self.server_names.is_empty(), "server_names", "must hold at least one name")?;
        for name in &self.server_names {
            let known = name.parse::<IpAddr>().is_ok() || DnsName::try_from(name.as_str()).is_ok();
            check(known, "server_names", "must hold DNS names and IP addresses only")?;
        }
        let url = self.pki.crl_url.as_deref().unwrap_or("http://");
        // Every certificate carries it, and devices have small buffers.
        let fits = url.starts_with("http://") && url.is_ascii() && url.len() <= URL_CHARS_MAX;
        check(fits, "pki.crl_url", "must begin with http:// and have 200 characters at most")?;
        let days = self.identity.certificate_days;
        check(days <= CERTIFICATE_DAYS_MAX, "identity.certificate_days", "must be 3650 at most")?;
        self.messages.check()?;
        self.broker.as_ref().map_or(Ok(()), Broker::check)?;
        self.mqtt.check()?;
        self.mail.check()?;
        #[cfg(feature = "development")]
        self.development.check()?;
        sinks::check_all(&self.sinks)?;
        let positive = [
            (self.limits.connections > 0, "limits.connections"),
            (self.limits.mqtt_connections > 0, "limits.mqtt_connections"),
            (self.limits.connections_per_source > 0, "limits.connections_per_source"),
            (self.limits.handshakes_per_source > 0, "limits.handshakes_per_source"),
            (self.limits.handshake_s > 0, "limits.handshake_s"),
            (self.limits.request_head_s > 0, "limits.request_head_s"),
            (self.limits.connection_s > 0, "limits.connection_s"),
            (self.limits.image_bytes > 0, "limits.image_bytes"),
            (self.identity.certificate_days > 0, "identity.certificate_days"),
            (self.poll.retry_after_s > 0, "poll.retry_after_s"),
            (self.webhooks.timeout_s > 0, "webhooks.timeout_s"),
        ];
        positive.into_iter().try_for_each(|(ok, key)| check(ok, key, "must be more than 0"))
    }
}

impl Identity {
    /// Returns the life of a device certificate.
    pub fn certificate_life(&self) -> Duration {
        days(self.certificate_days)
    }

    /// Returns how long after its end a certificate may still renew itself.
    pub fn expired_grace(&self) -> Duration {
        days(self.expired_grace_days)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_hours(u64::from(count) * 24)
}

fn check(ok: bool, key: &'static str, rule: &'static str) -> Result<(), ConfigError> {
    if ok { Ok(()) } else { Err(ConfigError::Value { key, rule }) }
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Our own defaults do not hold together.
    #[error("the configuration does not fit together")]
    Defaults(#[source] toml::de::Error),
    /// The file is not TOML, or has a key or value that is not known.
    #[error("{path}: not a valid configuration")]
    File {
        /// The file.
        path: PathBuf,
        /// Names line, key and what was expected.
        source: toml::de::Error,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value is of the right type but makes no sense.
    #[error("configuration key `{key}` {rule}")]
    Value {
        /// The key with its sections.
        key: &'static str,
        /// What it must obey.
        rule: &'static str,
    },
    /// An environment variable names no key, or has a wrong value.
    #[error("environment variable {name}: not a valid setting")]
    Variable {
        /// The variable.
        name: String,
        /// Names the key and what was expected.
        source: toml::de::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(&path), environment)
    }

    fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
        let error = load(text, environment).unwrap_err();
        format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(load("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let text = Config::default().to_toml().unwrap();
        assert_eq!(load(&text, &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = load(
            "server_names = ['a.example']\n[poll]\nretry_after_s = 5",
            &[
                ("WAXWING_SERVER__POLL__RETRY_AFTER_S", "7"),
                ("WAXWING_SERVER__LISTEN__OPS", "127.0.0.1:0"),
                ("WAXWING_SERVER__SERVER_NAMES", "['b.example', '10.0.0.1']"),
                ("WAXWING_SERVER__DATA_DIR", "/srv/waxwing"),
                ("UNRELATED", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.poll.retry_after_s, 7);
        assert_eq!(config.listen.ops.to_string(), "127.0.0.1:0");
        assert_eq!(config.server_names, ["b.example", "10.0.0.1"]);
        assert_eq!(config.data_dir, Path::new("/srv/waxwing"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file() {
        let message = refusal("[listen]\ndevise = '0.0.0.0:1'", &[]);
        assert!(message.contains("server.toml"), "{message}");
        assert!(message.contains("devise"), "{message}");
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let message = refusal("", &[("WAXWING_SERVER__POLL__RETRY", "1")]);
        assert!(message.contains("WAXWING_SERVER__POLL__RETRY"), "{message}");
        assert!(message.contains("`retry`"), "{message}");
    }

    #[test]
    fn a_list_that_only_this_machine_can_fetch_is_out_of_reach() {
        for (text, expected) in [
            ("", true),
            ("listen = { device = '127.0.0.1:8443' }", false),
            ("server_names = ['ota.example']", false),
            ("server_names = ['ota.example']\nlisten = { crl = '[::1]:8446' }", true),
            ("server_names = ['127.0.0.2', 'ota.example']", true),
            ("pki = { crl_url = 'http://ca.example/device.crl' }", false),
        ] {
            assert_eq!(load(text, &[]).unwrap().crl_is_out_of_reach(), expected, "{text}");
        }
        let config =
            load("server_names = ['2001:db8::1']\nlisten = { crl = '[::]:81' }", &[]).unwrap();
        assert_eq!(config.crl_url("x.crl"), "http://[2001:db8::1]:81/crl/x.crl");
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (text, key) in [
            ("server_names = []", "server_names"),
            ("server_names = ['a b']", "server_names"),
            ("[poll]\nretry_after_s = 0", "poll.retry_after_s"),
            ("[limits]\nhandshake_s = 0", "limits.handshake_s"),
            ("[identity]\ncertificate_days = 3651", "identity.certificate_days"),
            ("[pki]\ncrl_url = 'ftp://ca.example/device.crl'", "pki.crl_url"),
        ] {
            let message = refusal(text, &[]);
            assert!(message.contains(key), "{text}: {message}");
        }
    }
}
