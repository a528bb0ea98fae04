//! Bytes that many devices hold at once: sectors of flash, files of metadata.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How many entries may be dead before they are swept out.
const SWEEP_MIN: usize = 1024;
/// An odd number whose bits are as good as random: the golden ratio of 64 bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes that others may hold, too. An `Arc` of them is one word, not two.
#[derive(Debug)]
pub struct Bytes(Box<[u8]>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A pool of bytes: the same are held once. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    held: HashMap<u64, Weak<Bytes>>,
    sweep_at: usize,
}

impl Shared {
    /// Returns these bytes.
    pub fn get(&self, bytes: &[u8]) -> Arc<Bytes> {
        // A panic elsewhere leaves the pool whole: every change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(bytes)
    }

    /// Returns how many different bytes are held.
    pub fn distinct(&self) -> usize {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.held.values().filter(|bytes| bytes.strong_count() > 0).count()
    }
}

impl Pool {
    fn get(&mut self, bytes: &[u8]) -> Arc<Bytes> {
        let key = fingerprint(bytes);
        if let Some(held) = self.held.get(&key).and_then(Weak::upgrade)
            && **held == *bytes
        {
            return held;
        }
        let held = Arc::new(Bytes(bytes.into()));
        self.held.insert(key, Arc::downgrade(&held));
        if self.held.len() > self.sweep_at {
            self.held.retain(|_, held| held.strong_count() > 0);
            self.sweep_at = self.held.len().saturating_mul(2).max(SWEEP_MIN);
        }
        held
    }
}

/// A number that tells bytes apart, fast. Should two be the same, both are held more than once.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mix = |lane: u64, word: u64| (lane ^ word).wrapping_mul(MIX).rotate_left(29);
    // Four at a time: each waits for nothing but its own multiplication.
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    let rest = rest.iter().map(|byte| u64::from(*byte));
    rest.chain(lanes).fold(MIX, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_held_once_and_let_go_with_its_last_holder() {
        let shared = Shared::default();
        let held = [shared.get(b"same"), shared.clone().get(b"same"), shared.get(b"other")];
        assert!(Arc::ptr_eq(&held[0], &held[1]));
        assert_eq!((&**held[2], shared.distinct()), (b"other".as_slice(), 2));
        drop(held);
        assert_eq!(shared.distinct(), 0);
    }

    #[test]
    fn every_byte_changes_the_fingerprint() {
        let with_one = |at: usize| {
            let mut bytes = vec![0; 100];
            bytes[at] = 1;
            fingerprint(&bytes)
        };
        let mut prints: Vec<_> = (0..100).map(with_one).chain([fingerprint(&[0; 100])]).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), 101);
    }
}
