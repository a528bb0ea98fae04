//! One MQTT connection, from its beginning to its end.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use embedded_io_adapters::tokio_1::FromTokio;
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
use crate::tls::{self, Stream};

/// How often a silent connection is probed: half of what we promise the server.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_S: u16 = 60;
/// How long the server may take to take us in.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// Messages under way at once; servers of small devices allow few.
const IN_FLIGHT_MAX: usize = 4;

/// Subscriptions, incoming and outgoing messages under way; no properties, no aliases.
type Mqtt<'b> =
    Client<'static, 'b, FromTokio<Stream>, AllocBuffer, 1, 4, IN_FLIGHT_MAX, 1, 4, 0, 0>;

/// How a connection ended.
pub(super) struct Ended {
    /// Whether there was one.
    pub(super) was_connected: bool,
}

/// The connection is over. Why does not matter: it is made again.
struct Over;

/// Connects and carries messages until something breaks.
pub(super) async fn run(link: &mut Link, address: &Address, connection: u64) -> Ended {
    let mut buffer = AllocBuffer;
    let mut mqtt = Client::new(&mut buffer);
    let hello = tokio::time::timeout(HELLO_MAX, hello(&mut mqtt, link, address)).await;
    let was_connected = matches!(hello, Ok(Ok(())));
    if was_connected {
        link.connection.set(Some(connection));
        // The agent has something else to do if its mailbox is full.
        let _ = link.incoming.try_send(Message::Connected);
        let Err(Over) = carry(&mut mqtt, link).await;
    }
    Ended { was_connected }
}

/// Connects and subscribes to the device's commands.
async fn hello(mqtt: &mut Mqtt<'_>, link: &Link, address: &Address) -> Result<(), Over> {
    let tls = Arc::clone(&link.tls.borrow());
    let stream = tls::connect(address, &tls).await.map_err(|_| Over)?;
    let keep_alive = KeepAlive::Seconds(NonZero::new(KEEP_ALIVE_S).ok_or(Over)?);
    let options = ConnectOptions::new().clean_start().keep_alive(keep_alive);
    let id = MqttString::try_from(link.device.as_str()).map_err(|_| Over)?;
    mqtt.connect(FromTokio::new(stream), &options, Some(id)).await.map_err(|_| Over)?;
    let topic = topic(&link.device, Kind::Command);
    let filter = MqttString::try_from(topic.as_str()).map_err(|_| Over)?;
    let filter = TopicFilter::new(filter).ok_or(Over)?;
    let options = SubscriptionOptions::new().at_least_once();
    mqtt.subscribe(filter, &options).await.map_err(|_| Over)?;
    match mqtt.poll().await {
        Ok(Event::Suback(_)) => Ok(()),
        Ok(_) | Err(_) => Err(Over),
    }
}

async fn carry(mqtt: &mut Mqtt<'_>, link: &mut Link) -> Result<Infallible, Over> {
    let tls = Arc::clone(&link.tls.borrow());
    let mut in_flight: Vec<(PacketIdentifier, MessageId)> = Vec::new();
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            header = mqtt.poll_header() => {
                let body = mqtt.poll_body(header.map_err(|_| Over)?).await;
                if let Some(message) = received(&body.map_err(|_| Over)?, &mut in_flight) {
                    link.incoming.send(message).await.map_err(|_| Over)?;
                }
            }
            Some(message) = link.outgoing.recv(), if in_flight.len() < IN_FLIGHT_MAX => {
                // What is signed with a renewed key goes over a connection that shows it.
                if !Arc::ptr_eq(&tls, &link.tls.borrow()) {
                    return Err(Over);
                }
                in_flight.push(publish(mqtt, &link.device, message).await?);
            }
            _ = ping.tick() => mqtt.ping().await.map_err(|_| Over)?,
        }
    }
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
        // The report stays with the agent, which says it again on the next connection.
        Event::PublishRejected(rejected) => {
            take(in_flight, rejected.packet_identifier);
            None
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
