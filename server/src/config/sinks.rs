//! Who else gets what devices say: the sections `[[sinks]]`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use waxwing_wire::{ProductId, SinkId};

use super::{ConfigError, check};
use crate::domain::sink::{SINKS_MAX, Subject, System};

/// Longest time in seconds that a sink has to answer: what waits behind it must not wait for ever.
const TIMEOUT_S_MAX: u64 = 120;

/// Longest prefix of topics in bytes: brokers may allow few levels and short names.
const TOPIC_PREFIX_BYTES_MAX: usize = 128;

/// What stands for the name of the device in an address.
pub const DEVICE_PLACE: &str = "{device}";

/// A sink.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its name. A sink of another name begins anew.
    pub name: SinkId,
    /// What it is: `http`, `influxdb` or `mqtt`.
    pub kind: System,
    /// Where it is: `https://` for `http`, where `{device}` stands for the name of the device, and for
    /// `influxdb`, with the path and query of a write; `mqtts://host:8883` for `mqtt`. Without TLS only on
    /// this machine.
    pub url: String,
    /// User name. For `influxdb` and `http` the token is its password then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File of the token or password, for its owner only; a name without a folder lies in `secrets_dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the certificate authorities that sign the certificate of the sink. Default: those of the
    /// system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Only what devices of these products say; of all if there are none.
    #[serde(default)]
    pub products: BTreeSet<ProductId>,
    /// What messages are about: `telemetry`, `response`.
    #[serde(default = "default_messages")]
    pub messages: Vec<Subject>,
    /// For `influxdb`: the name of the measurement of numbers; that of texts ends with `_text`.
    #[serde(default = "default_measurement")]
    pub measurement: String,
    /// For `mqtt`: what comes before the topics that devices use here.
    #[serde(default)]
    pub topic_prefix: String,
    /// For `mqtt`: PEM files of a client certificate and its key, both or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Seconds that the sink has to answer.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Whether a new sink gets all messages that are kept, and not only those from now on.
    #[serde(default)]
    pub backfill: bool,
}

fn default_messages() -> Vec<Subject> {
    vec![Subject::Telemetry]
}

fn default_measurement() -> String {
    "telemetry".to_owned()
}

const fn default_timeout_s() -> u64 {
    15
}

/// Checks all sinks.
pub(super) fn check_all(sinks: &[Sink]) -> Result<(), ConfigError> {
    check(sinks.len() <= SINKS_MAX, "sinks", "may be 16 at most")?;
    let names: BTreeSet<_> = sinks.iter().map(|sink| &sink.name).collect();
    check(names.len() == sinks.len(), "sinks.name", "must be there once")?;
    sinks.iter().try_for_each(Sink::check)
}

impl Sink {
    fn check(&self) -> Result<(), ConfigError> {
        let rule = "must begin with https:// (mqtts:// for mqtt), or lead to this machine, \
                    and hold no password";
        check(self.address().is_some(), "sinks.url", rule)?;
        check(!self.messages.is_empty(), "sinks.messages", "must name something")?;
        let name: Result<SinkId, _> = self.measurement.parse();
        check(name.is_ok(), "sinks.measurement", "must be a name of letters, digits, `_`, `-`")?;
        let prefix = &self.topic_prefix;
        let is_prefix = prefix.len() <= TOPIC_PREFIX_BYTES_MAX
            && !prefix.starts_with('$')
            && !prefix.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
        let rule = "must be short, without wildcards, and not begin with `$`";
        check(is_prefix, "sinks.topic_prefix", rule)?;
        let is_pair = self.cert_file.is_some() == self.key_file.is_some()
            && (self.cert_file.is_none() || self.kind == System::Mqtt);
        check(is_pair, "sinks.cert_file", "comes with `key_file`, for mqtt only")?;
        let is_short = (1..=TIMEOUT_S_MAX).contains(&self.timeout_s);
        check(is_short, "sinks.timeout_s", "must be 1 to 120")
    }

    /// Returns the machine that it is on. The rest of the address may be a secret.
    pub fn origin(&self) -> String {
        let Some(url) = self.address() else { return String::new() };
        let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
    }

    /// Returns where it is, if that may be.
    pub fn address(&self) -> Option<Url> {
        // A name of a device takes no more than letters, digits, `.`, `_` and `-`.
        let url = Url::parse(&self.url.replace(DEVICE_PLACE, "device")).ok()?;
        let is_open = !url.username().is_empty() || url.password().is_some();
        let has_tls = match self.kind {
            System::Http | System::Influxdb => url.scheme() == "https",
            System::Mqtt => url.scheme() == "mqtts",
        };
        let is_plain = match self.kind {
            System::Http | System::Influxdb => url.scheme() == "http",
            System::Mqtt => url.scheme() == "mqtt",
        };
        let is_safe = has_tls || is_plain && is_this_machine(&url);
        (is_safe && !is_open && url.has_host()).then_some(url)
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        // Only schemes of the web have addresses of IPv4; to others they are names.
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn load(sinks: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, sinks).unwrap();
        Config::load(Some(&path), []).map_err(|error| error.to_string())
    }

    fn sink(more: &str) -> String {
        format!("[[sinks]]\nname = 'a'\nkind = 'influxdb'\n{more}\n")
    }

    #[test]
    fn a_sink_is_reached_over_tls_unless_it_is_on_this_machine() {
        for (kind, url, is_right) in [
            ("influxdb", "https://influx.example:8086/write?db=w", true),
            ("influxdb", "http://127.0.0.1:8086/write?db=w", true),
            ("http", "http://[::1]:80/{device}/data", true),
            ("http", "http://localhost/", true),
            ("influxdb", "http://influx.example/write?db=w", false),
            ("http", "https://user:secret@backend.example/", false),
            ("http", "mqtts://backend.example", false),
            ("mqtt", "mqtts://broker.example:8883", true),
            ("mqtt", "mqtt://127.0.0.1:1883", true),
            ("mqtt", "mqtt://localhost:1883", true),
            ("mqtt", "mqtt://broker.example", false),
            ("mqtt", "https://broker.example", false),
            ("http", "backend", false),
        ] {
            let text = format!("[[sinks]]\nname = 'a'\nkind = '{kind}'\nurl = '{url}'");
            let outcome = load(&text);
            assert_eq!(outcome.is_ok(), is_right, "{text}: {outcome:?}");
        }
    }

    #[test]
    fn what_is_printed_of_sinks_can_be_read_again() {
        let one = sink("url = 'https://a.example/write'\nproducts = ['th1']\nuser = 'w'");
        let config = load(&one).unwrap();
        assert_eq!(load(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn sinks_that_make_no_sense_are_named() {
        let good = "url = 'https://a.example/'";
        for (text, key) in [
            (sink(good).repeat(2), "sinks.name"),
            ((0..17).map(|n| sink(good).replace("'a'", &format!("'a{n}'"))).collect(), "sinks"),
            (sink(&format!("{good}\nmessages = []")), "sinks.messages"),
            (sink(&format!("{good}\nmeasurement = 'a b'")), "sinks.measurement"),
            (sink(&format!("{good}\ntimeout_s = 0")), "sinks.timeout_s"),
            (sink(&format!("{good}\ntopic_prefix = 'a/+/'")), "sinks.topic_prefix"),
            (sink(&format!("{good}\ncert_file = 'a'")), "sinks.cert_file"),
        ] {
            let message = load(&text).unwrap_err();
            assert!(message.contains(&format!("`{key}`")), "{text}: {message}");
        }
        assert!(load(&sink("url = 'https://a.example/'\ntokn_file = 'x'")).is_err());
    }
}
