//! What outlives the connections of a device, and who keeps it.
//!
//! A session is with its connection as long as there is one. Between two connections it is with the
//! [`Keeper`], which survives the process. Not here: how it does that (`ledger`).

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;
use waxwing_wire::DeviceId;

/// Commands that are kept for one device: a device that is further behind is not helped by more of
/// them.
pub const COMMANDS_MAX: usize = 16;

/// The first id of the packets in which commands travel that are kept. Each has the same one on every
/// connection (MQTT 5, 4.4). Those below are for commands that end with the connection.
pub const KEPT_PACKET_MIN: u16 = 0x8000;

/// Keeps the sessions of devices.
pub trait Keeper: Send + Sync + 'static {
    /// Begins a connection, and returns the session that it goes on with, if there is one. What the
    /// device is told next is true after a power cut, too.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing can be read or written now.
    fn begin(
        &self,
        device: &DeviceId,
        connection: u64,
        wish: Wish,
    ) -> impl Future<Output = Result<Option<Session>, Unavailable>> + Send;

    /// Notes what the session of a connection subscribes to now.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it cannot be written now.
    fn note(
        &self,
        device: &DeviceId,
        connection: u64,
        subscribed: Subscribed,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Notes that the device took a command. Never waits: one that is not noted comes again.
    fn taken(&self, place: Place);

    /// Ends a connection that began with a session to be kept, and keeps this of it.
    fn end(
        &self,
        device: &DeviceId,
        connection: u64,
        rest: Option<Rest>,
    ) -> impl Future<Output = ()> + Send;
}

/// What a device wants of its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Nothing of the session before is wanted.
    pub clean_start: bool,
    /// For how many seconds after its connection the session is wanted; 0: not at all.
    pub expiry_s: u32,
}

/// A session as it was kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// What it subscribes to.
    pub subscribed: Subscribed,
    /// The commands, oldest first, and whether each was sent before.
    pub commands: Vec<(Letter, bool)>,
    /// Ids of messages with `QoS` 2 that were taken and not released.
    pub taken: BTreeSet<NonZeroU16>,
}

/// What a session subscribes to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subscribed {
    /// The device's own commands, with their `QoS`.
    pub commands: Option<Qos>,
    /// Topics of other devices, and that of its commands if it has another name there.
    pub feeds: Vec<String>,
}

/// A command for a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// Where it is kept; one that is kept nowhere ends with the connection.
    pub place: Option<Place>,
    /// What the device gets.
    pub payload: Bytes,
}

/// Where a command is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its number among all of them.
    pub position: u64,
    /// The packet in which it travels.
    pub packet: NonZeroU16,
}

/// What is left of a session when its connection ends, besides what was noted before.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// For how many seconds it is to be kept.
    pub expiry_s: u32,
    /// The commands that were sent and not acknowledged.
    pub sent: Vec<u64>,
    /// Ids of messages with `QoS` 2 that were taken and not released.
    pub taken: BTreeSet<NonZeroU16>,
}

/// Sessions can be neither read nor written now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sessions cannot be kept now")]
pub struct Unavailable;
