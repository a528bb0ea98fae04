//! Which devices may carry what others say, as operators have granted, in memory; and the polls that were
//! carried, so that none counts twice.
//!
//! A gateway is believed in nothing: a grant only lets it hand over what others have signed. Not here:
//! who grants it, and where it is kept (`store::device_gateways`).

pub mod polls;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use waxwing_wire::DeviceId;

use self::polls::Polls;
use crate::store::device_gateways::{self, Grant};
use crate::store::{self, Store, carried_polls};

/// All grants, and the polls that were carried. Clones share them.
#[derive(Clone, Debug)]
pub struct Gateways {
    by_gateway: Arc<RwLock<HashMap<DeviceId, BTreeSet<DeviceId>>>>,
    /// The polls that were carried.
    pub polls: Polls,
}

impl Gateways {
    /// Takes up what was granted, in a server that began then, in Unix milliseconds: by a clock that was not
    /// set back since the one before ended.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn load(store: &Store, began_ms: u64) -> Result<Self, store::Error> {
        let polls = Polls::since(began_ms, carried_polls::read(store).await?);
        let gateways = Self { by_gateway: Arc::default(), polls };
        for Grant { device, gateway, .. } in device_gateways::all(store).await? {
            gateways.grant(&gateway, &device);
        }
        Ok(gateways)
    }

    /// Tells whether a gateway may carry for a device.
    pub fn may_carry(&self, gateway: &DeviceId, device: &DeviceId) -> bool {
        let all = self.by_gateway.read().unwrap_or_else(PoisonError::into_inner);
        all.get(gateway).is_some_and(|devices| devices.contains(device))
    }

    /// Lets a gateway carry for a device.
    pub fn grant(&self, gateway: &DeviceId, device: &DeviceId) {
        self.change(|all| {
            all.entry(gateway.clone()).or_default().insert(device.clone());
        });
    }

    /// Lets a gateway carry for a device no more.
    pub fn revoke(&self, gateway: &DeviceId, device: &DeviceId) {
        self.change(|all| {
            all.entry(gateway.clone()).or_default().remove(device);
        });
    }

    /// Ends all that a device may carry, and all that others may carry for it.
    pub fn forget(&self, device: &DeviceId) {
        self.change(|all| {
            all.remove(device);
            for devices in all.values_mut() {
                devices.remove(device);
            }
        });
        self.polls.forget(device);
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<DeviceId, BTreeSet<DeviceId>>)) {
        let mut all = self.by_gateway.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        all.retain(|_, devices| !devices.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_carries_for_whom_it_was_granted_and_no_longer() {
        let [g, h, a, b] = ["g", "h", "a", "b"].map(|name| DeviceId::parse(name).unwrap());
        let gateways = Gateways { by_gateway: Arc::default(), polls: Polls::since(0, 0) };
        assert!(!gateways.may_carry(&g, &a));
        assert!(!gateways.may_carry(&a, &a), "not even for itself");
        gateways.grant(&g, &a);
        gateways.grant(&g, &b);
        gateways.grant(&h, &a);
        assert!(gateways.may_carry(&g, &a) && !gateways.may_carry(&a, &g));
        gateways.revoke(&g, &b);
        assert!(gateways.may_carry(&g, &a) && !gateways.may_carry(&g, &b));
        gateways.forget(&g);
        assert!(!gateways.may_carry(&g, &a) && gateways.may_carry(&h, &a));
        gateways.forget(&a);
        assert!(gateways.by_gateway.read().unwrap().is_empty());
    }
}
