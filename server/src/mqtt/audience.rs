//! Who listens to messages of devices, and the way to them.
//!
//! A message goes to each listener whose filters find it, with `QoS` 0 and once. Nobody is waited for:
//! a listener whose queue is full misses messages, and they are counted. Not here: who may listen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::filter::Filter;

/// Messages that wait for one listener: 2 MiB of the longest ones.
const QUEUE_MAX: usize = 256;

/// Most listeners to all devices: each message is compared with the filters of each.
const EVERYWHERE_MAX: usize = 64;

/// A message that a device said and that was taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Who said it.
    pub device: DeviceId,
    /// What it is about.
    pub kind: Kind,
    /// What was said, as it came.
    pub payload: Bytes,
}

/// All listeners. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    listeners: Arc<Mutex<Listeners>>,
    /// How many there are, for those who would else ask in vain.
    count: Arc<AtomicUsize>,
    missed: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Listeners {
    /// Numbers them.
    last: u64,
    /// Those with a filter for all devices.
    everywhere: HashMap<u64, Ear>,
    /// Those whose filters name a device.
    by_device: HashMap<DeviceId, HashMap<u64, Ear>>,
}

#[derive(Clone, Debug)]
struct Ear {
    filters: Arc<[Filter]>,
    queue: mpsc::Sender<Arc<Said>>,
}

/// The place of one listener. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Seat {
    audience: Audience,
    number: u64,
    queue: mpsc::Sender<Arc<Said>>,
    heard: mpsc::Receiver<Arc<Said>>,
    filters: Arc<[Filter]>,
}

/// There are too many listeners already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Crowded;

impl Audience {
    /// Tells those who listen what a device said. Never waits, and costs nothing while nobody listens.
    pub fn tell(&self, device: &DeviceId, kind: Kind, payload: &[u8]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let ears = self.lock().of(device, kind);
        if ears.is_empty() {
            return;
        }
        let payload = Bytes::copy_from_slice(payload);
        let said = Arc::new(Said { device: device.clone(), kind, payload });
        let missed = ears.iter().filter(|ear| ear.try_send(Arc::clone(&said)).is_err()).count();
        self.missed.fetch_add(missed, Ordering::Relaxed);
    }

    /// Returns how many messages listeners have missed because they were too slow.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::Relaxed)
    }

    /// Gives a seat to somebody who listens to nothing yet.
    pub(super) fn seat(&self) -> Seat {
        let (queue, heard) = mpsc::channel(QUEUE_MAX);
        let mut listeners = self.lock();
        listeners.last += 1;
        let (audience, number) = (self.clone(), listeners.last);
        Seat { audience, number, queue, heard, filters: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Every change below is complete before anything can panic.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listeners {
    fn of(&self, device: &DeviceId, kind: Kind) -> Vec<mpsc::Sender<Arc<Said>>> {
        let finds = |ear: &&Ear| ear.filters.iter().any(|filter| filter.finds(device, kind));
        let near = self.by_device.get(device).into_iter().flatten();
        let near = near.filter(|(number, _)| !self.everywhere.contains_key(number));
        let all = self.everywhere.iter().chain(near).map(|(_, ear)| ear);
        all.filter(finds).map(|ear| ear.queue.clone()).collect()
    }

    fn forget(&mut self, number: u64, filters: &[Filter]) {
        self.everywhere.remove(&number);
        for device in filters.iter().filter_map(|filter| filter.device.as_ref()) {
            let Some(ears) = self.by_device.get_mut(device) else { continue };
            ears.remove(&number);
            if ears.is_empty() {
                self.by_device.remove(device);
            }
        }
    }

    fn add(&mut self, number: u64, ear: &Ear) -> Result<(), Crowded> {
        if ear.filters.iter().any(|filter| filter.device.is_none()) {
            if self.everywhere.len() >= EVERYWHERE_MAX {
                return Err(Crowded);
            }
            self.everywhere.insert(number, ear.clone());
        }
        for device in ear.filters.iter().filter_map(|filter| filter.device.clone()) {
            self.by_device.entry(device).or_default().insert(number, ear.clone());
        }
        Ok(())
    }
}

impl Seat {
    /// Listens to what these find from now on, and to nothing else.
    pub(super) fn listen_to(&mut self, filters: Vec<Filter>) -> Result<(), Crowded> {
        let mut listeners = self.audience.lock();
        listeners.forget(self.number, &self.filters);
        let was_listening = !self.filters.is_empty();
        self.filters = Arc::default();
        let filters: Arc<[Filter]> = filters.into();
        let ear = Ear { filters: Arc::clone(&filters), queue: self.queue.clone() };
        let added = listeners.add(self.number, &ear);
        if added.is_ok() {
            self.filters = filters;
        }
        match (was_listening, self.filters.is_empty()) {
            (false, false) => drop(self.audience.count.fetch_add(1, Ordering::AcqRel)),
            (true, true) => drop(self.audience.count.fetch_sub(1, Ordering::AcqRel)),
            (false, true) | (true, false) => {}
        }
        added
    }

    /// Returns the next message.
    pub(super) async fn hear(&mut self) -> Arc<Said> {
        match self.heard.recv().await {
            Some(said) => said,
            // Never: this seat has a sender itself.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nothing can be too much.
        let _ = self.listen_to(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    fn device(name: &str) -> DeviceId {
        DeviceId::parse(name).unwrap()
    }

    impl Seat {
        fn heard(&mut self) -> Vec<String> {
            let heard = std::iter::from_fn(|| self.heard.try_recv().ok());
            heard.map(|said| format!("{}/{}", said.device, said.kind)).collect()
        }
    }

    fn tell_all(audience: &Audience) {
        for (name, kind) in [("a", Kind::Telemetry), ("a", Kind::State), ("b", Kind::Telemetry)] {
            audience.tell(&device(name), kind, b"x");
        }
    }

    #[test]
    fn a_listener_hears_each_message_that_its_filters_find_once() {
        let audience = Audience::default();
        let mut seat = audience.seat();
        for (filters, expected) in [
            (vec![], vec![]),
            (vec!["waxwing/v1/a/state"], vec!["a/state"]),
            (vec!["waxwing/v1/+/telemetry"], vec!["a/telemetry", "b/telemetry"]),
            (
                vec!["#", "waxwing/v1/a/state", "waxwing/v1/a/#"],
                vec!["a/telemetry", "a/state", "b/telemetry"],
            ),
            (vec!["waxwing/v1/a/#", "waxwing/v1/b/state"], vec!["a/telemetry", "a/state"]),
        ] {
            seat.listen_to(filters.iter().map(|text| filter(text)).collect()).unwrap();
            tell_all(&audience);
            assert_eq!(seat.heard(), expected, "{filters:?}");
        }
        drop(seat);
        let listeners = audience.lock();
        assert!(listeners.everywhere.is_empty() && listeners.by_device.is_empty());
        assert_eq!(audience.count.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_listener_that_is_too_slow_misses_messages_and_nobody_else_does() {
        let audience = Audience::default();
        let (mut slow, mut quick) = (audience.seat(), audience.seat());
        slow.listen_to(vec![filter("#")]).unwrap();
        quick.listen_to(vec![filter("#")]).unwrap();
        for _ in 0..=QUEUE_MAX {
            audience.tell(&device("a"), Kind::State, b"x");
            assert_eq!(quick.heard().len(), 1);
        }
        assert_eq!(audience.missed(), 1);
        assert_eq!(slow.heard().len(), QUEUE_MAX);
    }

    #[test]
    fn listeners_to_all_devices_are_bounded() {
        let audience = Audience::default();
        let mut seats: Vec<_> = (0..=EVERYWHERE_MAX).map(|_| audience.seat()).collect();
        let mut last = seats.pop().unwrap();
        for seat in &mut seats {
            seat.listen_to(vec![filter("#")]).unwrap();
        }
        assert_eq!(last.listen_to(vec![filter("#")]), Err(Crowded));
        last.listen_to(vec![filter("waxwing/v1/a/#")]).unwrap();
        seats.pop();
        last.listen_to(vec![filter("#")]).unwrap();
    }
}
