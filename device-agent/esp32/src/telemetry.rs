//! Readings of the application, signed and sent over the connection for messages.

use alloc::format;
use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use waxwing_agent::network::{Clock as _, Messages as _, Signer as _};
use waxwing_agent_net::identity::MessageSigner;
use waxwing_agent_net::mqtt::Mailbox;
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

use crate::clock::Uptime;
use crate::sockets::Sockets;

/// A moment at which the time was known: uptime, and Unix seconds.
pub(crate) type KnownTime = Rc<Cell<Option<(Duration, u64)>>>;

/// Sends readings. They are not kept: without a connection they are lost.
pub struct Telemetry {
    pub(crate) mailbox: Mailbox<Sockets>,
    pub(crate) signer: MessageSigner,
    pub(crate) device: DeviceId,
    pub(crate) time: KnownTime,
    /// Drawn at each boot: with `number` it names a message.
    pub(crate) boot: u64,
    pub(crate) number: u32,
}

impl Telemetry {
    /// Returns the time in Unix seconds, once the server attested it.
    pub fn unix_s(&self) -> Option<u64> {
        let (at, unix_s) = self.time.get()?;
        Some(unix_s.saturating_add(Uptime.now().saturating_sub(at).as_secs()))
    }

    /// Sends a JSON object. False when there is no connection, no room, or no time yet.
    pub fn send(&mut self, payload: &str) -> bool {
        let Some(timestamp) = self.unix_s() else { return false };
        if self.mailbox.connection().is_none() {
            return false;
        }
        self.number = self.number.wrapping_add(1);
        let id = format!("{:016x}-t{}", self.boot, self.number);
        let Ok(message_id) = MessageId::parse(&id) else { return false };
        let header = Header { device_id: self.device.clone(), timestamp, message_id };
        let prefix = header.signed_prefix(Kind::Telemetry);
        let signed = self.signer.sign(&[prefix.as_bytes(), payload.as_bytes()]);
        signed.is_ok_and(|signature| {
            let envelope = header.seal(payload, &signature);
            self.mailbox.publish(Kind::Telemetry, &header.message_id, envelope)
        })
    }
}
