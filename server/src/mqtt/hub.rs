//! Who is connected, and the way to reach them.
//!
//! One entry per connected client. Nothing here waits for a device, except a new connection for the
//! end of the one it replaces.
//!
//! Not here: packets ([`session`](super::session)), who may connect, nor what is kept between two
//! connections ([`keeper`](super::keeper)).

mod relay;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use waxwing_wire::DeviceId;

use self::relay::Line as RelayLine;
pub use self::relay::Relay;
use super::keeper::{COMMANDS_MAX, Letter};
use super::meter::Meter;
use super::reason::Reason;

/// How long a new connection waits for the one it replaces to leave what is to be kept: longer than a
/// connection needs to end.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(15);

/// Letters that wait for a connection that is busy with writing: as many of either kind, kept and not, as
/// wait for a device.
const LETTERS_MAX: usize = 2 * COMMANDS_MAX;

/// The connected clients. Clones share them.
#[derive(Clone, Default)]
pub struct Hub {
    clients: Arc<Mutex<Clients>>,
    /// Says that commands that are kept may wait for a broker of others.
    kept: Arc<Notify>,
}

/// A client, of which there is one connection at a time.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Who {
    /// A device.
    Device(DeviceId),
    /// One of the programs of an operator.
    Operator { operator: String, client_id: String },
}

/// The connection on which a device listens to its commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listening {
    /// Its number.
    pub connection: u64,
    /// It is that of a broker of others, behind which the device may be.
    pub is_broker: bool,
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
    /// The device is not connected, and gets the command when it is back.
    Kept,
    /// The command is on its way.
    Sent,
}

impl Hub {
    /// Sends a command to a device. Never waits. One that is kept is known to be so before it comes
    /// here.
    pub fn command(&self, device: &DeviceId, letter: Letter) -> Delivery {
        let is_kept = letter.place.is_some();
        let mut clients = self.lock();
        let delivery = match clients.device(device) {
            None => clients.relay(device, letter),
            Some(line) => line.command(letter),
        };
        if is_kept && delivery != Delivery::Sent { Delivery::Kept } else { delivery }
    }

    /// Ends the connection of a revoked device.
    ///
    /// Call it after the device's record says that it is revoked: a connection that is just being
    /// made reads the record once more when the hub knows of it.
    pub fn disconnect(&self, device: &DeviceId) {
        if let Some(line) = self.lock().device(device) {
            line.stop(Reason::AdministrativeAction);
        }
    }

    /// Ends the connections of an operator, once their certificates are no good any more, or one of them
    /// is not: with the others they can come again.
    pub fn disconnect_operator(&self, operator: &str) {
        for (who, line) in &mut self.lock().lines {
            if matches!(who, Who::Operator { operator: other, .. } if other == operator) {
                line.stop(Reason::AdministrativeAction);
            }
        }
    }

    /// Ends all connections, and each that is still to come.
    pub fn shut_down(&self) {
        let mut clients = self.lock();
        clients.shut_down = true;
        clients.lines.values_mut().for_each(|line| line.stop(Reason::ServerShuttingDown));
    }

    /// Returns how many devices are connected.
    pub fn connected(&self) -> usize {
        self.lock().lines.keys().filter(|who| matches!(who, Who::Device(_))).count()
    }

    /// Returns whether the device is connected.
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.lock().device(device).is_some()
    }

    /// Returns the device's connection if it listens to its commands, or the broker's, if the device may be
    /// behind that.
    pub fn listening(&self, device: &DeviceId) -> Option<Listening> {
        let mut clients = self.lock();
        let relay = clients.relay.as_ref().map(RelayLine::generation);
        let relay = relay.map(|connection| Listening { connection, is_broker: true });
        let its_own = |line: &mut Line| Listening { connection: line.generation, is_broker: false };
        let listening = |line: &mut Line| line.listens.then(|| its_own(line));
        clients.device(device).map_or(relay, listening)
    }

    /// Makes a connection the client's only one, and waits for the end of the one before.
    pub(super) async fn attach(&self, who: Who) -> Attachment {
        let (attachment, predecessor) = self.replace(who);
        if let Some(ended) = predecessor {
            // It says so by letting go. One that hangs for so long has lost its session.
            let _ = timeout(HANDOVER_TIMEOUT, ended).await;
        }
        attachment
    }

    fn replace(&self, who: Who) -> (Attachment, Option<oneshot::Receiver<()>>) {
        let (commands_in, commands) = mpsc::channel(LETTERS_MAX);
        let (stop_in, stop) = oneshot::channel();
        let (ended_in, ended) = oneshot::channel();
        let mut clients = self.lock();
        clients.generation += 1;
        let generation = clients.generation;
        let mut line =
            Line { generation, commands: commands_in, stop: Some(stop_in), ended, listens: false };
        if clients.shut_down {
            line.stop(Reason::ServerShuttingDown);
        }
        let predecessor = clients.lines.insert(who.clone(), line).map(|mut line| {
            line.stop(Reason::SessionTakenOver);
            line.ended
        });
        let hub = self.clone();
        let stop = Some(stop);
        let attachment = Attachment { hub, who, generation, commands, stop, _ended: ended_in };
        (attachment, predecessor)
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        // Every change below is complete before anything can panic.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Clients {
    lines: HashMap<Who, Line>,
    /// The way to a broker of others, while there is one.
    relay: Option<RelayLine>,
    /// What devices have sent lately that are not connected.
    meters: HashMap<DeviceId, Meter>,
    /// When each of them is as good as nothing, soonest first.
    clear_at: BTreeSet<(Duration, DeviceId)>,
    /// Number of the newest connection.
    generation: u64,
    shut_down: bool,
}

impl Clients {
    fn device(&mut self, device: &DeviceId) -> Option<&mut Line> {
        self.lines.get_mut(&Who::Device(device.clone()))
    }

    fn keep_meter(&mut self, device: &DeviceId, meter: Meter, now: Duration) {
        while let Some((clear_at, device)) = self.clear_at.pop_first() {
            if clear_at > now {
                self.clear_at.insert((clear_at, device));
                break;
            }
            // It may have sent more since.
            if self.meters.get(&device).is_some_and(|meter| meter.clear_at() <= now) {
                self.meters.remove(&device);
            }
        }
        if meter.clear_at() > now {
            self.clear_at.insert((meter.clear_at(), device.clone()));
            self.meters.insert(device.clone(), meter);
        }
    }
}

/// The hub's end of a connection.
#[derive(Debug)]
struct Line {
    generation: u64,
    commands: mpsc::Sender<Letter>,
    /// Taken when used: the first reason stands.
    stop: Option<oneshot::Sender<Reason>>,
    /// Breaks when the connection is over.
    ended: oneshot::Receiver<()>,
    listens: bool,
}

impl Line {
    /// One that is kept waits with the connection until the device listens: whoever began the session
    /// may have read what is kept before it was.
    fn command(&mut self, letter: Letter) -> Delivery {
        if !self.listens && letter.place.is_none() {
            return Delivery::NotListening;
        }
        match self.commands.try_send(letter) {
            Ok(()) => Delivery::Sent,
            Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Absent,
            Err(mpsc::error::TrySendError::Full(letter)) => {
                // One that is kept waits there for the next connection.
                if letter.place.is_none() {
                    self.stop(Reason::QuotaExceeded);
                }
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

/// A connection's end of the hub. Dropping it says that the connection is over.
pub(super) struct Attachment {
    hub: Hub,
    who: Who,
    generation: u64,
    commands: mpsc::Receiver<Letter>,
    /// Gone once it has said that the connection is to end.
    stop: Option<oneshot::Receiver<Reason>>,
    _ended: oneshot::Sender<()>,
}

/// What the hub wants of a connection.
#[derive(Debug)]
pub(super) enum Order {
    Command(Letter),
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

    /// Takes what the device has sent lately, on connections before.
    pub(super) fn take_meter(&self) -> Meter {
        let Who::Device(device) = &self.who else { return Meter::default() };
        self.hub.lock().meters.remove(device).unwrap_or_default()
    }

    /// Keeps what the device has sent lately for its next connection.
    pub(super) fn keep_meter(&self, meter: Meter, now: Duration) {
        if let Who::Device(device) = &self.who {
            self.hub.lock().keep_meter(device, meter, now);
        }
    }

    /// Returns the number of the connection.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes whether the device listens to commands.
    pub(super) fn listen(&self, listens: bool) {
        if let Some(line) = self.hub.lock().lines.get_mut(&self.who)
            && line.generation == self.generation
        {
            line.listens = listens;
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut clients = self.hub.lock();
        let is_current = |line: &Line| line.generation == self.generation;
        if clients.lines.get(&self.who).is_some_and(is_current) {
            clients.lines.remove(&self.who);
        }
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
