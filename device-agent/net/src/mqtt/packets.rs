//! Packets over a connection: read whole, written whole. Not here: what they mean.

use alloc::vec::Vec;

use embedded_io_async::{Read as _, Write as _};

use super::codec::{Incoming, Malformed, Outgoing, read_length};
use crate::tls::Connection;

/// Longest packet that is taken, in bytes: the longest command has 2 KiB, its topic and whatever
/// properties a server adds have the rest.
pub(super) const PACKET_BYTES_MAX: u16 = 4 * 1024;

/// The connection is over. Why does not matter: it is made again.
#[derive(Debug)]
pub(super) struct Over;

impl From<Malformed> for Over {
    fn from(Malformed: Malformed) -> Self {
        Self
    }
}

/// A connection, the packet that comes, and those that are to go.
#[derive(Debug)]
pub(super) struct Packets {
    stream: Connection,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Longest packet the server takes, in bytes.
    pub(super) bytes_max: u32,
}

impl Packets {
    pub(super) const fn new(stream: Connection) -> Self {
        Self { stream, incoming: Vec::new(), outgoing: Vec::new(), bytes_max: u32::MAX }
    }

    /// Waits for a packet to begin, until it is known how long it is. May be given up and begun again.
    pub(super) async fn begin(&mut self) -> Result<(), Over> {
        while self.length()?.is_none() {
            let mut byte = [0];
            match self.stream.read(&mut byte).await {
                Ok(1) => self.incoming.extend(byte),
                Ok(_) | Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    /// Reads what has begun to its end.
    pub(super) async fn finish(&mut self) -> Result<(), Over> {
        let (header, whole) = self.length()?.ok_or(Over)?;
        self.incoming.resize(whole, 0);
        let body = self.incoming.get_mut(header..).ok_or(Over)?;
        self.stream.read_exact(body).await.map_err(|_| Over)
    }

    /// Takes the packet that came.
    pub(super) fn take<T>(
        &mut self,
        look: impl FnOnce(Incoming<'_>) -> Result<T, Over>,
    ) -> Result<T, Over> {
        let (header, _) = self.length()?.ok_or(Over)?;
        // An idle connection holds no buffer.
        let packet = core::mem::take(&mut self.incoming);
        let first = packet.first().ok_or(Over)?;
        look(Incoming::read(*first, packet.get(header..).ok_or(Over)?)?)
    }

    /// Writes a packet, to be sent.
    pub(super) fn put(&mut self, packet: Outgoing<'_>) -> Result<(), Over> {
        let before = self.outgoing.len();
        packet.write(&mut self.outgoing)?;
        let bytes = self.outgoing.len().saturating_sub(before);
        if u32::try_from(bytes).is_ok_and(|bytes| bytes <= self.bytes_max) {
            Ok(())
        } else {
            Err(Over)
        }
    }

    /// Sends what was written.
    pub(super) async fn send(&mut self) -> Result<(), Over> {
        let bytes = core::mem::take(&mut self.outgoing);
        if bytes.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&bytes).await.map_err(|_| Over)?;
        self.stream.flush().await.map_err(|_| Over)
    }

    /// Returns where the header ends and where the packet does, once that is known.
    fn length(&self) -> Result<Option<(usize, usize)>, Over> {
        let Some((length, digits)) = read_length(self.incoming.get(1..).unwrap_or_default())?
        else {
            return Ok(None);
        };
        let header = 1 + digits;
        let whole = header.saturating_add(length);
        if whole <= PACKET_BYTES_MAX.into() { Ok(Some((header, whole))) } else { Err(Over) }
    }
}
