//! The connection for messages: MQTT 5 over mutual TLS, kept up while the device is on.
//!
//! The agent puts messages into a [`Mailbox`]; [`Link::keep_up`] carries them. One client library
//! from the smallest chip to this host: `rust-mqtt` over `embedded-io`.

mod session;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use waxwing_agent::network::{Message, Messages};
use waxwing_agent::policy::{Jitter, Policy};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

use crate::address::Address;
use crate::https::SharedTls;
use crate::time::Uptime;

/// Messages waiting for the connection; an agent keeps no more reports than half of that.
const OUTGOING_MAX: usize = 16;
/// Messages waiting for the agent: acknowledgements of what it sent, and a few commands.
const INCOMING_MAX: usize = 32;

/// A message on its way out.
#[derive(Debug)]
struct Outgoing {
    kind: Kind,
    id: MessageId,
    envelope: String,
}

/// The agent's end.
#[derive(Debug)]
pub struct Mailbox {
    clock: Uptime,
    connection: Rc<Cell<Option<u64>>>,
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<Message>,
}

/// The network's end.
#[derive(Debug)]
pub struct Link {
    device: DeviceId,
    tls: SharedTls,
    connection: Rc<Cell<Option<u64>>>,
    outgoing: mpsc::Receiver<Outgoing>,
    incoming: mpsc::Sender<Message>,
}

/// Makes both ends.
pub fn mailbox(device: &DeviceId, tls: &SharedTls, clock: Uptime) -> (Mailbox, Link) {
    let connection = Rc::new(Cell::new(None));
    let (to_network, outgoing) = mpsc::channel(OUTGOING_MAX);
    let (to_agent, incoming) = mpsc::channel(INCOMING_MAX);
    let mailbox =
        Mailbox { clock, connection: Rc::clone(&connection), outgoing: to_network, incoming };
    let (device, tls) = (device.clone(), Rc::clone(tls));
    (mailbox, Link { device, tls, connection, outgoing, incoming: to_agent })
}

impl Messages for Mailbox {
    fn connection(&self) -> Option<u64> {
        self.connection.get()
    }

    fn publish(&mut self, kind: Kind, id: &MessageId, envelope: String) -> bool {
        self.outgoing.try_send(Outgoing { kind, id: id.clone(), envelope }).is_ok()
    }

    async fn next(&mut self, until: Duration) -> Message {
        tokio::select! {
            biased;
            Some(message) = self.incoming.recv() => message,
            () = self.clock.reaches(until) => Message::TimeUp,
        }
    }
}

impl Link {
    /// Connects, again and again, waiting longer after each failure in a row.
    pub async fn keep_up(mut self, address: &Address, policy: &Policy, seed: u64) -> Infallible {
        let mut jitter = Jitter::new(seed);
        let mut failures = 0_u32;
        for connection in 1.. {
            let ended = session::run(&mut self, address, connection).await;
            failures = if ended.was_connected { 1 } else { failures.saturating_add(1) };
            self.connection.set(None);
            // What was handed over on this connection is handed over again on the next.
            while self.outgoing.try_recv().is_ok() {}
            tokio::time::sleep(policy.back_off(failures, jitter.draw())).await;
        }
        std::future::pending().await
    }
}
