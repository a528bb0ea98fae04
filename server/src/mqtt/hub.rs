//! Who is connected, and the way to reach them.
//!
//! One entry per device: its connection, or what is kept for it between two. Nothing here waits
//! for a device, except a new connection for the end of the one it replaces.
//!
//! Not here: packets ([`session`](super::session)), nor who may connect.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use waxwing_wire::DeviceId;

use super::outbox::{COMMANDS_MAX, Outbox};
use super::reason::Reason;
use super::session::Kept;
use crate::clock::Clock;

/// How long a new connection waits for the one it replaces to hand over what it kept: longer than
/// a connection needs to end.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(15);

/// The connected devices. Clones share them.
#[derive(Clone)]
pub struct Hub {
    clock: Arc<dyn Clock>,
    devices: Arc<Mutex<Devices>>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// The device is not connected, and did not ask to have anything kept.
    Absent,
    /// The device has not taken earlier commands; a connection that is stuck is ended.
    Behind,
    /// The device is connected, but has not subscribed to its commands.
    NotListening,
    /// The device is on its way back, and gets the command then.
    Kept,
    /// The command is on its way.
    Sent,
}

impl Hub {
    /// Makes a hub without devices.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, devices: Arc::default() }
    }

    /// Sends a command to a device. Never waits.
    pub fn command(&self, device: &DeviceId, command: Bytes) -> Delivery {
        let now = self.clock.monotonic();
        match self.lock().entries.get_mut(device) {
            None => Delivery::Absent,
            Some(Entry::Connected(line)) => line.command(command),
            Some(Entry::Away { until, .. }) if *until <= now => Delivery::Absent,
            Some(Entry::Away { outbox, .. }) if !outbox.is_subscribed() => Delivery::Absent,
            Some(Entry::Away { outbox, .. }) => match outbox.push(command) {
                Ok(()) => Delivery::Kept,
                Err(_) => Delivery::Behind,
            },
        }
    }

    /// Sends a command to those of the devices that are connected and listen, and returns to how
    /// many. `command` is called for these only.
    pub fn nudge<'a>(
        &self,
        devices: impl IntoIterator<Item = &'a DeviceId>,
        mut command: impl FnMut(&DeviceId) -> Option<Bytes>,
    ) -> usize {
        let listening = devices.into_iter().filter(|device| self.listens(device));
        let send = |device| Some(self.command(device, command(device)?));
        listening.filter_map(send).filter(|d| *d == Delivery::Sent).count()
    }

    /// Ends the connection of a revoked device and forgets what was kept for it.
    ///
    /// Call it after the device's record says that it is revoked: a connection that is just being
    /// made reads the record once more when the hub knows of it.
    pub fn disconnect(&self, device: &DeviceId) {
        let mut devices = self.lock();
        match devices.entries.get_mut(device) {
            None => {}
            Some(Entry::Connected(line)) => line.stop(Reason::AdministrativeAction),
            Some(Entry::Away { .. }) => {
                devices.entries.remove(device);
            }
        }
    }

    /// Ends all connections, and each that is still to come.
    pub fn shut_down(&self) {
        let mut devices = self.lock();
        devices.shut_down = true;
        for entry in devices.entries.values_mut() {
            if let Entry::Connected(line) = entry {
                line.stop(Reason::ServerShuttingDown);
            }
        }
    }

    /// Returns how many devices are connected.
    pub fn connected(&self) -> usize {
        self.lock().connected
    }

    /// Returns whether the device is connected.
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        matches!(self.lock().entries.get(device), Some(Entry::Connected(_)))
    }

    /// Makes a connection the device's only one, and waits for the end of the one before.
    pub(super) async fn attach(&self, device: DeviceId) -> Attachment {
        let (attachment, predecessor) = self.replace(device);
        match predecessor {
            None => attachment,
            Some(Predecessor::Kept(outbox)) => attachment.with(Some(outbox)),
            Some(Predecessor::Ending(handover)) => {
                let kept = timeout(HANDOVER_TIMEOUT, handover).await.ok().and_then(Result::ok);
                attachment.with(kept.flatten().map(|kept| kept.outbox))
            }
        }
    }

    fn replace(&self, device: DeviceId) -> (Attachment, Option<Predecessor>) {
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let (stop_in, stop) = oneshot::channel();
        let (handover_in, handover) = oneshot::channel();
        let now = self.clock.monotonic();
        let mut devices = self.lock();
        devices.generation += 1;
        let generation = devices.generation;
        let mut line = Line {
            generation,
            commands: commands_in,
            stop: Some(stop_in),
            handover,
            listens: false,
        };
        if devices.shut_down {
            line.stop(Reason::ServerShuttingDown);
        }
        let predecessor = match devices.entries.insert(device.clone(), Entry::Connected(line)) {
            Some(Entry::Connected(mut line)) => {
                line.stop(Reason::SessionTakenOver);
                Some(Predecessor::Ending(line.handover))
            }
            Some(Entry::Away { outbox, until }) => {
                devices.connected += 1;
                (now < until).then_some(Predecessor::Kept(outbox))
            }
            None => {
                devices.connected += 1;
                None
            }
        };
        let hub = self.clone();
        let handover = Some(handover_in);
        let attachment = Attachment {
            hub,
            device,
            generation,
            commands,
            stop: Some(stop),
            kept: None,
            handover,
        };
        (attachment, predecessor)
    }

    fn listens(&self, device: &DeviceId) -> bool {
        matches!(self.lock().entries.get(device), Some(Entry::Connected(line)) if line.listens)
    }

    fn lock(&self) -> MutexGuard<'_, Devices> {
        // Every change below is complete before anything can panic.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Devices {
    entries: HashMap<DeviceId, Entry>,
    /// How many entries are connected.
    connected: usize,
    /// When what is kept for a device is to be forgotten, soonest first.
    expiries: BTreeSet<(Duration, DeviceId)>,
    /// Number of the newest connection.
    generation: u64,
    shut_down: bool,
}

impl Devices {
    fn is_current(&self, device: &DeviceId, generation: u64) -> bool {
        let entry = self.entries.get(device);
        matches!(entry, Some(Entry::Connected(line)) if line.generation == generation)
    }

    fn keep(&mut self, device: &DeviceId, kept: Option<Kept>, now: Duration) {
        self.connected -= 1;
        let Some(Kept { outbox, expiry }) = kept else {
            self.entries.remove(device);
            return;
        };
        let until = now + expiry;
        self.entries.insert(device.clone(), Entry::Away { outbox, until });
        self.expiries.insert((until, device.clone()));
    }

    fn forget_expired(&mut self, now: Duration) {
        while let Some((until, device)) = self.expiries.pop_first() {
            if until > now {
                self.expiries.insert((until, device));
                return;
            }
            // The device may have been back since; then another time is noted for it.
            if matches!(self.entries.get(&device), Some(Entry::Away { until, .. }) if *until <= now)
            {
                self.entries.remove(&device);
            }
        }
    }
}

#[derive(Debug)]
enum Entry {
    Away { outbox: Outbox, until: Duration },
    Connected(Line),
}

/// The hub's end of a connection.
#[derive(Debug)]
struct Line {
    generation: u64,
    commands: mpsc::Sender<Bytes>,
    /// Taken when used: the first reason stands.
    stop: Option<oneshot::Sender<Reason>>,
    /// Brings what the connection kept to the one that replaces it.
    handover: oneshot::Receiver<Option<Kept>>,
    listens: bool,
}

impl Line {
    fn command(&mut self, command: Bytes) -> Delivery {
        if !self.listens {
            return Delivery::NotListening;
        }
        match self.commands.try_send(command) {
            Ok(()) => Delivery::Sent,
            Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Absent,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.stop(Reason::QuotaExceeded);
                Delivery::Behind
            }
        }
    }

    fn stop(&mut self, reason: Reason) {
        if let Some(stop) = self.stop.take() {
            // A connection that is gone need not be told.
            let _ = stop.send(reason);
        }
    }
}

enum Predecessor {
    Ending(oneshot::Receiver<Option<Kept>>),
    Kept(Outbox),
}

/// A connection's end of the hub. Dropping it says that the connection is over.
pub(super) struct Attachment {
    hub: Hub,
    device: DeviceId,
    generation: u64,
    commands: mpsc::Receiver<Bytes>,
    /// Gone once it has said that the connection is to end.
    stop: Option<oneshot::Receiver<Reason>>,
    kept: Option<Outbox>,
    handover: Option<oneshot::Sender<Option<Kept>>>,
}

/// What the hub wants of a connection.
#[derive(Debug)]
pub(super) enum Order {
    Command(Bytes),
    Stop(Reason),
}

impl Attachment {
    /// Returns the next order; ending comes before everything else.
    pub(super) async fn order(&mut self) -> Order {
        tokio::select! {
            biased;
            reason = stopped(&mut self.stop) => Order::Stop(reason),
            Some(command) = self.commands.recv() => Order::Command(command),
        }
    }

    /// Returns when the connection is to end; says so once.
    pub(super) async fn stopped(&mut self) -> Reason {
        stopped(&mut self.stop).await
    }

    /// Takes what was kept for the device.
    pub(super) const fn take_kept(&mut self) -> Option<Outbox> {
        self.kept.take()
    }

    /// Notes whether the device listens to commands.
    pub(super) fn listen(&self, listens: bool) {
        if let Some(Entry::Connected(line)) = self.hub.lock().entries.get_mut(&self.device)
            && line.generation == self.generation
        {
            line.listens = listens;
        }
    }

    /// Ends the connection and leaves what is to be kept for the device.
    pub(super) fn finish(mut self, kept: Option<Kept>) {
        self.leave(kept);
    }

    fn with(mut self, kept: Option<Outbox>) -> Self {
        self.kept = kept;
        self
    }

    fn leave(&mut self, kept: Option<Kept>) {
        let Some(handover) = self.handover.take() else { return };
        let now = self.hub.clock.monotonic();
        let mut devices = self.hub.lock();
        if devices.is_current(&self.device, self.generation) {
            devices.keep(&self.device, kept, now);
        } else {
            // Nobody may be waiting any more.
            let _ = handover.send(kept);
        }
        devices.forget_expired(now);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.leave(None);
    }
}

async fn stopped(stop: &mut Option<oneshot::Receiver<Reason>>) -> Reason {
    let Some(pending) = stop else { return future::pending().await };
    let reason = pending.await;
    *stop = None;
    // The hub lets go of a connection without a word only when it goes itself.
    reason.unwrap_or(Reason::ServerShuttingDown)
}

#[cfg(test)]
mod tests;
