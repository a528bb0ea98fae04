//! The connection for messages: MQTT 5 over mutual TLS, kept up while the device is on.
//!
//! The agent puts messages into a [`Mailbox`]; [`Link::keep_up`] carries them. Not here: what
//! messages mean, or whether they are believed.

mod codec;
mod packets;
mod session;

use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use waxwing_agent::network::{Message, Messages};
use waxwing_agent::policy::{Jitter, Policy};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

use crate::address::Address;
use crate::network::Network;
use crate::tls::SharedClient;

/// Messages waiting for the connection; an agent keeps no more reports than half of that.
const OUTGOING_MAX: usize = 16;
/// Messages waiting for the agent: acknowledgements of what it sent.
const INCOMING_MAX: usize = 32;
/// Commands that wait for the agent, which may be busy with a download. How many come is up to the
/// server; those beyond are lost, as they are for a device that is off.
const COMMANDS_MAX: usize = 4;

/// A message on its way out.
#[derive(Debug)]
struct Outgoing {
    kind: Kind,
    id: MessageId,
    envelope: String,
}

/// What both ends share.
struct Post {
    connection: Cell<Option<u64>>,
    outgoing: Channel<NoopRawMutex, Outgoing, OUTGOING_MAX>,
    incoming: Channel<NoopRawMutex, Message, INCOMING_MAX>,
    commands: Channel<NoopRawMutex, Message, COMMANDS_MAX>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// The agent's end. Clones are the same one: an application publishes readings through another. What
/// comes in is for one of them only, the agent.
#[derive(Debug)]
pub struct Mailbox<N> {
    network: Rc<N>,
    post: Rc<Post>,
}

impl<N> Clone for Mailbox<N> {
    fn clone(&self) -> Self {
        Self { network: Rc::clone(&self.network), post: Rc::clone(&self.post) }
    }
}

/// The network's end.
#[derive(Debug)]
pub struct Link<N> {
    network: Rc<N>,
    post: Rc<Post>,
    device: DeviceId,
    client: SharedClient,
}

/// Makes both ends.
pub fn mailbox<N: Network>(
    network: &Rc<N>,
    device: &DeviceId,
    client: &SharedClient,
) -> (Mailbox<N>, Link<N>) {
    let post = Rc::new(Post {
        connection: Cell::new(None),
        outgoing: Channel::new(),
        incoming: Channel::new(),
        commands: Channel::new(),
    });
    let mailbox = Mailbox { network: Rc::clone(network), post: Rc::clone(&post) };
    let (network, device, client) = (Rc::clone(network), device.clone(), Rc::clone(client));
    (mailbox, Link { network, post, device, client })
}

impl<N: Network> Messages for Mailbox<N> {
    fn connection(&self) -> Option<u64> {
        self.post.connection.get()
    }

    fn publish(&mut self, kind: Kind, id: &MessageId, envelope: String) -> bool {
        self.post.outgoing.try_send(Outgoing { kind, id: id.clone(), envelope }).is_ok()
    }

    async fn next(&mut self, until: Duration) -> Message {
        let Post { incoming, commands, .. } = &*self.post;
        let time_up = self.network.sleep_until(until);
        match select3(incoming.receive(), commands.receive(), time_up).await {
            Either3::First(message) | Either3::Second(message) => message,
            Either3::Third(()) => Message::TimeUp,
        }
    }
}

impl<N: Network + 'static> Link<N> {
    /// Connects, again and again, waiting longer after each failure in a row.
    pub async fn keep_up(self, address: &Address, policy: &Policy, seed: u64) -> Infallible {
        let mut jitter = Jitter::new(seed);
        let (mut failures, mut connection) = (0_u32, 0_u64);
        loop {
            connection = connection.saturating_add(1);
            let was_connected = session::run(&self, address, connection).await;
            failures = if was_connected { 1 } else { failures.saturating_add(1) };
            self.post.connection.set(None);
            // What was handed over on this connection is handed over again on the next.
            self.post.outgoing.clear();
            let wait = policy.back_off(failures, jitter.draw());
            self.network.sleep_until(self.network.now().saturating_add(wait)).await;
        }
    }
}
