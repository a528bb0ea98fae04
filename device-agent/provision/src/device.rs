//! The file that describes one device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use waxwing_wire::provision::{Provision, Secret, Wifi};
use waxwing_wire::{Channel, DeviceId, Hardware, ProductId};

/// A device, as a TOML file says it. Paths are relative to the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFile {
    device: DeviceId,
    product: ProductId,
    hardware: Hardware,
    channels: Vec<Channel>,
    /// The device listener, as `host:port`.
    server: String,
    /// The listener for enrolment.
    enrol: String,
    /// The listener for messages.
    mqtt: Option<String>,
    /// File with the token that registration printed.
    token: PathBuf,
    /// File with the Director's root metadata.
    director_root: PathBuf,
    /// File with the root metadata of the product's Image repository.
    image_root: PathBuf,
    /// File with the server's CA, in PEM.
    server_ca: PathBuf,
    wifi: Option<WifiFile>,
    /// For the application.
    #[serde(default)]
    settings: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WifiFile {
    ssid: String,
    /// File with the password; none when the network is open.
    password: Option<PathBuf>,
}

impl DeviceFile {
    /// Reads the file and those it names.
    ///
    /// # Errors
    ///
    /// When one is missing or malformed.
    pub fn read(path: &Path) -> anyhow::Result<Provision> {
        let text = read_text(path)?;
        let file: Self =
            toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        file.provision(path.parent().unwrap_or(Path::new(".")))
    }

    fn provision(self, folder: &Path) -> anyhow::Result<Provision> {
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
        Ok(Provision {
            device: self.device,
            product: self.product,
            hardware: self.hardware,
            channels: self.channels,
            server: self.server,
            enrol: self.enrol,
            mqtt: self.mqtt,
            token: secret(&self.token)?,
            director_root: bytes(&self.director_root)?,
            image_root: bytes(&self.image_root)?,
            server_ca: bytes(&self.server_ca)?,
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
