//! One MQTT connection, from its beginning to its end.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::pin::pin;
use core::time::Duration;

use embassy_futures::select::{Either3, select3};
use waxwing_agent::network::Message;
use waxwing_wire::topic::{Kind, Topic};
use waxwing_wire::{DeviceId, MessageId};

use super::codec::{self, Incoming};
use super::packets::{Over, PACKET_BYTES_MAX, Packets};
use super::{Link, Outgoing};
use crate::address::Address;
use crate::network::{Network, until, within};
use crate::tls::Connection;

/// How often a silent connection is probed: half of what we promise the server.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_S: u16 = 60;
/// How long a server may be silent: an answer to a probe, and some time for a busy network.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How long the server may take to take us in.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a message may take, once it has begun to come or to go.
const MESSAGE_MAX: Duration = Duration::from_secs(10);
/// Messages under way at once; servers of small devices allow few.
const IN_FLIGHT_MAX: u16 = 4;
/// The one subscription of a connection.
const SUBSCRIPTION: u16 = 1;

/// What comes next.
enum Next {
    Packet,
    Publish(Outgoing),
    Time,
}

/// Connects and carries messages until something breaks. Returns whether there was a connection.
pub(super) async fn run<N: Network + 'static>(
    link: &Link<N>,
    address: &Address,
    connection: u64,
) -> bool {
    // Nothing of it stays in memory between two connections.
    Box::pin(connect_and_carry(link, address, connection)).await
}

async fn connect_and_carry<N: Network + 'static>(
    link: &Link<N>,
    address: &Address,
    connection: u64,
) -> bool {
    let client = Rc::clone(&link.client.borrow());
    let Ok(stream) = Connection::open(&link.network, address, &client).await else { return false };
    let mut session = Session::new(stream);
    let hello = {
        let hello = pin!(session.hello(&link.device));
        within(&*link.network, HELLO_MAX, hello).await
    };
    let was_connected = matches!(hello, Ok(Ok(())));
    if was_connected {
        link.post.connection.set(Some(connection));
        // The agent has something else to do if its mailbox is full.
        let _ = link.post.incoming.try_send(Message::Connected);
        let Err(Over) = carry(&mut session, link, &client).await;
    }
    was_connected
}

/// What is known of a connection, and the connection.
struct Session {
    packets: Packets,
    /// Messages that were sent and not yet answered.
    in_flight: Vec<(u16, MessageId)>,
    in_flight_max: usize,
    last_packet: u16,
    ping_interval: Duration,
}

impl Session {
    fn new(stream: Connection) -> Self {
        Self {
            packets: Packets::new(stream),
            in_flight: Vec::new(),
            in_flight_max: IN_FLIGHT_MAX.into(),
            last_packet: SUBSCRIPTION,
            ping_interval: PING_INTERVAL,
        }
    }

    /// Connects and subscribes to the device's commands.
    async fn hello(&mut self, device: &DeviceId) -> Result<(), Over> {
        self.packets.put(codec::Outgoing::Connect {
            id: device.as_str(),
            keep_alive_s: KEEP_ALIVE_S,
            packet_bytes_max: PACKET_BYTES_MAX.into(),
            receive_max: IN_FLIGHT_MAX,
        })?;
        self.answer().await?;
        let limits = self.packets.take(|packet| {
            if let Incoming::Welcome(limits) = packet { Ok(limits) } else { Err(Over) }
        })?;
        self.packets.bytes_max = limits.packet_bytes_max;
        self.in_flight_max = limits.receive_max.min(IN_FLIGHT_MAX).into();
        if let Some(seconds) = limits.keep_alive_s.filter(|seconds| *seconds > 0) {
            self.ping_interval = PING_INTERVAL.min(Duration::from_secs(seconds.into()) / 2);
        }
        let filter = &topic(device, Kind::Command);
        self.packets.put(codec::Outgoing::Subscribe { packet: SUBSCRIPTION, filter })?;
        self.answer().await?;
        let granted = Incoming::Subscribed { packet: SUBSCRIPTION, is_granted: true };
        self.packets.take(|packet| if packet == granted { Ok(()) } else { Err(Over) })
    }

    /// Sends what was written, and waits for the answer.
    async fn answer(&mut self) -> Result<(), Over> {
        self.packets.send().await?;
        self.packets.begin().await?;
        self.packets.finish().await
    }

    /// Receives what has begun to come, and acknowledges it.
    async fn receive(&mut self) -> Result<Option<Message>, Over> {
        self.packets.finish().await?;
        let in_flight = &mut self.in_flight;
        let (message, packet) = self.packets.take(|packet| received(packet, in_flight))?;
        if let Some(packet) = packet {
            self.packets.put(codec::Outgoing::Acknowledge { packet })?;
            self.packets.send().await?;
        }
        Ok(message)
    }

    fn publish(&mut self, device: &DeviceId, message: Outgoing) -> Result<(), Over> {
        let mut packet = self.last_packet;
        loop {
            packet = packet.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|(sent, _)| *sent == packet) {
                break;
            }
        }
        let topic = &topic(device, message.kind);
        let bytes = message.envelope.as_bytes();
        self.packets.put(codec::Outgoing::Publish { packet, topic, message: bytes })?;
        self.last_packet = packet;
        self.in_flight.push((packet, message.id));
        Ok(())
    }
}

async fn carry<N: Network + 'static>(
    session: &mut Session,
    link: &Link<N>,
    client: &Rc<crate::tls::Client>,
) -> Result<Infallible, Over> {
    let network = &*link.network;
    let mut heard = network.now();
    let mut ping = heard.saturating_add(session.ping_interval);
    loop {
        match next(session, link, ping).await? {
            Next::Packet => {
                let receiving = pin!(session.receive());
                let message = within(network, MESSAGE_MAX, receiving).await.map_err(|_| Over)??;
                heard = network.now();
                if let Some(message) = message {
                    deliver(link, message).await?;
                }
                continue;
            }
            Next::Publish(message) => {
                // What is signed with a renewed key goes over a connection that shows it.
                if !Rc::ptr_eq(client, &link.client.borrow()) {
                    return Err(Over);
                }
                session.publish(&link.device, message)?;
            }
            Next::Time if network.now() >= heard.saturating_add(SILENCE_MAX) => return Err(Over),
            Next::Time => {
                session.packets.put(codec::Outgoing::Ping)?;
                ping = network.now().saturating_add(session.ping_interval);
            }
        }
        let sending = pin!(session.packets.send());
        within(network, MESSAGE_MAX, sending).await.map_err(|_| Over)??;
    }
}

/// Waits for what comes next. Nothing is lost of what does not.
async fn next<N: Network>(
    session: &mut Session,
    link: &Link<N>,
    ping: Duration,
) -> Result<Next, Over> {
    let may_publish = session.in_flight.len() < session.in_flight_max;
    let outgoing = async {
        if may_publish { link.post.outgoing.receive().await } else { core::future::pending().await }
    };
    let arrival = session.packets.begin();
    match select3(arrival, outgoing, link.network.sleep_until(ping)).await {
        Either3::First(begun) => begun.map(|()| Next::Packet),
        Either3::Second(message) => Ok(Next::Publish(message)),
        Either3::Third(()) => Ok(Next::Time),
    }
}

/// Hands a message to the agent, which may be busy for as long as we need not probe the server.
async fn deliver<N: Network>(link: &Link<N>, message: Message) -> Result<(), Over> {
    if matches!(message, Message::Command(_)) {
        // One that there is no room for is lost.
        let _ = link.post.commands.try_send(message);
        return Ok(());
    }
    let limit = link.network.now().saturating_add(PING_INTERVAL);
    let sending = pin!(link.post.incoming.send(message));
    until(&*link.network, limit, sending).await.map_err(|_| Over)
}

/// What a packet means to the agent, and which packet is to be acknowledged.
fn received(
    packet: Incoming<'_>,
    in_flight: &mut Vec<(u16, MessageId)>,
) -> Result<(Option<Message>, Option<u16>), Over> {
    Ok(match packet {
        Incoming::Answered { packet, is_taken } => {
            // The report that was refused stays with the agent, which says it with its next poll.
            let outcome = if is_taken { Message::Acknowledged } else { Message::Refused };
            let at = in_flight.iter().position(|(sent, _)| *sent == packet);
            (at.map(|at| outcome(in_flight.swap_remove(at).1)), None)
        }
        Incoming::Message { packet, message } => (Some(Message::Command(message.to_vec())), packet),
        Incoming::Pong => (None, None),
        Incoming::Subscribed { .. } | Incoming::Welcome(_) => return Err(Over),
    })
}

fn topic(device: &DeviceId, kind: Kind) -> String {
    Topic { device: device.clone(), kind }.to_string()
}
