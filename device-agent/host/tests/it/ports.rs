//! The ports that the worlds of these tests are not about, as plain as can be.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use waxwing_agent::network::{CannotSign, Clock, Entropy, Message, Messages, Signer};
use waxwing_agent::pins::{Pins, PinsUnusable};
use waxwing_wire::topic::Kind;
use waxwing_wire::{Digest, MessageId};

use crate::backend::digest;

/// What comes and goes over a connection on which everything is taken.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) is_connected: bool,
    /// What comes next.
    pub(crate) coming: VecDeque<Message>,
    pub(crate) said: Vec<(Kind, MessageId, String)>,
}

/// The connection for messages: none, one that works, or one on which nothing is taken. Waiting is how time
/// passes.
pub(crate) struct Line {
    pub(crate) clock: Rc<Cell<Duration>>,
    pub(crate) talk: Rc<RefCell<Talk>>,
    /// What came back and is not yet told; `None` when there is no connection.
    pub(crate) refused: Option<VecDeque<MessageId>>,
}

impl Messages for Line {
    fn connection(&self) -> Option<u64> {
        (self.refused.is_some() || self.talk.borrow().is_connected).then_some(1)
    }

    fn publish(&mut self, kind: Kind, id: &MessageId, envelope: String) -> bool {
        let mut talk = self.talk.borrow_mut();
        if talk.is_connected {
            talk.coming.push_back(Message::Acknowledged(id.clone()));
            talk.said.push((kind, id.clone(), envelope));
            return true;
        }
        self.refused.as_mut().map(|refused| refused.push_back(id.clone())).is_some()
    }

    async fn next(&mut self, until: Duration) -> Message {
        if let Some(id) = self.refused.as_mut().and_then(VecDeque::pop_front) {
            return Message::Refused(id);
        }
        if let Some(message) = self.talk.borrow_mut().coming.pop_front() {
            return message;
        }
        self.clock.set(self.clock.get().max(until));
        Message::TimeUp
    }
}

/// A key nobody checks here.
pub(crate) struct Scribble;

impl Signer for Scribble {
    fn sign(&mut self, _parts: &[&[u8]]) -> Result<String, CannotSign> {
        Ok("00".into())
    }
}

/// Time that only passes when somebody waits. It does not begin anew at a reset: that changes
/// nothing for the agent, and the server's time goes on.
pub(crate) struct StillClock(pub(crate) Rc<Cell<Duration>>);

impl Clock for StillClock {
    fn now(&self) -> Duration {
        self.0.get()
    }
}

/// Numbers that never come again, and are the same in each run of a test.
pub(crate) struct Counting(pub(crate) Rc<Cell<u64>>);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.set(self.0.get() + 1);
        bytes.fill(0);
        for (byte, number) in bytes.iter_mut().zip(self.0.get().to_le_bytes()) {
            *byte = number;
        }
    }
}

/// Pins that outlive a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Rc<RefCell<Option<Vec<u8>>>>);

impl Pins for Memory {
    fn kept(&self) -> Option<Digest> {
        self.0.borrow().as_deref().map(digest)
    }

    fn keep(&mut self, pem: &[u8], sha256: Digest) -> Result<(), PinsUnusable> {
        assert_eq!(sha256, digest(pem));
        *self.0.borrow_mut() = Some(pem.to_vec());
        Ok(())
    }
}
