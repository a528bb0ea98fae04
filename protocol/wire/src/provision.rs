//! What is written into a device when it is made: who it is, whom it trusts, how it gets into the
//! network.
//!
//! ```text
//! "WXCR" | format 1 | 0 0 0 | length of the fields, u32 LE | fields | SHA-256 of all before
//! field: tag u8 | length u16 LE | bytes
//! ```
//!
//! Tags below 128 that are not known are skipped: firmware of today reads what tools of tomorrow
//! write. Tags from 128 on must be understood. The checksum finds damage, not forgery: whoever can
//! write this partition has the device in hands. Not here: what the device makes itself.

mod read;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::id::{Channel, DeviceId, Hardware, ProductId};
use read::Read;

/// Longest encoding in bytes: the partition of four sectors.
pub const PROVISION_BYTES_MAX: usize = 16 * 1024;
/// Bytes that say how long the rest is.
pub const HEADER_BYTES: usize = 12;

/// As many channels as a device may take releases from.
pub const CHANNELS_MAX: usize = 8;
/// Longest host name (RFC 1035, 2.3.4) with a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 253 + 6;
/// Longest enrolment token.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Longest root metadata, and longest list of server certificates.
pub const TRUST_BYTES_MAX: usize = 8 * 1024;
/// Longest name of a Wi-Fi network (IEEE 802.11, 9.4.2.2).
pub const SSID_BYTES_MAX: usize = 32;
/// Longest Wi-Fi password (IEEE 802.11, WPA2 passphrase, or 64 hexadecimal digits).
pub const PASSWORD_BYTES_MAX: usize = 64;
/// Longest settings of the application.
pub const SETTINGS_BYTES_MAX: usize = 2 * 1024;

const MAGIC: [u8; 4] = *b"WXCR";
const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
/// From here on a field must be understood.
const CRITICAL: u8 = 128;

/// What is written into a device when it is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provision {
    /// Its name, as it will be in its certificate.
    pub device: DeviceId,
    /// What it is.
    pub product: ProductId,
    /// Its hardware revision.
    pub hardware: Hardware,
    /// The channels it takes releases from (D7).
    pub channels: Vec<Channel>,
    /// The device listener, as `host:port`.
    pub server: String,
    /// The listener for enrolment, as `host:port`.
    pub enrol: String,
    /// The listener for messages, as `host:port`; a device works without one.
    pub mqtt: Option<String>,
    /// What it shows once, to get its certificate.
    pub token: Secret,
    /// Root metadata of its Director.
    pub director_root: Vec<u8>,
    /// Root metadata of its product's Image repository.
    pub image_root: Vec<u8>,
    /// The server's CA in PEM, until signed pins take its place (D15).
    pub server_ca: Vec<u8>,
    /// Wi-Fi, if it has any.
    pub wifi: Option<Wifi>,
    /// Whatever the application keeps here: calibration, serial numbers.
    pub settings: Vec<u8>,
}

/// How to get into a Wi-Fi network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wifi {
    /// Its name.
    pub ssid: String,
    /// Its password; empty when it is open.
    pub password: Secret,
}

/// Text that no log ever shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Keeps text from being shown.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, for whoever has to show it to somebody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// [`Provision::device`].
    Device,
    /// [`Provision::product`].
    Product,
    /// [`Provision::hardware`].
    Hardware,
    /// One of [`Provision::channels`].
    Channel,
    /// [`Provision::server`].
    Server,
    /// [`Provision::enrol`].
    Enrol,
    /// [`Provision::mqtt`].
    Mqtt,
    /// [`Provision::token`].
    Token,
    /// [`Provision::director_root`].
    DirectorRoot,
    /// [`Provision::image_root`].
    ImageRoot,
    /// [`Provision::server_ca`].
    ServerCa,
    /// [`Wifi::ssid`].
    Ssid,
    /// [`Wifi::password`].
    Password,
    /// [`Provision::settings`].
    Settings,
}

impl Field {
    const ALL: [Self; 14] = [
        Self::Device,
        Self::Product,
        Self::Hardware,
        Self::Channel,
        Self::Server,
        Self::Enrol,
        Self::Mqtt,
        Self::Token,
        Self::DirectorRoot,
        Self::ImageRoot,
        Self::ServerCa,
        Self::Ssid,
        Self::Password,
        Self::Settings,
    ];

    const fn tag(self) -> u8 {
        match self {
            Self::Device => 1,
            Self::Product => 2,
            Self::Hardware => 3,
            Self::Channel => 4,
            Self::Server => 5,
            Self::Enrol => 6,
            Self::Mqtt => 7,
            Self::Token => 8,
            Self::DirectorRoot => 9,
            Self::ImageRoot => 10,
            Self::ServerCa => 11,
            Self::Ssid => 12,
            Self::Password => 13,
            Self::Settings => 14,
        }
    }

    const fn bytes_max(self) -> usize {
        match self {
            Self::Device | Self::Product | Self::Hardware | Self::Channel => {
                crate::id::NAME_BYTES_MAX
            }
            Self::Server | Self::Enrol | Self::Mqtt => ADDRESS_BYTES_MAX,
            Self::Token => TOKEN_BYTES_MAX,
            Self::DirectorRoot | Self::ImageRoot | Self::ServerCa => TRUST_BYTES_MAX,
            Self::Ssid => SSID_BYTES_MAX,
            Self::Password => PASSWORD_BYTES_MAX,
            Self::Settings => SETTINGS_BYTES_MAX,
        }
    }
}

/// Bytes are nothing a device could be made of, or the parts do not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidProvision {
    /// Nothing was written yet.
    Blank,
    /// The checksum does not fit: damaged.
    Checksum,
    /// This field is there twice, malformed, or longer than it may be.
    Field(Field),
    /// Written for other firmware than this.
    Format(u8),
    /// The lengths do not add up, or to more than [`PROVISION_BYTES_MAX`].
    Length,
    /// This field is missing.
    Missing(Field),
    /// This field must be understood, and is not.
    Unknown(u8),
}

impl fmt::Display for InvalidProvision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("no credentials were written"),
            Self::Checksum => f.write_str("credentials are damaged"),
            Self::Field(field) => write!(f, "credentials have no valid {field:?}"),
            Self::Format(format) => write!(f, "credentials have the unknown format {format}"),
            Self::Length => f.write_str("credentials are cut off or too long"),
            Self::Missing(field) => write!(f, "credentials lack {field:?}"),
            Self::Unknown(tag) => write!(f, "credentials need firmware that knows field {tag}"),
        }
    }
}

impl core::error::Error for InvalidProvision {}

impl Provision {
    /// Encodes it for the partition.
    ///
    /// # Errors
    ///
    /// [`InvalidProvision`] when [`Self::decode`] would refuse the result.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidProvision> {
        let mut fields = Vec::new();
        for (field, bytes) in self.fields() {
            let length = u16::try_from(bytes.len()).map_err(|_| InvalidProvision::Field(field))?;
            fields.push(field.tag());
            fields.extend_from_slice(&length.to_le_bytes());
            fields.extend_from_slice(bytes);
        }
        let length = u32::try_from(fields.len()).map_err(|_| InvalidProvision::Length)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + fields.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[FORMAT, 0, 0, 0]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.append(&mut fields);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        Self::decode(&bytes)?;
        Ok(bytes)
    }

    fn fields(&self) -> impl Iterator<Item = (Field, &[u8])> {
        let names = [
            (Field::Device, self.device.as_str()),
            (Field::Product, self.product.as_str()),
            (Field::Hardware, self.hardware.as_str()),
        ];
        let channels = self.channels.iter().map(|channel| (Field::Channel, channel.as_str()));
        let servers = [(Field::Server, self.server.as_str()), (Field::Enrol, self.enrol.as_str())];
        let mqtt = self.mqtt.iter().map(|address| (Field::Mqtt, address.as_str()));
        let wifi = self.wifi.iter().flat_map(|wifi| {
            [(Field::Ssid, wifi.ssid.as_str()), (Field::Password, wifi.password.expose())]
        });
        let trust = [
            (Field::DirectorRoot, self.director_root.as_slice()),
            (Field::ImageRoot, self.image_root.as_slice()),
            (Field::ServerCa, self.server_ca.as_slice()),
            (Field::Settings, self.settings.as_slice()),
        ];
        let text = names.into_iter().chain(channels).chain(servers).chain(mqtt);
        text.chain([(Field::Token, self.token.expose())])
            .chain(wifi)
            .map(|(field, text)| (field, text.as_bytes()))
            .chain(trust)
    }

    /// Reads it from the beginning of these bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidProvision`], the first reason why no device should run with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidProvision> {
        let header = bytes.first_chunk().ok_or(InvalidProvision::Length)?;
        let whole = bytes.get(..encoded_bytes(header)?).ok_or(InvalidProvision::Length)?;
        let (content, checksum) =
            whole.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InvalidProvision::Length)?;
        if *checksum != <[u8; CHECKSUM_BYTES]>::from(Sha256::digest(content)) {
            return Err(InvalidProvision::Checksum);
        }
        let mut fields = content.get(HEADER_BYTES..).unwrap_or_default();
        let mut read = Read::default();
        while let Some((tag, bytes)) = next_field(&mut fields)? {
            read.take(tag, bytes)?;
        }
        read.finish()
    }
}

/// Returns how many bytes the encoding has that begins like this.
///
/// # Errors
///
/// [`InvalidProvision`] when there is none, or none that is short enough.
pub fn encoded_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, InvalidProvision> {
    let &[m, a, g, i, format, _, _, _, length @ ..] = header;
    if header.iter().all(|byte| *byte == 0xff) {
        return Err(InvalidProvision::Blank);
    }
    if [m, a, g, i] != MAGIC || format != FORMAT {
        return Err(InvalidProvision::Format(format));
    }
    let length = usize::try_from(u32::from_le_bytes(length)).ok();
    length
        .and_then(|length| length.checked_add(HEADER_BYTES + CHECKSUM_BYTES))
        .filter(|bytes| *bytes <= PROVISION_BYTES_MAX)
        .ok_or(InvalidProvision::Length)
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, InvalidProvision> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (&[tag, low, high], behind) = rest.split_first_chunk().ok_or(InvalidProvision::Length)?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (bytes, behind) = behind.split_at_checked(length).ok_or(InvalidProvision::Length)?;
    *rest = behind;
    Ok(Some((tag, bytes)))
}
