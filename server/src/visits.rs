//! Which connections devices have open on the HTTP listener, so that they can be ended from outside.
//!
//! A connection notices a revocation with its next request; a download that is under way makes none.
//! Not here: connections for messages, which the MQTT hub knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use waxwing_wire::DeviceId;

/// The open connections of all devices.
#[derive(Debug, Default)]
pub struct Visits(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    begun: u64,
    by_device: HashMap<DeviceId, Vec<(u64, CancellationToken)>>,
}

/// Held as long as a connection is open.
#[derive(Debug)]
pub struct Visit {
    open: Arc<Mutex<Open>>,
    device: DeviceId,
    number: u64,
    ended: CancellationToken,
}

impl Visits {
    /// Takes note of a connection.
    pub fn begin(&self, device: &DeviceId) -> Visit {
        let ended = CancellationToken::new();
        let mut open = lock(&self.0);
        open.begun += 1;
        let number = open.begun;
        let visits = open.by_device.entry(device.clone()).or_default();
        visits.push((number, ended.clone()));
        Visit { open: Arc::clone(&self.0), device: device.clone(), number, ended }
    }

    /// Ends all connections of a device.
    pub fn end(&self, device: &DeviceId) {
        for (_, ended) in lock(&self.0).by_device.get(device).into_iter().flatten() {
            ended.cancel();
        }
    }
}

impl Visit {
    /// Serves the connection until it is over, or ended from outside.
    pub async fn serve(self, connection: impl Future<Output = ()>) {
        self.ended.run_until_cancelled(connection).await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        let Some(visits) = open.by_device.get_mut(&self.device) else { return };
        visits.retain(|(number, _)| *number != self.number);
        if visits.is_empty() {
            open.by_device.remove(&self.device);
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // Every change above is complete before anything can panic.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn connections_of_one_device_end_and_nothing_is_left_of_them() {
        let visits = Visits::default();
        let [own, other] = ["d-1", "d-2"].map(|id| DeviceId::parse(id).unwrap());
        let (first, second) = (visits.begin(&own), visits.begin(&own));
        let stranger = visits.begin(&other);
        visits.end(&own);
        first.serve(pending()).await;
        second.serve(pending()).await;
        assert!(!stranger.ended.is_cancelled());
        drop(stranger);
        assert!(lock(&visits.0).by_device.is_empty());
    }
}
