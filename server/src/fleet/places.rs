//! Places: which of the devices that polled may begin.
//!
//! Not here: how many places there are, which is the plan's business.

use std::collections::HashMap;

use waxwing_wire::{DeviceId, RolloutId};

use super::Fleet;
use super::catalogue::Catalogue;
use crate::domain::decision::{Beginning, begin};
use crate::domain::effect::NewDeployment;
use crate::domain::standing::{Moment, Seat};
use crate::domain::{Deployment, Sighting};

/// The places that are left while a batch of polls is gone through.
pub(super) struct Rooms<'a> {
    fleet: &'a Fleet,
    left: HashMap<RolloutId, u64>,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet, left: HashMap::new() }
    }

    /// Returns what begins for one device: its new deployment, and the one that this takes it from.
    /// What was withdrawn since the poll does not begin.
    pub(super) fn beginning(
        &mut self,
        device: &DeviceId,
        sighting: &Sighting,
    ) -> Vec<NewDeployment> {
        let Some(wish) = &sighting.begins else { return Vec::new() };
        let catalogue = self.fleet.shared.catalogue.load_full();
        let Some(member) = self.fleet.shared.members.get(device) else { return Vec::new() };
        let member = member.member();
        let (seats, zone) = (catalogue.deciding_seats(&member), member.zone());
        let moment = Moment { zone: &zone, now_ms: sighting.at };
        let begins = begin(&seats, &sighting.running, moment);
        if begins.as_ref() != Some(wish) || !self.takes_place(&catalogue, wish, sighting.at) {
            return Vec::new();
        }
        let at = self.fleet.stamp(sighting.at);
        let taken = seats.iter().filter_map(|seat| {
            let before = seat.in_flight_deployment()?;
            Some((seat.rollout.id.clone(), device.clone(), before.skipped(at)))
        });
        let (rollout, deployment) = made(&seats, wish, at);
        taken.chain([(rollout, device.clone(), deployment)]).collect()
    }

    fn takes_place(&mut self, catalogue: &Catalogue, wish: &Beginning, now_ms: u64) -> bool {
        let Beginning::Offer(rollout, _) = wish else { return true };
        let Some(campaign) = catalogue.campaigns.get(&rollout.id) else { return false };
        let left = self.left.entry(rollout.id.clone());
        let left = left.or_insert_with(|| self.fleet.places(campaign));
        if *left == 0 || self.fleet.ledger().afford(campaign, 1, now_ms) == 0 {
            return false;
        }
        *left -= 1;
        true
    }
}

/// Returns the deployment that a device gets by a wish.
fn made(seats: &[Seat<'_>], wish: &Beginning, at: u64) -> (RolloutId, Deployment) {
    let (Beginning::Offer(rollout, _) | Beginning::Skip(rollout)) = wish;
    let seat = seats.iter().find(|seat| seat.rollout.id == rollout.id);
    let before = seat.map_or(Deployment::waiting(), Seat::begun);
    let after = match wish {
        Beginning::Offer(_, hop) => before.offered(*hop, at),
        Beginning::Skip(_) => before.skipped(at),
    };
    (rollout.id.clone(), after)
}
