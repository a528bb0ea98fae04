//! What surrounds the agent on its board: ports that cost the device no memory, for on a chip they
//! are flash, TLS and a radio.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use allocation_counter::opt_out;
use waxwing_agent::download::Opened;
use waxwing_agent::network::{
    CannotSign, Clock, Entropy, Message, Messages, NoAnswer, Server, Signer,
};
use waxwing_agent::pins::{Pins, PinsUnusable};
use waxwing_agent::ports::{
    BootControl, BootError, BootView, FlashError, Journal, Slot, SlotFlash,
};
use waxwing_agent_host::store::Metadata;
use waxwing_tuf::{Store, StoreError};
use waxwing_wire::poll::Request;
use waxwing_wire::topic::Kind;
use waxwing_wire::{Digest, MessageId};

use super::board::{Opponent, digest};

/// Does what a port does, at no cost to the device.
pub(super) fn beside<T>(work: impl FnOnce() -> T) -> T {
    let mut done = None;
    opt_out(|| done = Some(work()));
    done.unwrap()
}

/// A port of the simulated board.
#[derive(Clone, Debug)]
pub(crate) struct Beside<P>(pub(super) P);

impl<P: SlotFlash> SlotFlash for Beside<P> {
    fn slot_bytes(&self) -> u32 {
        self.0.slot_bytes()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        beside(|| self.0.read(offset, bytes))
    }

    fn erase_sector(&mut self, offset: u32) -> Result<(), FlashError> {
        beside(|| self.0.erase_sector(offset))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        beside(|| self.0.write(offset, bytes))
    }
}

impl<P: BootControl> BootControl for Beside<P> {
    fn view(&mut self) -> Result<BootView, BootError> {
        beside(|| self.0.view())
    }

    fn protect(&mut self) -> Result<(), BootError> {
        beside(|| self.0.protect())
    }

    fn activate(&mut self, slot: Slot, sha256: &Digest) -> Result<(), BootError> {
        beside(|| self.0.activate(slot, sha256))
    }

    fn confirm(&mut self) -> Result<(), BootError> {
        beside(|| self.0.confirm())
    }

    fn reject(&mut self) -> Result<(), BootError> {
        beside(|| self.0.reject())
    }

    fn reboot(&mut self) {
        beside(|| self.0.reboot());
    }
}

impl<P: Journal> Journal for Beside<P> {
    fn pages(&self) -> u8 {
        self.0.pages()
    }

    fn read_page(&mut self, page: u8, bytes: &mut [u8]) -> Result<(), FlashError> {
        beside(|| self.0.read_page(page, bytes))
    }

    fn replace_page(&mut self, page: u8, bytes: &[u8]) -> Result<(), FlashError> {
        beside(|| self.0.replace_page(page, bytes))
    }
}

impl Store for Beside<Metadata> {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(name)
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        beside(|| self.0.save(name, bytes))
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        beside(|| self.0.remove(name))
    }
}

/// The opponent as the agent reaches it.
pub(crate) struct Wire {
    pub(super) opponent: Rc<RefCell<dyn Opponent>>,
    /// Length of what arrived last, in bytes.
    pub(super) received: Rc<Cell<u64>>,
}

impl Server for Wire {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        let answer = beside(|| {
            let request = Request::decode(request.as_bytes()).expect("agents ask properly");
            self.opponent.borrow_mut().poll(&request)
        });
        // What arrives takes memory of the device.
        let received = answer.clone();
        beside(|| drop(answer));
        self.received.set(received.as_ref().map_or(0, |body| body.len().try_into().unwrap()));
        received
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        beside(|| self.opponent.borrow_mut().open(sha256, from))
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        beside(|| self.opponent.borrow_mut().read(bytes))
    }
}

/// No lasting connection, but whatever the opponent says while the device waits. Waiting is how
/// time passes.
pub(crate) struct Waiting {
    pub(super) clock: Rc<Cell<Duration>>,
    pub(super) opponent: Rc<RefCell<dyn Opponent>>,
}

impl Messages for Waiting {
    fn connection(&self) -> Option<u64> {
        None
    }

    fn publish(&mut self, _kind: Kind, _id: &MessageId, _envelope: String) -> bool {
        false
    }

    async fn next(&mut self, until: Duration) -> Message {
        let message = beside(|| self.opponent.borrow_mut().message());
        if message.is_none() {
            self.clock.set(self.clock.get().max(until));
        }
        let received = message.clone().unwrap_or(Message::TimeUp);
        beside(|| drop(message));
        received
    }
}

/// A key nobody checks here.
pub(crate) struct Scribble;

impl Signer for Scribble {
    fn sign(&mut self, _parts: &[&[u8]]) -> Result<String, CannotSign> {
        Ok("00".into())
    }
}

/// Time that only passes when somebody waits.
pub(crate) struct StillClock(pub(super) Rc<Cell<Duration>>);

impl Clock for StillClock {
    fn now(&self) -> Duration {
        self.0.get()
    }
}

/// Numbers that never come again, and are the same in each run of a test.
pub(crate) struct Counting(pub(super) Rc<Cell<u128>>);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.set(self.0.get() + 1);
        for (byte, number) in bytes.iter_mut().zip(self.0.get().to_be_bytes().into_iter().rev()) {
            *byte = number;
        }
    }
}

/// Pins of which a board remembers what they are, and for ever.
pub(crate) struct Kept(pub(super) Rc<RefCell<Option<Vec<u8>>>>);

impl Pins for Kept {
    fn kept(&self) -> Option<Digest> {
        self.0.borrow().as_deref().map(digest)
    }

    fn keep(&mut self, pem: &[u8], sha256: Digest) -> Result<(), PinsUnusable> {
        assert_eq!(digest(pem), sha256, "other pins than were compared");
        beside(|| *self.0.borrow_mut() = Some(pem.to_vec()));
        Ok(())
    }
}
