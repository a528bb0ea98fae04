//! What the devices of one product have in common, checked before the first of them is registered.
//!
//! The two roots come from the template, as the ceremony left them, and never from the server: one
//! that was broken into would else give new devices roots of its own. Where listeners and CA are not
//! in the template, they are those that this operator is logged in to.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use waxwing_esp_image::partition::Partition;
use waxwing_provision::{Template, credentials_of, place, table};
use waxwing_tuf::verify::verify_trusted_root;
use waxwing_wire::provision::Secret;
use waxwing_wire::{Channel, DeviceId, Digest, EnrolUri, Hardware, ProductId, Provision};

use super::Args;
use super::csv::Order;
use super::unfit::Unfit;
use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::profile::Profile;

/// Ports of the listeners, unless a server is configured otherwise.
const DEVICE_PORT: u16 = 8443;
const ENROL_PORT: u16 = 8444;
const MQTT_PORT: u16 = 8883;

/// The longest name, and a token as long as the server's: if these fit, every device does.
const LONGEST_NAME: [u8; waxwing_wire::id::NAME_BYTES_MAX] =
    [b'x'; waxwing_wire::id::NAME_BYTES_MAX];
const TOKEN_BYTES: usize = 43;

/// All that devices of one product are made of.
pub(super) struct Kit {
    /// What they are.
    pub(super) product: ProductId,
    chip: String,
    revisions: Vec<Hardware>,
    template: Template,
    place: Partition,
    server_ca: Vec<Digest>,
}

/// The product, as far as devices are made after it.
#[derive(Deserialize)]
struct Product {
    chip: String,
    hardware: Vec<Hardware>,
    channels: Vec<Channel>,
}

impl Kit {
    /// Puts it together, and makes a device of it that is thrown away.
    pub(super) async fn prepare(
        path: &Path,
        args: &Args,
        api: &Api,
        profile: &Profile,
    ) -> Result<Self, Error> {
        let template = Template::read(path).map_err(|error| unusable(path, error))?;
        let product = product(&template, args)?;
        let known: Product = api.read(&format!("products/{product}"), &[]).await?;
        let template = complete(template, &known, profile)?;
        check_roots(&template, &product, api).await?;
        let pem = template.server_ca.as_deref().unwrap_or_default();
        let kit = Self {
            product,
            chip: known.chip,
            revisions: known.hardware,
            place: place_of(args)?,
            server_ca: fingerprints(pem)?,
            template,
        };
        kit.try_out()?;
        Ok(kit)
    }

    /// Returns which revision a device is of.
    pub(super) fn hardware(&self, order: &Order) -> Result<Hardware, Unfit> {
        let said = order.hardware.as_ref().or(self.template.hardware.as_ref());
        match (said, self.revisions.as_slice()) {
            (Some(said), all) if all.contains(said) => Ok(said.clone()),
            (Some(_), _) => Err(Unfit::UnknownHardware),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(Unfit::NoHardware),
        }
    }

    /// Returns what will be written into a device.
    pub(super) fn provision(
        &self,
        device: &DeviceId,
        hardware: Hardware,
        token: Secret,
    ) -> Result<Provision, Error> {
        let whole = Template {
            device: Some(device.clone()),
            product: Some(self.product.clone()),
            hardware: Some(hardware),
            token: Some(token),
            ..self.template.clone()
        };
        whole.provision().map_err(|error| Error::Usage(format!("the template: {error}")))
    }

    /// Returns the partition that holds it.
    pub(super) fn partition(&self, provision: &Provision) -> Result<Vec<u8>, Error> {
        let bytes = credentials_of(provision, &self.place);
        bytes.map_err(|error| Error::Usage(format!("the template: {error:#}")))
    }

    /// Returns what a production line scans.
    pub(super) fn uri(&self, provision: &Provision) -> Result<EnrolUri, Unfit> {
        let Provision { device, enrol, token, .. } = provision.clone();
        Ok(EnrolUri::new(device, enrol, token, self.server_ca.clone())?)
    }

    /// Returns the command that writes a file into a device.
    pub(super) fn flash_command(&self, file: &Path) -> String {
        let (chip, offset) = (&self.chip, self.place.offset);
        format!("esptool --chip {chip} write-flash {offset:#x} {}", quoted(file))
    }

    /// Returns where in flash credentials belong.
    pub(super) fn offset(&self) -> String {
        format!("{:#x}", self.place.offset)
    }

    fn try_out(&self) -> Result<(), Error> {
        let name = str::from_utf8(&LONGEST_NAME).ok().and_then(|name| DeviceId::parse(name).ok());
        let (Some(name), Some(revision)) = (name, self.revisions.first()) else { return Ok(()) };
        let token = Secret::new("t".repeat(TOKEN_BYTES));
        let provision = self.provision(&name, revision.clone(), token)?;
        self.partition(&provision)?;
        Ok(self.uri(&provision).map(drop)?)
    }
}

/// Says that a file cannot be used, and why.
pub(super) fn unusable(
    path: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::File { path: path.to_owned(), source: io::Error::other(error) }
}

fn product(template: &Template, args: &Args) -> Result<ProductId, Error> {
    if template.device.is_some() || template.token.is_some() {
        return Err(Error::Usage("a template says neither `device` nor `token`".to_owned()));
    }
    match (&args.product, &template.product) {
        (Some(said), Some(of)) if said != of => Err(Unfit::OtherProduct.into()),
        (Some(product), _) | (None, Some(product)) => Ok(product.clone()),
        (None, None) => Err(Error::Usage("say --product, or `product` in the template".to_owned())),
    }
}

/// Fills what the template leaves open.
fn complete(
    mut template: Template,
    product: &Product,
    profile: &Profile,
) -> Result<Template, Error> {
    if template.channels.is_empty() && product.channels.len() == 1 {
        template.channels.clone_from(&product.channels);
    }
    if template.channels.is_empty() {
        let detail = "the product has several channels; say `channels` in the template";
        return Err(Error::Usage(detail.to_owned()));
    }
    if let Some(unknown) = template.channels.iter().find(|name| !product.channels.contains(name)) {
        return Err(Error::Usage(format!("the product has no channel {unknown}")));
    }
    let host = Url::parse(&profile.server).ok().and_then(|url| url.host_str().map(str::to_owned));
    let at = |port| host.as_ref().map(|host| format!("{host}:{port}"));
    template.mqtt = template.mqtt.or_else(|| at(MQTT_PORT).filter(|_| template.server.is_none()));
    template.server = template.server.or_else(|| at(DEVICE_PORT));
    template.enrol = template.enrol.or_else(|| at(ENROL_PORT));
    template.server_ca = template.server_ca.or_else(|| profile.ca.clone().map(String::into_bytes));
    Ok(template)
}

/// Checks that devices with these roots will believe this server.
async fn check_roots(template: &Template, product: &ProductId, api: &Api) -> Result<(), Error> {
    let refuse = |which: &str, why: &str| Err(Error::Usage(format!("the {which} {why}")));
    if let Err(cause) = verify_trusted_root(&template.image_root, Some(&format!("image/{product}")))
    {
        return refuse("image_root", &format!("is none of {product}: {}", cause.code_name()));
    }
    let version = match verify_trusted_root(&template.director_root, Some("director")) {
        Err(cause) => return refuse("director_root", &format!("is none: {}", cause.code_name())),
        Ok(root) => root.header.version,
    };
    match api.text_if_any(&format!("director/roots/{version}")).await? {
        Some(shown) if shown.as_bytes() == template.director_root => Ok(()),
        Some(_) => refuse("director_root", "is not the one of this server"),
        None => refuse("director_root", "is not known to this server; import it first"),
    }
}

fn place_of(args: &Args) -> Result<Partition, Error> {
    let path = args.table.clone().unwrap_or_else(|| PathBuf::from("the partition table"));
    let bytes = match &args.table {
        None => table().map_err(|error| unusable(&path, error))?.to_vec(),
        Some(path) => input::bytes(path)?,
    };
    place(&bytes, args.spare.as_deref()).map_err(|error| unusable(&path, error))
}

/// Returns the SHA-256 of each certificate.
fn fingerprints(pem: &[u8]) -> Result<Vec<Digest>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(all) if !all.is_empty() => {
            Ok(all.iter().map(|der| Digest(Sha256::digest(der).into())).collect())
        }
        _ => Err(Error::Usage("the server's CA is no PEM certificate; say `server_ca`".to_owned())),
    }
}

/// Writes a path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | '_');
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
