//! Which devices may read what other devices say: what operators have granted, in memory.
//!
//! Not here: who grants it, and where it is kept (`store::device_readers`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

/// What one device may read: whose messages, and which.
pub type Readable = BTreeSet<(DeviceId, Kind)>;

/// All grants. Clones share them.
#[derive(Clone, Debug)]
pub struct Grants {
    by_reader: Arc<RwLock<HashMap<DeviceId, Readable>>>,
    /// Rises with every change.
    version: watch::Sender<u64>,
}

impl Default for Grants {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

impl Grants {
    /// Takes up what was granted: reader, device, kind.
    pub fn new(all: impl IntoIterator<Item = (DeviceId, DeviceId, Kind)>) -> Self {
        let mut by_reader = HashMap::<_, Readable>::new();
        for (reader, device, kind) in all {
            by_reader.entry(reader).or_default().insert((device, kind));
        }
        Self { by_reader: Arc::new(RwLock::new(by_reader)), version: watch::Sender::new(0) }
    }

    /// Returns what a device may read.
    pub fn of(&self, reader: &DeviceId) -> Readable {
        let all = self.by_reader.read().unwrap_or_else(PoisonError::into_inner);
        all.get(reader).cloned().unwrap_or_default()
    }

    /// Lets a device read these messages of another one, and no other ones of it.
    pub fn set(&self, reader: &DeviceId, device: &DeviceId, kinds: &BTreeSet<Kind>) {
        self.change(|all| {
            let readable = all.entry(reader.clone()).or_default();
            readable.retain(|(other, _)| other != device);
            readable.extend(kinds.iter().map(|kind| (device.clone(), *kind)));
        });
    }

    /// Ends everything that a device may read, and that others may read of it.
    pub fn forget(&self, device: &DeviceId) {
        self.change(|all| {
            all.remove(device);
            for readable in all.values_mut() {
                readable.retain(|(other, _)| other != device);
            }
        });
    }

    /// Tells of changes from now on.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<DeviceId, Readable>)) {
        let mut all = self.by_reader.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        all.retain(|_, readable| !readable.is_empty());
        drop(all);
        self.version.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_can_be_read_until_it_is_granted_no_more() {
        let [a, b, c] = ["a", "b", "c"].map(|name| DeviceId::parse(name).unwrap());
        let grants = Grants::new([(b.clone(), a.clone(), Kind::State)]);
        let changes = grants.watch();
        assert!(grants.of(&a).is_empty());
        grants.set(&b, &a, &BTreeSet::from([Kind::Telemetry]));
        grants.set(&b, &c, &BTreeSet::from([Kind::State]));
        let expected = [(a.clone(), Kind::Telemetry), (c.clone(), Kind::State)];
        assert_eq!(grants.of(&b), Readable::from(expected));
        assert!(changes.has_changed().unwrap());
        grants.forget(&a);
        assert_eq!(grants.of(&b), Readable::from([(c, Kind::State)]));
        grants.forget(&b);
        assert!(grants.by_reader.read().unwrap().is_empty());
    }
}
