//! What the two halves of a [`super::Connection`] share: bytes on their way out and in, and what is
//! wanted next.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::Poll;

/// Most bytes that are collected before they go out: what fits into one record.
pub(super) const OUTGOING_BYTES_MAX: usize = 1900;

/// Most bytes that are handed on at once, of a record that stays in the buffer of the connection: whole
/// records would be in memory three times.
pub(super) const INCOMING_BYTES_MAX: usize = 512;

/// Bytes between the connection and who uses it.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    is_open: Cell<bool>,
    outgoing: RefCell<Vec<u8>>,
    flushing: Cell<bool>,
    closing: Cell<bool>,
    incoming: RefCell<Vec<u8>>,
    /// How much of `incoming` was taken.
    taken: Cell<usize>,
    wanted: Cell<bool>,
}

impl Pipe {
    /// The connection is made.
    pub(super) fn open(&self) {
        self.is_open.set(true);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Collects bytes; returns how many fit.
    pub(super) fn collect(&self, bytes: &[u8]) -> usize {
        let mut outgoing = self.outgoing.borrow_mut();
        let count = OUTGOING_BYTES_MAX.saturating_sub(outgoing.len()).min(bytes.len());
        outgoing.extend_from_slice(bytes.get(..count).unwrap_or_default());
        count
    }

    pub(super) fn flush(&self) {
        let is_empty = self.outgoing.borrow().is_empty();
        self.flushing.set(!is_empty);
    }

    pub(super) fn is_flushed(&self) -> bool {
        !self.flushing.get()
    }

    /// Waits for bytes to be sent. May be given up and begun again.
    pub(super) async fn outgoing(&self) -> Vec<u8> {
        let is_due = || self.flushing.get() || self.closing.get();
        poll_fn(|_| if is_due() { Poll::Ready(()) } else { Poll::Pending }).await;
        self.outgoing.take()
    }

    /// The end: what was collected goes out, and nothing after it.
    pub(super) fn close(&self) {
        self.closing.set(true);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// What was to be sent is sent.
    pub(super) fn sent(&self) {
        self.flushing.set(false);
    }

    pub(super) fn want(&self) {
        self.wanted.set(true);
    }

    /// Waits until bytes are wanted. May be given up and begun again.
    pub(super) async fn wanted(&self) {
        poll_fn(|_| if self.wanted.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Bytes came.
    pub(super) fn came(&self, bytes: &[u8]) {
        self.incoming.borrow_mut().extend_from_slice(bytes);
        self.wanted.set(false);
    }

    /// Takes bytes that came; returns how many, 0 when there are none.
    pub(super) fn take(&self, bytes: &mut [u8]) -> usize {
        let mut incoming = self.incoming.borrow_mut();
        let ready = incoming.get(self.taken.get()..).unwrap_or_default();
        let count = ready.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(ready) {
            *to = *from;
        }
        self.taken.set(self.taken.get() + count);
        if self.taken.get() == incoming.len() {
            // An idle connection holds no buffer.
            *incoming = Vec::new();
            self.taken.set(0);
        }
        count
    }
}
