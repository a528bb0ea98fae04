//! What a simulated device, or a fleet of them, is told before it starts.
//!
//! One TOML file; unknown keys are errors. Paths are relative to the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use semver::Version;
use serde::{Deserialize, Deserializer};
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::policy::Policy;
use waxwing_agent_net::Address;
use waxwing_esp_image::Chip;
use waxwing_esp_image::model::Rollback;
use waxwing_wire::{Channel, DeviceId, Hardware, ProductId};

use crate::profile::Mix;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the device, for `run` and `enrol`; a fleet takes names from `tokens`.
    pub id: Option<DeviceId>,
    /// What the devices are.
    pub product: ProductId,
    /// Their hardware revision.
    pub hardware: Hardware,
    /// Their chip, such as `esp32c3`.
    #[serde(deserialize_with = "chip")]
    pub chip: Chip,
    /// Channels they accept.
    pub channels: Vec<Channel>,
    /// Bytes an image may have.
    #[serde(default = "default_slot_bytes")]
    pub slot_bytes: u32,
    /// Where the server is.
    pub server: Server,
    /// Image the devices are born with.
    pub factory: Factory,
    /// What images must be, besides being signed.
    #[serde(default)]
    pub image: Image,
    /// What the devices trust.
    pub trust: Trust,
    /// CSV file of `device,token` lines, for a fleet.
    pub tokens: Option<PathBuf>,
    /// Folder for identities and, for a single device, flash and metadata.
    pub work: PathBuf,
    /// How the boot loader was built.
    #[serde(default)]
    pub boot_loader: BootLoader,
    /// Limits other than the device's own.
    #[serde(default)]
    pub policy: Limits,
    /// What goes wrong around how many per cent of a fleet.
    #[serde(default)]
    pub profiles: Mix,
    /// How often a device behind a gateway tells how it is; without it never.
    #[serde(default, deserialize_with = "duration")]
    pub telemetry_every: Option<Duration>,
}

/// Where the server is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Device listener, as `host:port`.
    pub device: Address,
    /// Enrolment listener, as `host:port`.
    pub enrol: Address,
    /// MQTT listener, as `host:port`; without it reports travel with polls.
    pub mqtt: Option<Address>,
    /// Its gateway, as `host:port`: then the device reaches the server through that and in no other way,
    /// once it is enrolled.
    pub gateway: Option<Address>,
    /// PEM file of the CA that signs server certificates.
    pub ca: PathBuf,
}

/// The image a device is born with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factory {
    /// The image.
    pub image: PathBuf,
    /// The release it is.
    pub version: Version,
    /// The security version compiled into it.
    #[serde(default)]
    pub security_version: u32,
}

/// What images must be, besides being signed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `match`: the descriptor has the release's version. `ignore`: the product takes images that
    /// were built elsewhere.
    #[serde(default)]
    pub version: ImageVersion,
    /// Project in the descriptor; without it any.
    pub project: Option<String>,
}

/// What the version in an image's descriptor must be.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageVersion {
    /// Anything.
    Ignore,
    /// The release's.
    #[default]
    Match,
}

/// What the devices trust from birth.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Root of the Director.
    pub director_root: PathBuf,
    /// Root of the product's Image repository.
    pub image_root: PathBuf,
}

/// How the boot loader was built.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootLoader {
    /// As the one `espflash` brings along: it never goes back by itself.
    Espflash,
    /// ESP-IDF with rollback.
    #[default]
    IdfRollback,
}

/// Limits other than the device's own ([`Policy::DEVICE`]).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Shortest time between two polls.
    #[serde(default, deserialize_with = "duration")]
    pub poll_min: Option<Duration>,
    /// Longest time between two polls.
    #[serde(default, deserialize_with = "duration")]
    pub poll_max: Option<Duration>,
    /// First wait after a failure.
    #[serde(default, deserialize_with = "duration")]
    pub back_off_min: Option<Duration>,
    /// Longest wait after a failure.
    #[serde(default, deserialize_with = "duration")]
    pub back_off_max: Option<Duration>,
    /// How long a new image may be without contact to the server.
    #[serde(default, deserialize_with = "duration")]
    pub no_contact_max: Option<Duration>,
    /// How long the self-test of a new image may take.
    #[serde(default, deserialize_with = "duration")]
    pub self_test_max: Option<Duration>,
    /// How often one image may be tried.
    pub attempts_max: Option<u32>,
    /// How often in a row a download may break off without progress.
    pub stalls_max: Option<u32>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not what it should be.
    #[error("{path} is no configuration")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Config {
    /// Reads a configuration, and makes its paths relative to it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file and what is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.into(),
            source: Box::new(source),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in config.paths() {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let paths = [
            &mut self.server.ca,
            &mut self.factory.image,
            &mut self.trust.director_root,
            &mut self.trust.image_root,
            &mut self.work,
        ];
        paths.into_iter().chain(&mut self.tokens)
    }

    /// Returns the limits of the devices.
    pub fn policy(&self) -> Policy {
        let (limits, device) = (&self.policy, Policy::DEVICE);
        Policy {
            poll_min: limits.poll_min.unwrap_or(device.poll_min),
            poll_max: limits.poll_max.unwrap_or(device.poll_max),
            back_off_min: limits.back_off_min.unwrap_or(device.back_off_min),
            back_off_max: limits.back_off_max.unwrap_or(device.back_off_max),
            no_contact_max: limits.no_contact_max.unwrap_or(device.no_contact_max),
            self_test_max: limits.self_test_max.unwrap_or(device.self_test_max),
            attempts_max: limits.attempts_max.unwrap_or(device.attempts_max),
            stalls_max: limits.stalls_max.unwrap_or(device.stalls_max),
            ..device
        }
    }

    /// Returns what images must be, besides being signed.
    pub fn image_rules(&self) -> ImageRules {
        let version = match self.image.version {
            ImageVersion::Ignore => VersionRule::Ignore,
            ImageVersion::Match => VersionRule::Match,
        };
        let project = self.image.project.clone();
        ImageRules { chip: self.chip, version, project, secure_version: 0 }
    }
}

impl FromStr for BootLoader {
    type Err = NoBootLoader;

    fn from_str(text: &str) -> Result<Self, NoBootLoader> {
        match text {
            "espflash" => Ok(Self::Espflash),
            "idf-rollback" => Ok(Self::IdfRollback),
            _ => Err(NoBootLoader),
        }
    }
}

/// The text names no boot loader.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a boot loader is espflash or idf-rollback")]
pub struct NoBootLoader;

impl From<BootLoader> for Rollback {
    fn from(boot_loader: BootLoader) -> Self {
        match boot_loader {
            BootLoader::Espflash => Self::Disabled,
            BootLoader::IdfRollback => Self::Enabled,
        }
    }
}

/// 1.5 MiB: what a 4 MiB chip has room for twice, beside a file system.
const fn default_slot_bytes() -> u32 {
    0x18_0000
}

fn chip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Chip, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = Chip::ALL.into_iter().find(|chip| chip.as_str() == name);
    known.ok_or_else(|| serde::de::Error::custom(NoChip(name)))
}

struct NoChip(String);

impl fmt::Display for NoChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no chip known here, such as", self.0)?;
        Chip::ALL.iter().try_for_each(|chip| write!(f, " {}", chip.as_str()))
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        product = "acme-th1"
        hardware = "r1"
        chip = "esp32c3"
        channels = ["stable"]
        work = "work"
        tokens = "tokens.csv"
        [server]
        device = "localhost:8443"
        enrol = "localhost:8444"
        ca = "/etc/server-ca.pem"
        [factory]
        image = "factory.bin"
        version = "1.0.0"
        [trust]
        director_root = "director.json"
        image_root = "image.json"
        [policy]
        poll_min = "200ms"
    "#;

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        std::fs::write(&path, GOOD).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.factory.image, folder.path().join("factory.bin"));
        assert_eq!(config.tokens, Some(folder.path().join("tokens.csv")));
        assert_eq!(config.server.ca, Path::new("/etc/server-ca.pem"));
    }

    #[test]
    fn limits_that_are_not_given_are_the_devices_own() {
        let policy = toml::from_str::<Config>(GOOD).unwrap().policy();
        let expected = Policy { poll_min: Duration::from_millis(200), ..Policy::DEVICE };
        assert_eq!(policy, expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, named) in [
            ("hardware =", "hardwear =", "hardwear"),
            ("esp32c3", "esp32c9", "esp32c9"),
            ("\"200ms\"", "\"soon\"", "poll_min"),
            ("localhost:8443", "localhost", "host:port"),
            ("acme-th1", "acme/th1", "a name is"),
            ("[policy]", "[profiles]\nrain = 10\n[policy]", "rain"),
        ] {
            let error = toml::from_str::<Config>(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
