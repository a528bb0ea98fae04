//! Loads the fleet into memory when the server starts.

use waxwing_wire::ProductId;

use super::{Fleet, Tables};
use crate::domain::Release;
use crate::store::{Error, Store, deployments, devices, groups, products, releases, rollouts};

impl Fleet {
    /// Loads everything that answering polls needs. Counters are counted from the deployments, so
    /// they cannot drift.
    ///
    /// # Errors
    ///
    /// When the database fails or a row is damaged.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let mut tables = Tables::default();
        products::all(store).await?.into_iter().for_each(|product| tables.put_product(product));
        for (product, releases) in by_product(releases::all(store).await?) {
            tables.put_releases(&product, releases);
        }
        groups::all(store).await?.into_iter().for_each(|group| tables.put_group(group));
        devices::all(store).await?.into_iter().for_each(|device| tables.put_device(device));
        rollouts::all(store).await?.into_iter().for_each(|rollout| tables.put_rollout(rollout));
        for (rollout, device, deployment) in deployments::all(store).await? {
            tables.put_deployment(&device, &rollout, deployment);
        }
        Ok(Self::new(tables))
    }
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
