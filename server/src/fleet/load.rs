//! Loads the fleet into memory when the server starts.

use sha2::{Digest as _, Sha256};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::{Digest, ProductId};

use super::Fleet;
use super::catalogue::Catalogue;
use super::packed::Packed;
use super::writing::latest_change;
use crate::domain::effect::Lost;
use crate::domain::{Group, Pins, Product, Release, Rollout};
use crate::repositories::image_repository;
use crate::store::devices::Stored;
use crate::store::{
    Error, Store, clock_mark, commands, contact, devices, groups, metadata, products, releases,
    rollouts,
};

/// All that is durable and matters to devices, the devices aside.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The products.
    pub products: Vec<Product>,
    /// The pins of those that have some.
    pub pins: Vec<(ProductId, Pins)>,
    /// Their releases.
    pub releases: Vec<Release>,
    /// Their groups.
    pub groups: Vec<Group>,
    /// Their rollouts.
    pub rollouts: Vec<Rollout>,
    /// Devices that had no contact for long.
    pub lost: Vec<Lost>,
    /// When the server last said that it was alive, in Unix milliseconds; 0 if never.
    pub alive_at: u64,
}

impl Fleet {
    /// Loads everything that answering polls needs.
    ///
    /// # Errors
    ///
    /// When the database fails or a row is damaged.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let products = products::all(store).await?;
        let mut pinned = Vec::new();
        for product in &products {
            let pins = pins(store, &product.id).await?;
            pinned.extend(pins.map(|pins| (product.id.clone(), pins)));
        }
        let fleet = Self::begin(Records {
            products,
            pins: pinned,
            releases: releases::all(store).await?,
            groups: groups::all(store).await?,
            rollouts: rollouts::all(store).await?,
            lost: contact::all(store).await?,
            alive_at: clock_mark::read(store).await?,
        });
        let catalogue = fleet.shared.catalogue.load_full();
        let pack = move |stored: Stored| pack(&stored, &catalogue);
        // One after the other: a million of them are not in memory twice.
        devices::for_each(store, pack, |device| fleet.enter(device)).await?;
        fleet.settle();
        // A device carries out what has a higher number than the last, whatever became of our clock.
        fleet.was_stamped(commands::newest(store).await?);
        Ok(fleet)
    }

    /// Returns the fleet as it was when these records were all there is, with these devices and their part
    /// in the rollouts. Counters are counted from the deployments, so they cannot drift.
    pub fn restored(records: Records, devices: impl IntoIterator<Item = Stored>) -> Self {
        let fleet = Self::begin(records);
        let catalogue = fleet.shared.catalogue.load_full();
        devices.into_iter().for_each(|stored| fleet.enter(pack(&stored, &catalogue)));
        fleet.settle();
        fleet
    }

    /// Returns the fleet before any device.
    fn begin(records: Records) -> Self {
        let fleet = Self::default();
        fleet.ledger().set_alive_at(records.alive_at);
        for (product, pins) in records.pins {
            fleet.put_pins(&product, pins);
        }
        records.products.into_iter().for_each(|product| fleet.put_product(product));
        for (product, releases) in by_product(records.releases) {
            fleet.put_releases(&product, releases);
        }
        records.groups.into_iter().for_each(|group| fleet.put_group(group));
        let mut rollouts = records.rollouts;
        // In the order of their lives: newer ones have higher numbers, and a way back comes after what
        // it is the way back from.
        rollouts.sort_by_key(|rollout| rollout.created_at);
        for rollout in rollouts {
            fleet.put_rollout(rollout);
        }
        records.lost.iter().for_each(|lost| fleet.put_lost(lost));
        fleet
    }

    /// Takes note of what depends on all devices together.
    fn settle(&self) {
        let catalogue = self.shared.catalogue.load_full();
        catalogue.open().for_each(|campaign| self.see_room(campaign, 0));
        self.was_stamped(latest_change(&catalogue));
    }
}

/// Packs a device with its part in those rollouts that are known.
fn pack((device, deployments): &Stored, catalogue: &Catalogue) -> Packed {
    let numbered = |(rollout, it): &(_, _)| Some((catalogue.number(rollout)?, *it));
    Packed::new(device, deployments.iter().filter_map(numbered))
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

#[cfg(test)]
mod tests {
    use waxwing_wire::command::Command as Wanted;

    use super::*;
    use crate::domain::command::{Command, State};
    use crate::testing::{NOW_MS, Shop};

    #[tokio::test]
    async fn commands_have_rising_numbers_after_the_clock_was_set_back_and_a_restart() {
        let shop = Shop::open(1).await;
        let last = shop.fleet.stamp(NOW_MS + 3_600_000);
        let command = Command {
            number: last,
            device: Shop::device(0),
            order: Wanted::Poll,
            state: State::Queued,
            created_by: "admin:ada".to_owned(),
            created_at: last,
            expires_at: last + 60_000,
            sent_at: None,
            ended_at: None,
            detail: String::new(),
        };
        let mut change = shop.store.begin().await.unwrap();
        commands::add(change.connection(), &command).await.unwrap();
        drop(change.commit().await.unwrap());
        let shop = shop.restarted().await;
        assert!(shop.fleet.stamp(NOW_MS) > last);
    }
}
