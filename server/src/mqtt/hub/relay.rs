//! The way to devices that are not connected here: through a broker of others, while that is connected.
//!
//! Nobody here knows who is connected there, so each command for a device that is not connected here goes
//! that way. Not here: the broker ([`crate::broker`]).

use bytes::Bytes;
use tokio::sync::mpsc;
use waxwing_wire::DeviceId;

use super::super::keeper::Letter;
use super::{Clients, Delivery, Hub};

/// Most commands that wait for the broker to take them: those of some seconds. One more is lost, as if its
/// device were away.
const WAITING_MAX: usize = 1024;

/// The hub's end.
#[derive(Debug)]
pub(super) struct Line {
    generation: u64,
    commands: mpsc::Sender<(DeviceId, Bytes)>,
}

/// The broker's end. Dropping it says that the connection is over.
#[derive(Debug)]
pub struct Relay {
    hub: Hub,
    generation: u64,
    commands: mpsc::Receiver<(DeviceId, Bytes)>,
}

impl Line {
    /// Returns the number of the connection.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }
}

impl Hub {
    /// Opens the way through a broker; it ends the one before.
    pub fn attach_relay(&self) -> Relay {
        let (commands_in, commands) = mpsc::channel(WAITING_MAX);
        let mut clients = self.lock();
        clients.generation += 1;
        let generation = clients.generation;
        clients.relay = Some(Line { generation, commands: commands_in });
        Relay { hub: self.clone(), generation, commands }
    }

    /// Says that something is kept for devices behind the broker.
    pub fn tell_relay(&self) {
        self.kept.notify_one();
    }
}

impl Relay {
    /// Returns the next command that is kept nowhere, and for whom; nothing when others are kept. What is
    /// kept comes first, for it was made first.
    pub async fn command(&mut self) -> Option<(DeviceId, Bytes)> {
        tokio::select! {
            biased;
            () = self.hub.kept.notified() => None,
            Some(command) = self.commands.recv() => Some(command),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut clients = self.hub.lock();
        if clients.relay.as_ref().is_some_and(|line| line.generation == self.generation) {
            clients.relay = None;
        }
    }
}

impl Clients {
    /// Sends a command to a device that is not connected. The broker reads those that are kept where they
    /// are.
    pub(super) fn relay(&self, device: &DeviceId, letter: Letter) -> Delivery {
        let Some(line) = self.relay.as_ref().filter(|_| letter.place.is_none()) else {
            return Delivery::Absent;
        };
        match line.commands.try_send((device.clone(), letter.payload)) {
            Ok(()) => Delivery::Sent,
            Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Absent,
            Err(mpsc::error::TrySendError::Full(_)) => Delivery::Behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{command, device, kept, who};
    use super::*;

    #[tokio::test]
    async fn what_is_for_devices_that_are_not_connected_goes_to_the_broker_while_there_is_one() {
        let hub = Hub::default();
        let mut relay = hub.attach_relay();
        assert!(hub.listening(&device(1)).is_some_and(|by| by.is_broker));
        let here = hub.attach(who(1)).await;
        assert_eq!(hub.command(&device(1), command()), Delivery::NotListening);
        here.listen(true);
        assert!(hub.listening(&device(1)).is_some_and(|by| !by.is_broker));
        assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
        assert_eq!(hub.command(&device(2), command()), Delivery::Sent);
        assert_eq!(relay.command().await, Some((device(2), command().payload)));
        assert_eq!(hub.command(&device(2), kept()), Delivery::Kept, "it is read where it is kept");
        assert_eq!(hub.command(&device(2), command()), Delivery::Sent);
        hub.tell_relay();
        assert_eq!(relay.command().await, None, "what is kept is read first");
        assert!(relay.command().await.is_some());
        drop(relay);
        assert_eq!(hub.command(&device(2), command()), Delivery::Absent);
        assert_eq!(hub.listening(&device(2)), None);
    }

    #[tokio::test]
    async fn a_broker_that_takes_nothing_fills_no_memory_and_the_next_connection_begins_anew() {
        let hub = Hub::default();
        let old = hub.attach_relay();
        for _ in 0..WAITING_MAX {
            assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
        }
        assert_eq!(hub.command(&device(1), command()), Delivery::Behind);
        let mut new = hub.attach_relay();
        drop(old);
        assert_eq!(hub.command(&device(2), command()), Delivery::Sent);
        assert_eq!(new.command().await.map(|(device, _)| device), Some(device(2)));
    }
}
