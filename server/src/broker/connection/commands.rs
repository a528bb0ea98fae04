//! Commands on their way to devices behind the broker: under both names of their topic, for only the broker
//! knows which one a device listens to. A device that listens to both obeys once, by `seq`.
//!
//! Those that are kept wait in the database until the broker has them; others go at once, or never.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Kind, Topic};

use super::super::packets;
use super::unwritable;
use crate::app::App;
use crate::director::COMMAND_LIFE;
use crate::logging::Chain;
use crate::mqtt::{Keeper as _, Place, Relay};
use crate::store::relay::{self, Waiting};

/// Most packets that are on their way at once.
const PACKETS_MAX: u16 = 128;

/// Packets of one command: one for each name of its topic.
const NAMES: usize = 2;

/// Commands on their way.
pub(super) struct Commands {
    app: Arc<App>,
    relay: Relay,
    /// Packets that the broker has not acknowledged. The last one of a command that is kept says where.
    sent: BTreeMap<u16, Option<Place>>,
    /// The last one that was sent of those that are kept.
    position: u64,
    next_id: u16,
    window: usize,
}

/// What is to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// What is kept.
    Kept,
    /// This, to this device.
    Now(DeviceId, Bytes),
}

/// Returns what is to be sent, once there is something and room for it.
pub(super) async fn wanted(commands: Option<&mut Commands>) -> Wanted {
    match commands {
        Some(commands) if commands.room() > 0 => {
            let command = commands.relay.command().await;
            command.map_or(Wanted::Kept, |(device, payload)| Wanted::Now(device, payload))
        }
        Some(_) | None => std::future::pending().await,
    }
}

impl Commands {
    /// Opens the way to the broker, which takes so many packets at once.
    pub(super) fn new(app: Arc<App>, receive_max: u16) -> io::Result<Self> {
        let window = usize::from(receive_max.min(PACKETS_MAX));
        if window < NAMES {
            return Err(io::Error::other("the broker takes fewer than two messages at once"));
        }
        let (relay, sent) = (app.hub.attach_relay(), BTreeMap::new());
        Ok(Self { app, relay, sent, position: 0, next_id: 0, window })
    }

    /// Returns the packets of what is wanted. Of what is kept, as much as the broker takes now.
    pub(super) async fn packets(&mut self, wanted: Wanted) -> io::Result<Vec<u8>> {
        match wanted {
            Wanted::Kept => self.kept().await,
            Wanted::Now(device, payload) => {
                let life_ms = u64::try_from(COMMAND_LIFE.as_millis()).unwrap_or(u64::MAX);
                self.both(device, &payload, None, life_ms).map_err(unwritable)
            }
        }
    }

    async fn kept(&mut self) -> io::Result<Vec<u8>> {
        let room = u32::try_from(self.room()).unwrap_or(u32::MAX);
        if room == 0 {
            return Ok(Vec::new());
        }
        let now_ms = self.app.clock.now_ms();
        let waiting = relay::waiting(&self.app.store, self.position, now_ms, room).await;
        let waiting = waiting.map_err(|error| io::Error::other(Chain(&error).to_string()))?;
        let mut packets = Vec::new();
        for Waiting { position, packet, device, payload, expires_at } in waiting {
            self.position = position;
            let place = NonZeroU16::new(packet).map(|packet| Place { position, packet });
            let life_ms = expires_at.saturating_sub(now_ms);
            packets.extend(self.both(device, &payload, place, life_ms).map_err(unwritable)?);
        }
        Ok(packets)
    }

    /// Brokers acknowledge in the order in which they got something (MQTT 5, 4.6).
    fn both(
        &mut self,
        device: DeviceId,
        payload: &[u8],
        place: Option<Place>,
        life_ms: u64,
    ) -> Result<Vec<u8>, MqttError> {
        let seconds = u32::try_from(life_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let topic = Topic { device, kind: Kind::Command };
        let mut packets = Vec::new();
        for (name, place) in [(topic.existing_name(), None), (Some(topic.to_string()), place)] {
            let id = self.free_id();
            self.sent.insert(id, place);
            let name = name.unwrap_or_default();
            packets.extend(packets::publish(&name, payload.to_vec(), id, seconds)?);
        }
        Ok(packets)
    }

    /// Tells whether this was waited for. The broker has it, or will never take it: then it is void for this
    /// device.
    pub(super) fn acknowledged(&mut self, id: u16, code: u8) -> bool {
        let Some(place) = self.sent.remove(&id) else { return false };
        let taken = !packets::is_refusal(code);
        self.app.metrics.broker().answered(taken);
        if !taken {
            tracing::warn!(code, "the broker refuses a command");
        }
        if let Some(place) = place {
            self.app.ledger.taken(place);
        }
        true
    }

    /// Returns for how many commands there is room.
    fn room(&self) -> usize {
        self.window.saturating_sub(self.sent.len()) / NAMES
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % (PACKETS_MAX * 2) + 1;
            if !self.sent.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}
