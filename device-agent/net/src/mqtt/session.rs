//! One MQTT connection, from its beginning to its end.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::num::NonZero;
use core::pin::pin;
use core::time::Duration;

use embassy_futures::select::{Either3, select3};
use rust_mqtt::Bytes;
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client::Client;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{
    ConnectOptions, PublicationOptions, SubscriptionOptions, TopicReference,
};
use rust_mqtt::config::KeepAlive;
use rust_mqtt::types::{MqttString, PacketIdentifier, TopicFilter, TopicName};
use waxwing_agent::network::Message;
use waxwing_wire::topic::{Kind, Topic};
use waxwing_wire::{DeviceId, MessageId};

use super::{Link, Outgoing};
use crate::address::Address;
use crate::network::{Network, until, within};
use crate::tls::Connection;

/// How often a silent connection is probed: half of what we promise the server.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_S: NonZero<u16> = NonZero::new(60).expect("sixty is not zero");
/// How long a server may be silent: an answer to a probe, and some time for a busy network.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How long the server may take to take us in.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a message may take, once it has begun to come or to go.
const MESSAGE_MAX: Duration = Duration::from_secs(10);
/// Messages under way at once; servers of small devices allow few.
const IN_FLIGHT_MAX: usize = 4;
/// Longest packet that is taken, in bytes: the longest command has 2 KiB, its topic and whatever
/// properties a server adds have the rest.
const PACKET_BYTES_MAX: NonZero<u32> = NonZero::new(4 * 1024).expect("4 KiB are not zero");

/// Subscriptions, incoming and outgoing messages under way; no properties, no aliases.
type Mqtt<'b> = Client<'static, 'b, Connection, AllocBuffer, 1, 4, IN_FLIGHT_MAX, 1, 4, 0, 0>;

/// The connection is over. Why does not matter: it is made again.
struct Over;

/// What comes next.
enum Next {
    Packet(rust_mqtt::header::FixedHeader),
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
    let mut buffer = AllocBuffer;
    let mut mqtt = Client::new(&mut buffer);
    // Nor does what saying hello takes stay once it is said.
    let hello = {
        let mut hello = Box::pin(hello(&mut mqtt, stream, &link.device));
        within(&*link.network, HELLO_MAX, hello.as_mut()).await
    };
    let was_connected = matches!(hello, Ok(Ok(())));
    if was_connected {
        link.post.connection.set(Some(connection));
        // The agent has something else to do if its mailbox is full.
        let _ = link.post.incoming.try_send(Message::Connected);
        let Err(Over) = carry(&mut mqtt, link, &client).await;
    }
    was_connected
}

/// Connects and subscribes to the device's commands.
async fn hello(mqtt: &mut Mqtt<'_>, stream: Connection, device: &DeviceId) -> Result<(), Over> {
    let keep_alive = KeepAlive::Seconds(KEEP_ALIVE_S);
    let options = ConnectOptions::new().clean_start().keep_alive(keep_alive);
    let options = options.maximum_packet_size(PACKET_BYTES_MAX);
    let id = MqttString::try_from(device.as_str()).map_err(|_| Over)?;
    mqtt.connect(stream, &options, Some(id)).await.map_err(|_| Over)?;
    let topic = topic(device, Kind::Command);
    let filter = MqttString::try_from(topic.as_str()).map_err(|_| Over)?;
    let filter = TopicFilter::new(filter).ok_or(Over)?;
    let options = SubscriptionOptions::new().at_least_once();
    mqtt.subscribe(filter, &options).await.map_err(|_| Over)?;
    match mqtt.poll().await {
        // Without its commands a device would wait for ever: it asks again after a while.
        Ok(Event::Suback(suback)) if suback.reason_code.is_success() => Ok(()),
        Ok(_) | Err(_) => Err(Over),
    }
}

async fn carry<N: Network + 'static>(
    mqtt: &mut Mqtt<'_>,
    link: &Link<N>,
    client: &Rc<crate::tls::Client>,
) -> Result<Infallible, Over> {
    let network = &*link.network;
    let mut in_flight: Vec<(PacketIdentifier, MessageId)> = Vec::new();
    let mut heard = network.now();
    let mut ping = heard.saturating_add(PING_INTERVAL);
    loop {
        match next(mqtt, link, in_flight.len() < IN_FLIGHT_MAX, ping).await? {
            Next::Packet(header) => {
                let body = pin!(mqtt.poll_body(header));
                let body = within(network, MESSAGE_MAX, body).await;
                let body = body.map_err(|_| Over)?.map_err(|_| Over)?;
                heard = network.now();
                if let Some(message) = received(&body, &mut in_flight) {
                    deliver(link, message).await?;
                }
            }
            Next::Publish(message) => {
                // What is signed with a renewed key goes over a connection that shows it.
                if !Rc::ptr_eq(client, &link.client.borrow()) {
                    return Err(Over);
                }
                let publishing = pin!(publish(mqtt, &link.device, message));
                let published = within(network, MESSAGE_MAX, publishing).await;
                in_flight.push(published.map_err(|_| Over)??);
            }
            Next::Time if network.now() >= heard.saturating_add(SILENCE_MAX) => return Err(Over),
            Next::Time => {
                let pinged = within(network, MESSAGE_MAX, pin!(mqtt.ping())).await;
                pinged.map_err(|_| Over)?.map_err(|_| Over)?;
                ping = network.now().saturating_add(PING_INTERVAL);
            }
        }
    }
}

/// Waits for what comes next. Nothing is lost of what does not.
async fn next<N: Network>(
    mqtt: &mut Mqtt<'_>,
    link: &Link<N>,
    may_publish: bool,
    ping: Duration,
) -> Result<Next, Over> {
    let outgoing = async {
        if may_publish { link.post.outgoing.receive().await } else { core::future::pending().await }
    };
    match select3(mqtt.poll_header(), outgoing, link.network.sleep_until(ping)).await {
        Either3::First(header) => header.map(Next::Packet).map_err(|_| Over),
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

/// What an event means to the agent.
fn received(
    event: &Event<'_, 1, 4>,
    in_flight: &mut Vec<(PacketIdentifier, MessageId)>,
) -> Option<Message> {
    match event {
        Event::PublishAcknowledged(puback) => {
            take(in_flight, puback.packet_identifier).map(Message::Acknowledged)
        }
        // The report stays with the agent, which says it with its next poll.
        Event::PublishRejected(rejected) => {
            take(in_flight, rejected.packet_identifier).map(Message::Refused)
        }
        Event::Publish(publish) => Some(Message::Command(publish.message.to_vec())),
        Event::Auth(_)
        | Event::Duplicate(_)
        | Event::Ignored
        | Event::Pingresp
        | Event::PublishAborted(_)
        | Event::PublishComplete(_)
        | Event::PublishReceived(_)
        | Event::PublishReleased(_)
        | Event::Suback(_)
        | Event::Unsuback(_) => None,
    }
}

fn take(
    in_flight: &mut Vec<(PacketIdentifier, MessageId)>,
    packet: PacketIdentifier,
) -> Option<MessageId> {
    let at = in_flight.iter().position(|(sent, _)| *sent == packet)?;
    Some(in_flight.swap_remove(at).1)
}

async fn publish(
    mqtt: &mut Mqtt<'_>,
    device: &DeviceId,
    message: Outgoing,
) -> Result<(PacketIdentifier, MessageId), Over> {
    let topic = topic(device, message.kind);
    let topic = MqttString::try_from(topic.as_str()).map_err(|_| Over)?;
    let topic = TopicReference::Name(TopicName::new(topic).ok_or(Over)?);
    let options = PublicationOptions::new(topic).at_least_once();
    let bytes = Bytes::from(message.envelope.as_bytes());
    let packet = mqtt.publish(&options, bytes).await.map_err(|_| Over)?;
    Ok((packet.ok_or(Over)?, message.id))
}

fn topic(device: &DeviceId, kind: Kind) -> String {
    Topic { device: device.clone(), kind }.to_string()
}
