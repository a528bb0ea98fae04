//! Which records of TLS may come when (RFC 8446, section 5), looked at before the library sees them.
//!
//! `embedded-tls` takes records without encryption at any time, and some of them make it panic: who
//! sits on the wire could restart a device. Here the first record is the server's greeting, what
//! follows is encrypted, and nothing is longer than our buffer. Also, a record can be waited for
//! here without losing a byte of it when the wait is given up. Not here: what is in a record.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

/// Longest record that is read, in bytes behind its header: 2 KiB, what encryption adds, and the
/// padding that a server may add.
pub(super) const RECORD_BYTES_MAX: usize = 2400;
/// RFC 8446, 5.1: type, version, length.
const HEADER_BYTES: usize = 5;
/// An encrypted record has at least its type and a tag of 16 bytes.
const SEALED_BYTES_MIN: usize = 17;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SEALED: u8 = 23;

/// RFC 8446, 5.2: all versions call it TLS 1.2.
pub(super) const VERSION: [u8; 2] = [3, 3];
/// In place of the version, for our own cipher to see: the connection is open.
pub(super) const VERSION_WHEN_OPEN: [u8; 2] = [3, 4];

/// How far the connection is, as to its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing came yet.
    Hello,
    /// The greeting came; `change_cipher_spec`, which means nothing, may come once.
    Handshake { spec_seen: bool },
    /// Both sides are known.
    Open,
}

/// A connection, record by record.
#[derive(Debug)]
pub(super) struct Records<S> {
    stream: S,
    phase: Phase,
    header: [u8; HEADER_BYTES],
    /// How much of the header came.
    came: usize,
    /// How much of the header was handed on.
    given: usize,
    /// How much of the record is still to come.
    left: usize,
}

impl<S: Read> Records<S> {
    pub(super) const fn new(stream: S) -> Self {
        let phase = Phase::Hello;
        Self { stream, phase, header: [0; HEADER_BYTES], came: 0, given: 0, left: 0 }
    }

    /// From now on the connection is open.
    pub(super) const fn open(&mut self) {
        self.phase = Phase::Open;
    }

    /// Waits for the beginning of a record. May be given up and begun again.
    pub(super) async fn arrival(&mut self) -> Result<(), RecordError> {
        while let Some(missing) = self.header.get_mut(self.came..)
            && !missing.is_empty()
        {
            match self.stream.read(missing).await {
                Ok(0) | Err(_) => return Err(RecordError::Lost),
                Ok(read) => self.came += read,
            }
            if self.came == HEADER_BYTES {
                self.left = self.admit()?;
            }
        }
        Ok(())
    }

    /// Looks at a whole header, and returns how long its record is.
    fn admit(&mut self) -> Result<usize, RecordError> {
        let [kind, major, minor, high, low] = self.header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        self.phase = match (self.phase, kind) {
            (Phase::Hello, HANDSHAKE) => Phase::Handshake { spec_seen: false },
            (Phase::Hello, ALERT) => Phase::Hello,
            (Phase::Handshake { spec_seen: false }, CHANGE_CIPHER_SPEC) => {
                Phase::Handshake { spec_seen: true }
            }
            (phase @ (Phase::Handshake { .. } | Phase::Open), SEALED)
                if [major, minor] == VERSION && length >= SEALED_BYTES_MIN =>
            {
                phase
            }
            _ => return Err(RecordError::OutOfPlace),
        };
        if length > RECORD_BYTES_MAX || length == 0 {
            return Err(RecordError::Length);
        }
        if self.phase == Phase::Open {
            let [major, minor] = VERSION_WHEN_OPEN;
            self.header = [kind, major, minor, high, low];
        }
        Ok(length)
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, RecordError> {
        self.arrival().await?;
        let header = self.header.get(self.given..).unwrap_or_default();
        if !header.is_empty() {
            let count = header.len().min(bytes.len());
            copy(bytes, header, count);
            self.given += count;
            return Ok(count);
        }
        let count = bytes.len().min(self.left);
        let place = bytes.get_mut(..count).unwrap_or_default();
        let read = match self.stream.read(place).await {
            Ok(0) | Err(_) => return Err(RecordError::Lost),
            Ok(read) => read,
        };
        self.left = self.left.saturating_sub(read);
        if self.left == 0 {
            (self.came, self.given) = (0, 0);
        }
        Ok(read)
    }
}

fn copy(to: &mut [u8], from: &[u8], count: usize) {
    for (to, from) in to.iter_mut().zip(from).take(count) {
        *to = *from;
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RecordError {
    /// It is longer than our buffer, or empty.
    Length,
    /// The connection broke.
    Lost,
    /// It has no place here in the protocol.
    OutOfPlace,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "record is empty or too long",
            Self::Lost => "connection broke",
            Self::OutOfPlace => "record has no place here",
        })
    }
}

impl core::error::Error for RecordError {}

impl Error for RecordError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Length => ErrorKind::OutOfMemory,
            Self::Lost => ErrorKind::ConnectionReset,
            Self::OutOfPlace => ErrorKind::InvalidData,
        }
    }
}

/// The records, shared between the library and who waits for one. Never used by both at once.
pub(super) type SharedRecords<S> = Mutex<NoopRawMutex, Records<S>>;

/// The library's end.
pub(super) struct Transport<'r, S>(pub(super) &'r SharedRecords<S>);

impl<S> ErrorType for Transport<'_, S> {
    type Error = RecordError;
}

impl<S: Read> Read for Transport<'_, S> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, RecordError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.0.lock().await.read(bytes).await
    }
}

impl<S: Write> Write for Transport<'_, S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, RecordError> {
        self.0.lock().await.stream.write(bytes).await.map_err(|_| RecordError::Lost)
    }

    async fn flush(&mut self) -> Result<(), RecordError> {
        self.0.lock().await.stream.flush().await.map_err(|_| RecordError::Lost)
    }
}
