//! Bringing the fleet up to date, after a change was committed and before the next one begins.

use std::iter;
use std::sync::Arc;

use waxwing_wire::{DeviceId, ProductId, RolloutId};

use super::Fleet;
use super::catalogue::{Campaign, Catalogue};
use super::packed::{Member, Packed};
use crate::domain::{Deployment, Device, Group, Pins, Product, Release, Rollout, Sighting};

impl Fleet {
    /// Brings a deployment up to date.
    pub fn put_deployment(&self, device: &DeviceId, rollout: &RolloutId, deployment: Deployment) {
        let catalogue = self.shared.catalogue.load_full();
        let mut ledger = self.ledger();
        let Some(campaign) = catalogue.campaigns.get(rollout) else { return };
        let Some(before) = self.shared.members.get(device) else { return };
        let before = before.member();
        let after = before.deployed(campaign.number, deployment);
        let member = after.member();
        ledger.move_deployment(campaign, &member, before.deployment(campaign.number));
        let back = catalogue.campaigns.values();
        for back in back.filter(|back| back.back_from == Some(campaign.number)) {
            ledger.move_member(back, Some(&before), &member);
        }
        self.shared.members.put(&after);
    }

    /// Takes note that devices polled which have a whole image and have not switched to it: as long as
    /// they do, they wait for a good moment.
    pub fn saw(&self, polls: &[(DeviceId, Sighting)]) {
        let catalogue = self.shared.catalogue.load_full();
        let members = &self.shared.members;
        for (device, sighting) in polls {
            let rests = members.with(device, |member| !member.is_about_to_switch());
            if rests != Some(false) {
                continue;
            }
            let mut ledger = self.ledger();
            let Some(before) = members.get(device) else { continue };
            let before = before.member();
            let after = before.seen(sighting.at);
            let member = after.member();
            for campaign in catalogue.campaigns_of(&before) {
                ledger.move_member(campaign, Some(&before), &member);
            }
            members.put(&after);
        }
    }

    /// Lets patience with silent devices go on from now, unless it has begun: what happened while it was
    /// away, the server could not hear.
    pub fn listen_from(&self, now_ms: u64) {
        let catalogue = self.shared.catalogue.load_full();
        let mut ledger = self.ledger();
        if ledger.begin_to_listen(now_ms) {
            for campaign in catalogue.campaigns.values() {
                ledger.listen_to(campaign, &self.shared.members);
            }
        }
    }

    /// Brings a device up to date.
    #[expect(clippy::needless_pass_by_value, reason = "who puts a device has no more use for it")]
    pub fn put_device(&self, device: Device) {
        let catalogue = self.shared.catalogue.load_full();
        let mut ledger = self.ledger();
        let members = &self.shared.members;
        let old = members.get(&device.id);
        let old = old.as_ref().map(Packed::member);
        let new = match &old {
            Some(old) => old.become_of(&device),
            None => Packed::new(&device, iter::empty()).numbered(ledger.index.next_number()),
        };
        let before = old.as_ref().map(Member::device);
        let member = new.member();
        for campaign in catalogue.of_product(member.product) {
            if before.as_ref().is_none_or(|before| campaign.may_count_anew(before, &device)) {
                ledger.move_member(campaign, old.as_ref(), &member);
            }
        }
        let place = members.put(&new);
        ledger.index.put(place, old.as_ref(), &member, members);
    }

    /// Adds a device with its part in the rollouts, all at once.
    pub(super) fn enter(&self, new: Packed) {
        let catalogue = self.shared.catalogue.load();
        let (mut ledger, members) = (self.ledger(), &self.shared.members);
        let new = new.numbered(ledger.index.next_number());
        let member = new.member();
        for campaign in catalogue.of_product(member.product) {
            ledger.move_member(campaign, None, &member);
        }
        let changes = member.deployments().map(|(_, it)| it.changed_at.max(it.decided_at));
        self.was_stamped(changes.fold(member.changed_at, u64::max));
        let place = members.put(&new);
        ledger.index.put(place, None, &member, members);
    }

    /// Brings a group up to date.
    pub fn put_group(&self, group: Group) {
        self.change(|catalogue| catalogue.put_group(group));
    }

    /// Brings the pins of a product up to date.
    pub fn put_pins(&self, product: &ProductId, pins: Pins) {
        self.change(|catalogue| {
            catalogue.pins.insert(product.clone(), pins);
        });
    }

    /// Brings a product up to date.
    pub fn put_product(&self, product: Product) {
        self.change(|catalogue| {
            catalogue.products.insert(product.id.clone(), Arc::new(product));
        });
    }

    /// Brings the releases of a product up to date.
    pub fn put_releases(&self, product: &ProductId, releases: Vec<Release>) {
        self.change(|catalogue| catalogue.put_releases(product, releases));
    }

    /// Brings a rollout up to date. Its releases and groups must be there.
    pub fn put_rollout(&self, rollout: Rollout) {
        let id = rollout.id.clone();
        let mut is_complete = false;
        self.change(|catalogue| is_complete = catalogue.put_rollout(rollout));
        let catalogue = self.shared.catalogue.load_full();
        let campaign = catalogue.campaigns.get(&id).filter(|_| is_complete);
        if let Some(campaign) = campaign {
            self.open_phases(campaign);
            if campaign.rollout.state.is_final() {
                self.ledger().conclude(campaign.number);
            }
        } else {
            tracing::error!(rollout.id = %id, "a rollout without release or group is left out");
        }
    }

    fn open_phases(&self, campaign: &Campaign) {
        self.ledger().open_phases(campaign, &self.shared.members);
        // What the budget holds by now is known when time is looked at next.
        self.see_room(campaign, 0);
    }

    /// Replaces the catalogue, and counts the rollouts anew that reach other devices than before.
    fn change(&self, change: impl FnOnce(&mut Catalogue)) {
        let mut ledger = self.ledger();
        let before = self.shared.catalogue.load_full();
        let mut after = Catalogue::clone(&before);
        change(&mut after);
        for campaign in after.moved_since(&before) {
            ledger.count_anew(campaign, &self.shared.members);
        }
        self.shared.catalogue.store(Arc::new(after));
    }
}

/// The latest time of any change of what is in the catalogue.
pub(super) fn latest_change(catalogue: &Catalogue) -> u64 {
    let releases = catalogue.releases.values().flat_map(|all| all.values().map(|r| r.changed_at));
    let rollouts = catalogue.campaigns.values().flat_map(|campaign| {
        let phases = campaign.rollout.started().map(|phase| phase.at);
        phases.chain([campaign.rollout.changed_at])
    });
    let pins = catalogue.pins.values().map(|pins| pins.changed_at);
    releases.chain(rollouts).chain(pins).max().unwrap_or(0)
}
