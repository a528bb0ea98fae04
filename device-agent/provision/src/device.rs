//! The file that describes one device, or what many have in common.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use waxwing_wire::provision::{Provision, Secret, Wifi};
use waxwing_wire::{Channel, DeviceId, Hardware, ProductId};

/// A device, as far as a file says it: whoever makes many devices of one file adds the rest.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name.
    pub device: Option<DeviceId>,
    /// What it is.
    pub product: Option<ProductId>,
    /// Its hardware revision.
    pub hardware: Option<Hardware>,
    /// The channels it takes releases from; none are said yet if empty.
    pub channels: Vec<Channel>,
    /// The device listener, as `host:port`.
    pub server: Option<String>,
    /// The listener for enrolment.
    pub enrol: Option<String>,
    /// The listener for messages; a device works without one.
    pub mqtt: Option<String>,
    /// What it shows once, to get its certificate.
    pub token: Option<Secret>,
    /// Root metadata of its Director.
    pub director_root: Vec<u8>,
    /// Root metadata of its product's Image repository.
    pub image_root: Vec<u8>,
    /// The server's CA in PEM.
    pub server_ca: Option<Vec<u8>>,
    /// Wi-Fi, if it has any.
    pub wifi: Option<Wifi>,
    /// For the application.
    pub settings: Vec<u8>,
}

/// The TOML file. Paths are relative to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    device: Option<DeviceId>,
    product: Option<ProductId>,
    hardware: Option<Hardware>,
    #[serde(default)]
    channels: Vec<Channel>,
    server: Option<String>,
    enrol: Option<String>,
    mqtt: Option<String>,
    /// File with the token that registration printed.
    token: Option<PathBuf>,
    /// File with the Director's root metadata.
    director_root: PathBuf,
    /// File with the root metadata of the product's Image repository.
    image_root: PathBuf,
    /// File with the server's CA, in PEM.
    server_ca: Option<PathBuf>,
    wifi: Option<WifiFile>,
    /// For the application.
    #[serde(default)]
    settings: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WifiFile {
    ssid: String,
    /// File with the password; none when the network is open.
    password: Option<PathBuf>,
}

impl Template {
    /// Reads the file and those it names.
    ///
    /// # Errors
    ///
    /// When one is missing or malformed.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_text(path)?;
        let file: DeviceFile =
            toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        file.template(path.parent().unwrap_or(Path::new(".")))
    }

    /// Returns the device, once nothing is left open.
    ///
    /// # Errors
    ///
    /// The first thing that nobody said.
    pub fn provision(self) -> anyhow::Result<Provision> {
        Ok(Provision {
            device: self.device.context("`device` is missing")?,
            product: self.product.context("`product` is missing")?,
            hardware: self.hardware.context("`hardware` is missing")?,
            channels: self.channels,
            server: self.server.context("`server` is missing")?,
            enrol: self.enrol.context("`enrol` is missing")?,
            mqtt: self.mqtt,
            token: self.token.context("`token` is missing")?,
            director_root: self.director_root,
            image_root: self.image_root,
            server_ca: self.server_ca.context("`server_ca` is missing")?,
            wifi: self.wifi,
            settings: self.settings,
        })
    }
}

impl DeviceFile {
    fn template(self, folder: &Path) -> anyhow::Result<Template> {
        let bytes = |path: &Path| read(&folder.join(path));
        let secret = |path: &Path| {
            let text = read_text(&folder.join(path))?;
            anyhow::Ok(Secret::new(text.trim_end_matches(['\r', '\n']).into()))
        };
        let wifi = self.wifi.map(|wifi| {
            let password = wifi.password.as_deref().map(secret).transpose()?;
            let password = password.unwrap_or(Secret::new(String::new()));
            anyhow::Ok(Wifi { ssid: wifi.ssid, password })
        });
        Ok(Template {
            device: self.device,
            product: self.product,
            hardware: self.hardware,
            channels: self.channels,
            server: self.server,
            enrol: self.enrol,
            mqtt: self.mqtt,
            token: self.token.as_deref().map(secret).transpose()?,
            director_root: bytes(&self.director_root)?,
            image_root: bytes(&self.image_root)?,
            server_ca: self.server_ca.as_deref().map(bytes).transpose()?,
            wifi: wifi.transpose()?,
            settings: self.settings.into_bytes(),
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
