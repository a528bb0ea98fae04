//! Fields, one after another, until they are a device.

use alloc::string::String;
use alloc::vec::Vec;

use super::{CHANNELS_MAX, CRITICAL, Field, InvalidProvision, Provision, Secret, Wifi};
use crate::id::{Channel, DeviceId, Hardware, ProductId};

/// What was read so far.
#[derive(Default)]
pub(super) struct Read {
    device: Option<DeviceId>,
    product: Option<ProductId>,
    hardware: Option<Hardware>,
    channels: Vec<Channel>,
    server: Option<String>,
    enrol: Option<String>,
    mqtt: Option<String>,
    token: Option<String>,
    director_root: Option<Vec<u8>>,
    image_root: Option<Vec<u8>>,
    server_ca: Option<Vec<u8>>,
    ssid: Option<String>,
    password: Option<String>,
    settings: Option<Vec<u8>>,
}

impl Read {
    pub(super) fn take(&mut self, tag: u8, bytes: &[u8]) -> Result<(), InvalidProvision> {
        let Some(field) = Field::ALL.into_iter().find(|field| field.tag() == tag) else {
            let known = tag < CRITICAL;
            return if known { Ok(()) } else { Err(InvalidProvision::Unknown(tag)) };
        };
        let fits = bytes.len() <= field.bytes_max();
        let taken = if fits { self.keep(field, bytes) } else { None };
        taken.ok_or(InvalidProvision::Field(field))
    }

    /// Keeps a field; `None` when it is malformed or there already.
    fn keep(&mut self, field: Field, bytes: &[u8]) -> Option<()> {
        let text = core::str::from_utf8(bytes);
        match field {
            Field::Device => once(&mut self.device, DeviceId::parse(text.ok()?).ok()),
            Field::Product => once(&mut self.product, ProductId::parse(text.ok()?).ok()),
            Field::Hardware => once(&mut self.hardware, Hardware::parse(text.ok()?).ok()),
            Field::Channel => {
                let channel = Channel::parse(text.ok()?).ok()?;
                let fits = self.channels.len() < CHANNELS_MAX && !self.channels.contains(&channel);
                fits.then(|| self.channels.push(channel))
            }
            Field::Server => once(&mut self.server, some_text(bytes)),
            Field::Enrol => once(&mut self.enrol, some_text(bytes)),
            Field::Mqtt => once(&mut self.mqtt, some_text(bytes)),
            Field::Token => once(&mut self.token, text.ok().map(Into::into)),
            Field::DirectorRoot => once(&mut self.director_root, Some(bytes.into())),
            Field::ImageRoot => once(&mut self.image_root, Some(bytes.into())),
            Field::ServerCa => once(&mut self.server_ca, Some(bytes.into())),
            Field::Ssid => once(&mut self.ssid, some_text(bytes)),
            Field::Password => once(&mut self.password, text.ok().map(Into::into)),
            Field::Settings => once(&mut self.settings, Some(bytes.into())),
        }
    }

    pub(super) fn finish(self) -> Result<Provision, InvalidProvision> {
        let missing = InvalidProvision::Missing;
        let wifi = match (self.ssid, self.password) {
            (Some(ssid), Some(password)) => Some(Wifi { ssid, password: Secret(password) }),
            (None, None) => None,
            (None, Some(_)) => return Err(missing(Field::Ssid)),
            (Some(_), None) => return Err(missing(Field::Password)),
        };
        if self.channels.is_empty() {
            return Err(missing(Field::Channel));
        }
        Ok(Provision {
            device: self.device.ok_or(missing(Field::Device))?,
            product: self.product.ok_or(missing(Field::Product))?,
            hardware: self.hardware.ok_or(missing(Field::Hardware))?,
            channels: self.channels,
            server: self.server.ok_or(missing(Field::Server))?,
            enrol: self.enrol.ok_or(missing(Field::Enrol))?,
            mqtt: self.mqtt,
            token: Secret(self.token.ok_or(missing(Field::Token))?),
            director_root: self.director_root.ok_or(missing(Field::DirectorRoot))?,
            image_root: self.image_root.ok_or(missing(Field::ImageRoot))?,
            server_ca: self.server_ca.ok_or(missing(Field::ServerCa))?,
            wifi,
            settings: self.settings.unwrap_or_default(),
        })
    }
}

/// Text that is not empty.
fn some_text(bytes: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.into())
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    let value = value?;
    place.is_none().then(|| *place = Some(value))
}
