//! The server, as far as a sensor without IP reaches it: through a gateway, over a [`Link`].
//!
//! One question, one answer. The sensor seals its polls and messages with its own key, and believes what
//! comes back as little as if the server itself had sent it: all of it goes to the agent, which checks what
//! is signed. A gateway can be silent, and nothing else. What is wrong with a link ends it; the next question
//! begins a new one. Not here: how bytes travel.

#![expect(async_fn_in_trait, reason = "whether futures move between threads is the host's choice")]

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::pin::pin;
use core::time::Duration;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use waxwing_agent::download::{ContentRange, Opened, Pace};
use waxwing_agent::network::{Entropy as _, NoAnswer, Server, Signer};
use waxwing_wire::envelope::Header;
use waxwing_wire::frame::{Decoder, Down, Excuse, Frame, Outcome, PIECE_BYTES_MAX, Up};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest, MessageId};

use crate::http::RETRY_AFTER_MAX;
use crate::network::{Network, NoConnection, within};

/// How long a gateway may take for an answer: as long as it may wait for the server, and the longest answer
/// over a link of 1 KiB a second.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(150);
/// How much is read of a link at once: the largest packet of BLE.
const READ_BYTES: usize = 512;

/// A way to a gateway that carries bytes in order: BLE, a serial line, a socket.
pub trait Link {
    /// Makes a new connection, in place of the one there is.
    ///
    /// # Errors
    ///
    /// [`NoConnection`] when no gateway is near.
    async fn open(&mut self) -> Result<(), NoConnection>;

    /// Sends all of these bytes.
    ///
    /// # Errors
    ///
    /// [`NoConnection`] when the connection broke.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), NoConnection>;

    /// Waits for the next bytes; returns how many came.
    ///
    /// # Errors
    ///
    /// [`NoConnection`] when the connection ended.
    async fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, NoConnection>;

    /// Ends the connection.
    fn close(&mut self);
}

/// The server behind a gateway. Clones share the link, and take turns.
#[derive(Debug)]
pub struct Relay<N, L, S> {
    network: Rc<N>,
    device: DeviceId,
    shared: Rc<Mutex<NoopRawMutex, Shared<L, S>>>,
    download: Option<Download>,
}

#[derive(Debug)]
struct Shared<L, S> {
    link: L,
    signer: S,
    /// What came on the connection; none while there is none.
    received: Option<Decoder>,
}

/// The image that was opened last, and what of it came but was not read.
#[derive(Debug)]
struct Download {
    sha256: Digest,
    next: u32,
    piece: Vec<u8>,
    pace: Pace,
}

impl<N, L, S> Clone for Relay<N, L, S> {
    fn clone(&self) -> Self {
        let (network, shared) = (Rc::clone(&self.network), Rc::clone(&self.shared));
        Self { network, device: self.device.clone(), shared, download: None }
    }
}

impl<N: Network, L: Link, S: Signer> Relay<N, L, S> {
    /// Prepares questions of this device; opens the link with the first.
    pub fn new(network: Rc<N>, device: DeviceId, link: L, signer: S) -> Self {
        let shared = Shared { link, signer, received: None };
        Self { network, device, shared: Rc::new(Mutex::new(shared)), download: None }
    }

    /// Hands a message over, sealed at this time, and waits for what became of it. The gateway may lie about
    /// that, which is as if it had dropped the message.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when nobody says: hand it over again, with the same id.
    pub async fn say(
        &self,
        kind: Kind,
        unix_s: u64,
        message_id: &MessageId,
        payload: &str,
    ) -> Result<Outcome, NoAnswer> {
        let header = self.header(unix_s, message_id.clone());
        let prefix = header.signed_prefix(kind);
        let envelope = self.seal(&header, &prefix, payload).await?;
        let frame = self.exchange(&Up::Message(kind, &envelope)).await?;
        match Down::parse(&frame) {
            Ok(Down::Outcome(id, outcome)) if id == *message_id => Ok(outcome),
            Ok(_) | Err(_) => Err(self.give_up().await),
        }
    }

    /// Asks the gateway for the time. Only a poll is sealed with it: what a lying gateway wins by that is a
    /// poll that it may hand over later, once.
    async fn time(&self) -> Result<u64, NoAnswer> {
        let frame = self.exchange(&Up::Time).await?;
        match Down::parse(&frame) {
            Ok(Down::Time(unix_s)) => Ok(unix_s),
            Ok(_) | Err(_) => Err(self.give_up().await),
        }
    }

    fn header(&self, timestamp: u64, message_id: MessageId) -> Header {
        Header { device_id: self.device.clone(), timestamp, message_id }
    }

    async fn seal(&self, header: &Header, prefix: &str, text: &str) -> Result<String, NoAnswer> {
        let parts = [prefix.as_bytes(), text.as_bytes()];
        let signature = self.shared.lock().await.signer.sign(&parts);
        Ok(header.seal(text, &signature.map_err(|_| NoAnswer::Unreachable)?))
    }

    /// Asks one thing and returns the frame that answers it.
    async fn exchange(&self, question: &Up<'_>) -> Result<Frame, NoAnswer> {
        let mut shared = self.shared.lock().await;
        let question = question.encode();
        let asking = within(&*self.network, EXCHANGE_MAX, pin!(shared.ask(&question))).await;
        let answer = asking.map_or(Err(NoAnswer::Stalled), |it| it.map_err(|_| UNREACHABLE));
        if answer.is_err() {
            shared.close();
        }
        answer
    }

    /// Ends a link whose other side answers something else.
    async fn give_up(&self) -> NoAnswer {
        self.shared.lock().await.close();
        UNREACHABLE
    }

    /// Returns how long the image is, and the bytes from there on.
    async fn piece(&self, sha256: &Digest, from: u32, most: usize) -> Result<Piece, NoAnswer> {
        let most = u16::try_from(most.min(PIECE_BYTES_MAX)).unwrap_or(u16::MAX);
        let frame = self.exchange(&Up::Read(*sha256, from, most)).await?;
        match Down::parse(&frame) {
            Ok(Down::Piece { from: at, length, bytes }) if at == from => {
                Ok(Piece::Bytes(length, bytes.to_vec()))
            }
            Ok(Down::NoPiece(excuse)) if excuse.status != 0 => Ok(Piece::None(excuse)),
            Ok(Down::NoPiece(_)) => Err(UNREACHABLE),
            Ok(_) | Err(_) => Err(self.give_up().await),
        }
    }
}

const UNREACHABLE: NoAnswer = NoAnswer::Unreachable;

enum Piece {
    Bytes(u32, Vec<u8>),
    None(Excuse),
}

impl<L: Link, S> Shared<L, S> {
    async fn ask(&mut self, question: &[u8]) -> Result<Frame, NoConnection> {
        if self.received.is_none() {
            self.link.open().await?;
            self.received = Some(Decoder::default());
        }
        self.link.send(question).await?;
        loop {
            let received = self.received.as_mut().ok_or(NoConnection)?;
            if let Some(frame) = received.next_frame().map_err(|_| NoConnection)? {
                return Ok(frame);
            }
            let mut bytes = [0; READ_BYTES];
            let count = self.link.receive(&mut bytes).await?;
            received.push(bytes.get(..count).unwrap_or_default());
        }
    }

    fn close(&mut self) {
        self.received = None;
        self.link.close();
    }
}

impl<N: Network, L: Link, S: Signer> Server for Relay<N, L, S> {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        let unix_s = self.time().await?;
        let mut id = [0; 16];
        self.network.entropy().fill(&mut id);
        let id = id.iter().fold(String::from("p-"), |id, byte| id + &format!("{byte:02x}"));
        let header = self.header(unix_s, MessageId::parse(&id).map_err(|_| UNREACHABLE)?);
        let sealed = self.seal(&header, &header.signed_prefix_of_poll(), request).await?;
        let frame = self.exchange(&Up::Poll(&sealed)).await?;
        match Down::parse(&frame) {
            Ok(Down::Answer(bundle)) => Ok(bundle.to_vec()),
            Ok(Down::NoAnswer(excuse)) => Err(no_answer(excuse)),
            Ok(_) | Err(_) => Err(self.give_up().await),
        }
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        self.download = None;
        match self.piece(sha256, from, PIECE_BYTES_MAX).await? {
            Piece::Bytes(length, piece) => {
                let pace = Pace::begin(self.network.now());
                self.download = Some(Download { sha256: *sha256, next: from, piece, pace });
                Ok(opened(from, length))
            }
            Piece::None(excuse) => {
                Ok(Opened { status: excuse.status, retry_after: wait(excuse), ..Opened::default() })
            }
        }
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let Some(mut download) = self.download.take() else { return Ok(0) };
        if download.piece.is_empty() {
            match self.piece(&download.sha256, download.next, bytes.len()).await? {
                Piece::Bytes(_, piece) => {
                    let paced = download.pace.advance(self.network.now(), piece.len());
                    paced.map_err(|_| NoAnswer::Stalled)?;
                    download.piece = piece;
                }
                Piece::None(excuse) => return Err(no_answer(excuse)),
            }
        }
        let count = download.piece.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(download.piece.drain(..count)) {
            *to = from;
        }
        download.next = download.next.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        self.download = Some(download);
        Ok(count)
    }
}

/// How a server would begin the answer whose first piece this is.
fn opened(from: u32, length: u32) -> Opened {
    let (first, whole) = (u64::from(from), u64::from(length));
    let range = ContentRange { first, last: whole.saturating_sub(1), length: whole };
    if from == 0 {
        return Opened { status: 200, body_bytes: Some(whole), ..Opened::default() };
    }
    let body_bytes = Some(whole.saturating_sub(first));
    Opened { status: 206, range: Some(range), body_bytes, ..Opened::default() }
}

fn wait(excuse: Excuse) -> Option<Duration> {
    let wait = Duration::from_secs(excuse.wait_s.into()).min(RETRY_AFTER_MAX);
    (excuse.wait_s > 0).then_some(wait)
}

fn no_answer(excuse: Excuse) -> NoAnswer {
    match (excuse.status, wait(excuse)) {
        (0, _) => UNREACHABLE,
        (429 | 503, Some(wait)) => NoAnswer::Busy(wait),
        (status, _) => NoAnswer::Refused(status),
    }
}
