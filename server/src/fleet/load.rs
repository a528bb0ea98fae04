//! Loads the fleet into memory when the server starts.

use sha2::{Digest as _, Sha256};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::{Digest, ProductId};

use super::Fleet;
use super::writing::latest_change;
use crate::domain::{Pins, Release};
use crate::repositories::image_repository;
use crate::store::{
    Error, Store, deployments, devices, groups, metadata, products, releases, rollouts,
};

impl Fleet {
    /// Loads everything that answering polls needs. Counters are counted from the deployments, so
    /// they cannot drift.
    ///
    /// # Errors
    ///
    /// When the database fails or a row is damaged.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let fleet = Self::default();
        for product in products::all(store).await? {
            if let Some(pins) = pins(store, &product.id).await? {
                fleet.put_pins(&product.id, pins);
            }
            fleet.put_product(product);
        }
        for (product, releases) in by_product(releases::all(store).await?) {
            fleet.put_releases(&product, releases);
        }
        groups::all(store).await?.into_iter().for_each(|group| fleet.put_group(group));
        devices::all(store).await?.into_iter().for_each(|device| fleet.put_device(device));
        rollouts::all(store).await?.into_iter().for_each(|rollout| fleet.put_rollout(rollout));
        for (rollout, device, deployment) in deployments::all(store).await? {
            fleet.put_deployment(&device, &rollout, deployment);
        }
        fleet.stamp(latest_change(&fleet));
        Ok(fleet)
    }
}

/// The pins are the file that was stored under their path, with the time at which it was.
async fn pins(store: &Store, product: &ProductId) -> Result<Option<Pins>, Error> {
    let stored = metadata::find(store, &image_repository(product), SERVER_CA_PATH).await?;
    Ok(stored.map(|(pem, changed_at)| Pins {
        length: u64::try_from(pem.len()).unwrap_or(u64::MAX),
        sha256: Digest(Sha256::digest(&pem).into()),
        changed_at,
    }))
}

fn by_product(releases: Vec<Release>) -> Vec<(ProductId, Vec<Release>)> {
    let mut by_product: Vec<(ProductId, Vec<Release>)> = Vec::new();
    for release in releases {
        match by_product.iter_mut().find(|(product, _)| *product == release.product) {
            Some((_, releases)) => releases.push(release),
            None => by_product.push((release.product.clone(), vec![release])),
        }
    }
    by_product
}
