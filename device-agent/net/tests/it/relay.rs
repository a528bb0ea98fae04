//! A sensor and a gateway that does what it likes: whatever it says, a question ends, and the next one is
//! asked on a new link.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use waxwing_agent::download::ContentRange;
use waxwing_agent::network::{CannotSign, Clock as _, NoAnswer, Server as _, Signer};
use waxwing_agent_net::NoConnection;
use waxwing_agent_net::relay::{EXCHANGE_MAX, Link, Relay};
use waxwing_wire::envelope::Envelope;
use waxwing_wire::frame::{Decoder, Down, Excuse, Outcome, Up};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest, MessageId};

use crate::network::Host;

const IMAGE: Digest = Digest([7; 32]);
const NOW: u64 = 1_795_167_000;

/// What a gateway says to each question, as bytes; silence when there is no more.
#[derive(Clone, Default)]
struct Script(Rc<State>);

#[derive(Default)]
struct State {
    answers: RefCell<VecDeque<Vec<u8>>>,
    asked: RefCell<Vec<u8>>,
    links: Cell<u32>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let script = Self::default();
        script.0.answers.borrow_mut().extend(answers);
        script
    }

    fn relay(&self) -> Relay<Host, Self, Key> {
        Relay::new(Host::new(), DeviceId::parse("d-1").unwrap(), self.clone(), Key)
    }

    /// The envelope of the last poll or message that was sent.
    fn last_envelope(&self) -> String {
        let mut decoder = Decoder::default();
        decoder.push(&self.0.asked.borrow());
        let mut last = String::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            if let Up::Message(_, text) | Up::Poll(text) = Up::parse(&frame).unwrap() {
                text.clone_into(&mut last);
            }
        }
        last
    }
}

impl Link for Script {
    async fn open(&mut self) -> Result<(), NoConnection> {
        self.0.links.set(self.0.links.get() + 1);
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), NoConnection> {
        self.0.asked.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    async fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, NoConnection> {
        let Some(mut answer) = self.0.answers.borrow_mut().pop_front() else {
            return std::future::pending().await;
        };
        let rest = answer.split_off(answer.len().min(bytes.len()));
        if !rest.is_empty() {
            self.0.answers.borrow_mut().push_front(rest);
        }
        bytes[..answer.len()].copy_from_slice(&answer);
        Ok(answer.len())
    }

    fn close(&mut self) {}
}

struct Key;

impl Signer for Key {
    fn sign(&mut self, parts: &[&[u8]]) -> Result<String, CannotSign> {
        // Enough to see what was signed.
        Ok(parts.concat().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }
}

fn time() -> Vec<u8> {
    Down::Time(NOW).encode()
}

fn piece(from: u32, bytes: &[u8]) -> Vec<u8> {
    Down::Piece { from, length: 10, bytes }.encode()
}

#[tokio::test]
async fn a_poll_is_sealed_by_the_sensor_at_the_time_the_gateway_says() {
    let script = Script::of([time(), Down::Answer(b"bundle").encode()]);
    assert_eq!(script.relay().poll(r#"{"nonce":"1"}"#).await, Ok(b"bundle".to_vec()));
    let sealed = script.last_envelope();
    let envelope = Envelope::parse_poll(sealed.as_bytes()).unwrap();
    assert_eq!((envelope.header.timestamp, envelope.payload), (NOW, r#"{"nonce":"1"}"#));
    let signed = envelope.header.signed_prefix_of_poll() + envelope.payload;
    assert_eq!(envelope.signature, signed.as_bytes());
}

#[tokio::test]
async fn an_image_is_read_piece_by_piece_from_where_it_is_wanted() {
    let answers = [piece(4, b"45"), piece(6, b"6789"), piece(10, b"")];
    let script = Script::of(answers);
    let mut relay = script.relay();
    let opened = relay.open(&IMAGE, 4).await.unwrap();
    let range = ContentRange { first: 4, last: 9, length: 10 };
    assert_eq!((opened.status, opened.range, opened.body_bytes), (206, Some(range), Some(6)));
    let (mut read, mut bytes) = (Vec::new(), [0; 3]);
    loop {
        match relay.read(&mut bytes).await.unwrap() {
            0 => break,
            count => read.extend_from_slice(&bytes[..count]),
        }
    }
    assert_eq!((&read[..], script.0.links.get()), (&b"456789"[..], 1));
}

#[tokio::test]
async fn whatever_a_gateway_says_ends_the_question_and_the_link() {
    let stored = |id: &str| Down::Outcome(MessageId::parse(id).unwrap(), Outcome::Stored).encode();
    let mut spoilt = time();
    spoilt[5] ^= 1;
    for (what, nonsense) in [
        ("noise", vec![0xff; 64]),
        ("a changed frame", spoilt),
        ("a frame of a sensor", Up::Time.encode()),
        ("an outcome", stored("m-1")),
        ("a piece", piece(0, b"0")),
    ] {
        let script = Script::of([nonsense, time(), Down::Answer(b"bundle").encode()]);
        let mut relay = script.relay();
        assert_eq!(relay.poll("{}").await, Err(NoAnswer::Unreachable), "{what}");
        assert_eq!(relay.poll("{}").await, Ok(b"bundle".to_vec()), "after {what}");
        assert_eq!(script.0.links.get(), 2, "{what}");
    }
    let elsewhere = Script::of([piece(0, b"0"), piece(4096, b"1")]);
    let mut relay = elsewhere.relay();
    relay.open(&IMAGE, 0).await.unwrap();
    assert_eq!(relay.read(&mut [0; 1]).await, Ok(1));
    assert_eq!(relay.read(&mut [0; 1]).await, Err(NoAnswer::Unreachable), "another place");
    assert_eq!(relay.read(&mut [0; 1]).await, Ok(0), "and it is over");
    let other = Script::of([stored("m-2")]);
    let id = MessageId::parse("m-1").unwrap();
    let said = other.relay().say(Kind::Telemetry, NOW, &id, "{}").await;
    assert_eq!(said, Err(NoAnswer::Unreachable), "of another message");
}

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_given_up() {
    let script = Script::of([time()]);
    let host = Host::new();
    assert_eq!(script.relay().poll("{}").await, Err(NoAnswer::Stalled));
    let waited = host.now();
    assert!(waited >= EXCHANGE_MAX && waited < EXCHANGE_MAX + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn what_the_server_says_of_itself_comes_through() {
    let busy = Excuse { status: 503, wait_s: 60 };
    let refused = Excuse { status: 403, wait_s: 0 };
    let nobody = Excuse { status: 0, wait_s: 0 };
    for (excuse, expected) in [
        (busy, NoAnswer::Busy(Duration::from_mins(1))),
        (refused, NoAnswer::Refused(403)),
        (nobody, NoAnswer::Unreachable),
    ] {
        let script = Script::of([time(), Down::NoAnswer(excuse).encode()]);
        assert_eq!(script.relay().poll("{}").await, Err(expected));
    }
    let mut relay = Script::of([Down::NoPiece(refused).encode()]).relay();
    assert_eq!(relay.open(&IMAGE, 0).await.unwrap().status, 403);
    assert_eq!(relay.read(&mut [0; 1]).await, Ok(0));
    let long = Excuse { status: 503, wait_s: u32::MAX };
    let script = Script::of([time(), Down::NoAnswer(long).encode()]);
    assert_eq!(script.relay().poll("{}").await, Err(NoAnswer::Busy(Duration::from_hours(1))));
}
