//! Sectors that many chips hold at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Sector;

/// How many entries may be dead before they are swept out.
const SWEEP_MIN: usize = 1024;

/// A pool of sectors: the same content is held once. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub struct SharedSectors(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    hasher: RandomState,
    sectors: HashMap<u64, Weak<Sector>>,
    sweep_at: usize,
}

impl SharedSectors {
    /// Returns the sector with this content.
    pub(super) fn get(&self, content: &Sector) -> Arc<Sector> {
        // A panic elsewhere leaves the pool whole: every change is one insertion.
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.get(content)
    }

    /// Returns how many different sectors are held.
    pub fn distinct(&self) -> usize {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.sectors.values().filter(|sector| sector.strong_count() > 0).count()
    }
}

impl Pool {
    fn get(&mut self, content: &Sector) -> Arc<Sector> {
        let key = self.hasher.hash_one(content);
        if let Some(sector) = self.sectors.get(&key).and_then(Weak::upgrade)
            && *sector == *content
        {
            return sector;
        }
        let sector = Arc::new(*content);
        self.sectors.insert(key, Arc::downgrade(&sector));
        if self.sectors.len() > self.sweep_at {
            self.sectors.retain(|_, sector| sector.strong_count() > 0);
            self.sweep_at = self.sectors.len().saturating_mul(2).max(SWEEP_MIN);
        }
        sector
    }
}
