//! One connection to the broker: messages in, acknowledged in their order once they are taken; commands
//! out, forgotten once the broker has them.
//!
//! A message that cannot be taken now ends the connection without its acknowledgement: with the next one
//! the broker sends it again, with all that came after it. While as many are being taken as the broker was
//! told, nothing is read: it need not keep to that.

mod commands;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use waxwing_wire::topic::{Kind, Topic};

use self::commands::{Commands, Wanted};
use super::link::{Link, PATIENCE, Reader, Writer, timed_out};
use super::packets::{self, Incoming, Message, WINDOW_MAX};
use super::{Fate, Taker, Taking};
use crate::app::App;
use crate::config::Broker;

/// How often the broker is asked for a sign of life, twice in the time it waits for ours; one that gives
/// none until the next time is gone.
const PING_PERIOD: Duration = Duration::from_secs(15);

/// Longest session, in seconds.
const SECONDS_MAX: u32 = 7 * 24 * 3600;

/// How a connection ended.
pub(super) struct End {
    pub(super) reason: String,
    /// Whether anything came over it.
    pub(super) was_useful: bool,
}

/// A connection that shares in the subscription.
pub(super) struct Connection {
    reader: Reader,
    writer: Writer,
    taker: Arc<dyn Taker>,
    commands: Option<Commands>,
    /// What is being taken, in the order in which it came.
    taking: FuturesOrdered<Acknowledging>,
    pings: Interval,
    is_answered: bool,
    was_useful: bool,
}

type Acknowledging = std::pin::Pin<Box<dyn Future<Output = (Option<u16>, Fate)> + Send>>;

/// What happened.
enum Event {
    Commands(Wanted),
    Packet(Incoming),
    Ping,
    Taken(Option<u16>, Fate),
}

impl Connection {
    /// Connects and subscribes.
    pub(super) async fn open(
        link: &Link,
        taker: Arc<dyn Taker>,
        app: Option<Arc<App>>,
    ) -> io::Result<Self> {
        Self::begin(link.open().await?, &link.config, taker, app).await
    }

    async fn begin(
        (mut reader, mut writer): (Reader, Writer),
        config: &Broker,
        taker: Arc<dyn Taker>,
        app: Option<Arc<App>>,
    ) -> io::Result<Self> {
        let session_s = u32::try_from(config.kept_s).unwrap_or(u32::MAX).min(SECONDS_MAX);
        let connect = packets::connect(&config.client_id, session_s);
        writer.send(&connect.map_err(unwritable)?).await?;
        let Incoming::Welcome { receive_max } = answer(&mut reader).await? else {
            return Err(io::Error::other("the broker does not let us in"));
        };
        let mut pings = interval(PING_PERIOD);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let commands = app.map(|app| Commands::new(app, receive_max)).transpose()?;
        let (taking, is_answered, was_useful) = (FuturesOrdered::new(), true, false);
        let mut connection =
            Self { reader, writer, taker, commands, taking, pings, is_answered, was_useful };
        let subscribe = packets::subscribe(&config.group).map_err(unwritable)?;
        connection.writer.send(&subscribe).await?;
        Ok(connection)
    }

    /// Works until it ends.
    pub(super) async fn serve(mut self) -> End {
        loop {
            if let Err(error) = self.turn().await {
                return End { reason: error.to_string(), was_useful: self.was_useful };
            }
        }
    }

    async fn turn(&mut self) -> io::Result<()> {
        match self.event().await? {
            Event::Commands(wanted) => self.send_commands(wanted).await,
            Event::Packet(packet) => self.read(packet).await,
            Event::Ping => self.ping().await,
            Event::Taken(id, Fate::Done) => self.acknowledge(id).await,
            Event::Taken(_, Fate::Again) => Err(io::Error::other("messages cannot be taken now")),
        }
    }

    /// What is rare comes first: a broker that sends without a pause keeps nothing from happening.
    async fn event(&mut self) -> io::Result<Event> {
        let has_room = self.taking.len() < usize::from(WINDOW_MAX);
        Ok(tokio::select! {
            biased;
            _ = self.pings.tick() => Event::Ping,
            wanted = commands::wanted(self.commands.as_mut()) => Event::Commands(wanted),
            Some((id, fate)) = self.taking.next() => Event::Taken(id, fate),
            packet = self.reader.next(), if has_room => Event::Packet(packet?),
        })
    }

    async fn read(&mut self, packet: Incoming) -> io::Result<()> {
        self.is_answered = true;
        match packet {
            Incoming::Acknowledged { id, code } => self.acknowledged(id, code).await,
            Incoming::Ended(code) => {
                Err(io::Error::other(format!("the broker ends it with {code:#04x}")))
            }
            Incoming::Message(message) => {
                self.was_useful = true;
                self.take(message);
                Ok(())
            }
            Incoming::Pong => Ok(()),
            Incoming::Subscribed(true) => self.send_commands(Wanted::Kept).await,
            Incoming::Subscribed(false) => {
                Err(io::Error::other("the broker does not let us subscribe with QoS 1"))
            }
            Incoming::Welcome { .. } => Err(io::Error::other("the broker speaks no MQTT")),
        }
    }

    /// One that was waited for makes room for more.
    async fn acknowledged(&mut self, id: u16, code: u8) -> io::Result<()> {
        let Some(commands) = &mut self.commands else { return Ok(()) };
        if commands.acknowledged(id, code) {
            self.send_commands(Wanted::Kept).await
        } else {
            Ok(())
        }
    }

    /// Takes a message. One on a topic that was not asked for is of no device.
    fn take(&mut self, message: Message) {
        let Message { topic, payload, id } = message;
        let topic = Topic::parse(&topic).or_else(|| Topic::parse_existing(&topic));
        let topic = topic.filter(|topic| topic.kind != Kind::State);
        let taking: Taking = match topic {
            Some(Topic { device, kind }) => Arc::clone(&self.taker).take(device, kind, payload),
            None => Box::pin(std::future::ready(Fate::Done)),
        };
        self.taking.push_back(Box::pin(async move { (id, taking.await) }));
    }

    async fn acknowledge(&mut self, id: Option<u16>) -> io::Result<()> {
        let Some(id) = id else { return Ok(()) };
        self.writer.send(&packets::acknowledge(id).map_err(unwritable)?).await
    }

    async fn ping(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_answered) {
            return Err(timed_out());
        }
        self.writer.send(&packets::ping()).await
    }

    async fn send_commands(&mut self, wanted: Wanted) -> io::Result<()> {
        let Some(commands) = &mut self.commands else { return Ok(()) };
        let packets = commands.packets(wanted).await?;
        if packets.is_empty() { Ok(()) } else { self.writer.send(&packets).await }
    }
}

fn unwritable(_: MqttError) -> io::Error {
    io::Error::other("a packet cannot be written")
}

async fn answer(reader: &mut Reader) -> io::Result<Incoming> {
    timeout(PATIENCE, reader.next()).await.map_err(|_| timed_out())?
}

#[cfg(test)]
mod tests;
