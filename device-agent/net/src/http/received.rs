//! Bytes that came and were not looked at yet.

use alloc::vec::Vec;

use embedded_io_async::Read;

/// How much is read at once: what a connection hands on at once.
const READ_BYTES: usize = 512;

/// Bytes that came.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    taken: usize,
}

impl Received {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Takes so many bytes off the front.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.taken;
        self.taken = from.saturating_add(count).min(self.bytes.len());
        self.bytes.get(from..self.taken).unwrap_or_default()
    }

    /// Gives the memory back, unless there is something left: an idle connection holds no buffer.
    pub(super) fn give_back(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Waits for more bytes; returns how many came.
    pub(super) async fn fill<R: Read>(&mut self, from: &mut R) -> Result<usize, R::Error> {
        if self.is_empty() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + READ_BYTES, 0);
        let read = from.read(self.bytes.get_mut(before..).unwrap_or_default()).await;
        self.bytes.truncate(before + read.as_ref().map_or(0, |count| *count));
        read
    }
}
