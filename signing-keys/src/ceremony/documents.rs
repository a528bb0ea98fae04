//! Delegation of the documents of a channel: SBOMs and provenance, which devices never fetch.

use waxwing_tuf::Time;
use waxwing_tuf::author::release::docs_role;
use waxwing_tuf::author::{DelegatedRole, Key, Targets};
use waxwing_wire::{Channel, ProductId};

use super::{Delegation, ForeignKeys, Holders, Refusal, check_foreign, drop_unused};

/// What the coordinator delegates: the documents of one channel of the product.
#[derive(Clone, Debug)]
pub struct DocumentsDelegation {
    /// The product the repository belongs to.
    pub product: ProductId,
    /// The channel.
    pub channel: Channel,
    /// Who may sign; `None`: those who sign releases of the channel.
    pub holders: Option<Holders>,
    /// When the new `targets` becomes void.
    pub expires: Time,
}

impl DocumentsDelegation {
    /// Writes down the `targets` that follows `old`, with the role before that of the channel: whoever
    /// looks for a document finds it without reading the list of releases.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the channel is not delegated, for thresholds nobody can meet, and for keys
    /// that may not be here.
    pub fn build(
        &self,
        old: Targets,
        version: u64,
        foreign: &ForeignKeys,
    ) -> Result<Targets, Refusal> {
        let channel = Delegation::role(&self.product, &self.channel);
        let mut delegations = old.delegations.clone().unwrap_or_default();
        let place = delegations.roles.iter().position(|role| role.name == channel);
        let sibling = place.and_then(|at| Some((at, delegations.roles.get(at)?.role_keys())));
        let (at, sibling) = sibling.ok_or(Refusal::NoChannel(channel.clone()))?;
        let name = docs_role(&channel);
        let keys = match &self.holders {
            None => sibling,
            Some(holders) => holders.role_keys(&name)?,
        };
        let added = self.holders.iter().flat_map(|holders| &holders.keys);
        delegations.keys.extend(added.map(|key| (key.key_id(), Key::from(key))));
        let path = |suffix| format!("{}/{}/*/*.{suffix}", self.product, self.channel);
        let role = DelegatedRole {
            keyids: keys.keyids,
            paths: vec![path("json"), path("jsonl")],
            terminating: true,
            threshold: keys.threshold,
            name: name.clone(),
        };
        match delegations.roles.iter_mut().find(|other| other.name == name) {
            Some(other) => *other = role,
            None => delegations.roles.insert(at, role),
        }
        drop_unused(&mut delegations);
        check_foreign(&delegations.keys, foreign)?;
        Ok(Targets { delegations: Some(delegations), expires: self.expires, version, ..old })
    }
}
