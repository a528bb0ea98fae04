//! One device: registered, given a token, written into a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use waxwing_provision::{Readers, create, replace};
use waxwing_wire::provision::Secret as WireSecret;
use waxwing_wire::{DeviceId, ProductId, Provision};

use super::csv::Order;
use super::kit::{Kit, unusable};
use super::unfit::Unfit;
use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::secret::Secret;

/// What became of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was registered.
    Added,
    /// It was registered before, and its file is there: nothing was done.
    Exists,
    /// It was registered before, and has a new token in a new file.
    Renewed,
}

impl Outcome {
    /// Returns the word for it in reports.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Exists => "exists",
            Self::Renewed => "renewed",
        }
    }
}

/// A device whose credentials are in a file.
pub(super) struct Made {
    /// What was done for it.
    pub(super) outcome: Outcome,
    /// What is in the file.
    pub(super) provision: Provision,
    /// Where it is.
    pub(super) file: PathBuf,
    /// Until when its token is good, if it was made now.
    pub(super) expires_at: Option<String>,
}

#[derive(Serialize)]
struct NewDevice<'a> {
    id: &'a DeviceId,
    product: &'a ProductId,
    tags: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Token {
    token: Secret,
    expires_at: String,
}

/// A device that the server knows.
#[derive(Deserialize)]
struct Known {
    product: ProductId,
    status: String,
}

/// Makes a device, or finishes what was begun.
pub(super) async fn make(
    kit: &Kit,
    order: &Order,
    file: &Path,
    force: bool,
    api: &Api,
) -> Result<Made, Error> {
    if order.product.as_ref().is_some_and(|product| *product != kit.product) {
        return Err(Unfit::OtherProduct.into());
    }
    let hardware = kit.hardware(order)?;
    if !force && file.symlink_metadata().is_ok() {
        return exists(kit, order, file, api).await;
    }
    let outcome = match register(api, &order.device, &kit.product, &order.tags).await {
        Err(error) if error.code() == "device_exists" => {
            check_known(kit, order, force, api).await?;
            Outcome::Renewed
        }
        registered => registered.map(|_| Outcome::Added)?,
    };
    let token: Token = api.read_act(&format!("devices/{}/tokens", order.device)).await?;
    let secret = WireSecret::new(token.token.expose().to_owned());
    let provision = kit.provision(&order.device, hardware, secret)?;
    let write = if force { replace } else { create };
    let written = write(file, &kit.partition(&provision)?, Readers::Owner);
    written.map_err(|error| unusable(file, error))?;
    Ok(Made { outcome, provision, file: file.to_owned(), expires_at: Some(token.expires_at) })
}

/// Registers a device.
pub(super) async fn register(
    api: &Api,
    id: &DeviceId,
    product: &ProductId,
    tags: &BTreeMap<String, String>,
) -> Result<Value, Error> {
    api.post("devices", &NewDevice { id, product, tags }).await
}

/// A file is there: it must be that of this device, and the server know the device.
async fn exists(kit: &Kit, order: &Order, file: &Path, api: &Api) -> Result<Made, Error> {
    let provision = Provision::decode(&input::bytes(file)?).map_err(|_| Unfit::Taken)?;
    if provision.device != order.device || provision.product != kit.product {
        return Err(Unfit::Taken.into());
    }
    match known(kit, order, api).await {
        Err(Error::Refused { problem }) if problem.is_not_found() => {
            Err(Unfit::Unregistered.into())
        }
        known => known.map(drop),
    }?;
    let file = file.to_owned();
    Ok(Made { outcome: Outcome::Exists, provision, file, expires_at: None })
}

/// A device that has a certificate keeps it, unless that is meant.
async fn check_known(kit: &Kit, order: &Order, force: bool, api: &Api) -> Result<(), Error> {
    let known = known(kit, order, api).await?;
    if known.status == "registered" || force { Ok(()) } else { Err(Unfit::Enrolled.into()) }
}

/// Asks for a device that must be of this product, and not shut out.
async fn known(kit: &Kit, order: &Order, api: &Api) -> Result<Known, Error> {
    let known: Known = api.read(&format!("devices/{}", order.device), &[]).await?;
    if known.product != kit.product {
        return Err(Unfit::OtherProduct.into());
    }
    if known.status == "revoked" { Err(Unfit::Revoked.into()) } else { Ok(known) }
}
