//! What devices say of their health and of their contact to us, for the rollouts that compare those with
//! an image with those without it.
//!
//! Not here: what follows from it.

use std::collections::BTreeMap;

use serde_json::Value;
use waxwing_wire::{DeviceId, RolloutId};

use super::Fleet;
use super::catalogue::{Campaign, may_take_part};
use super::packed::Member;
use crate::domain::Sighting;
use crate::domain::effect::Lost;
use crate::domain::rollout::contact::{LOST_S, hour_of};
use crate::domain::rollout::health::{Comparison, Side};

impl Fleet {
    /// Returns what telemetry says of both sides, by each rule of a rollout's plan; nothing before the
    /// first telemetry came.
    pub fn health(&self, rollout: &RolloutId) -> Vec<Comparison> {
        let number = self.shared.catalogue.load().number(rollout);
        number.map(|number| self.ledger().health(number)).unwrap_or_default()
    }

    /// Takes in the telemetry of a device, for the rollouts whose plans have rules about it. Whatever else
    /// it says, and whatever is no object, says nothing here.
    pub fn hear(&self, device: &DeviceId, telemetry: &str, now_ms: u64) {
        let catalogue = self.shared.catalogue.load();
        let Some(packed) = self.shared.members.get(device) else { return };
        let member = packed.member();
        let ranked = catalogue.ranked(member.product).iter();
        let mut listening = ranked.filter(|campaign| campaign.listens()).peekable();
        if listening.peek().is_none() {
            return;
        }
        let Ok(Value::Object(telemetry)) = serde_json::from_str(telemetry) else { return };
        for campaign in listening {
            if let Some(side) = campaign.side_of(&member) {
                self.ledger().hear(campaign, (member.number, side), &telemetry, now_ms);
            }
        }
    }

    /// Returns who polled after a time without contact, for every open rollout to whose image they have
    /// not switched (D18).
    pub(super) fn lost(&self, polls: &[(DeviceId, Sighting)]) -> Vec<Lost> {
        let mut lost: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for (device, sighting) in polls.iter().filter(|(_, it)| it.running.out_s >= LOST_S) {
            let hour = hour_of(sighting.at);
            for (rollout, number) in self.lost_to(device, hour) {
                lost.entry((rollout, hour)).or_default().push(number);
            }
        }
        let as_lost = |((rollout, hour), who): (_, Vec<u32>)| {
            let devices = u64::try_from(who.len()).unwrap_or(u64::MAX);
            Lost { rollout, hour, devices, who }
        };
        lost.into_iter().map(as_lost).collect()
    }

    /// Counts devices that had no contact.
    pub(super) fn put_lost(&self, lost: &Lost) {
        let catalogue = self.shared.catalogue.load();
        if let Some(campaign) = catalogue.campaigns.get(&lost.rollout) {
            self.ledger().contact(campaign).lose(lost.hour, lost.devices, &lost.who);
        }
    }

    /// Returns the rollouts that a device was lost to in an hour and is not counted in yet, with its number.
    fn lost_to(&self, device: &DeviceId, hour: u64) -> Vec<(RolloutId, u32)> {
        let catalogue = self.shared.catalogue.load();
        let Some(packed) = self.shared.members.get(device) else { return Vec::new() };
        let member = packed.member();
        let ranked = catalogue.ranked(member.product).iter();
        let open = ranked.filter(|campaign| !campaign.rollout.state.is_final());
        let without = open.filter(|campaign| campaign.side_of(&member) == Some(Side::Without));
        let new = without
            .filter(|campaign| !self.ledger().contact(campaign).has_lost(member.number, hour));
        new.map(|campaign| (campaign.rollout.id.clone(), member.number)).collect()
    }
}

impl Campaign {
    /// Tells whether telemetry counts.
    fn listens(&self) -> bool {
        !self.rollout.state.is_final() && !self.rollout.plan.health.is_empty()
    }

    /// Returns the side on which a device counts.
    fn side_of(&self, member: &Member<'_>) -> Option<Side> {
        let counts = self.is_for(member) && may_take_part(member.status);
        let (deployment, running) = (member.deployment(self.number), member.version.as_ref());
        counts.then(|| Side::of(deployment, &self.route(), running))?
    }
}

#[cfg(test)]
mod tests;
