//! The session of one client on one connection: events in, actions out.
//!
//! ```text
//!  Opening ──CONNECT──▶ Attaching ──Attached──▶ Open ──DISCONNECT──▶ Draining
//!     └──────────────────────┴────────────────────┴─────────────────────┴──────▶ Closed
//! ```
//!
//! Time comes in as an argument, bytes go in and out as slices: no socket, no clock, no task. The
//! device's identity was settled by its certificate before; nothing in a packet changes it.
//! Messages are handed out as they come, so that many can be stored at once, and answered in the same
//! order. No more than a few are ever out, so a device that sends faster than the server stores waits
//! in its own socket, not in our memory.

mod commands;
mod connect;
mod ending;
mod feeds;
mod messages;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waxwing_wire::topic::Kind;

use self::connect::{Terms, admit, silence};
use self::ending::Ending;
use self::messages::Received;
use super::Refused;
use super::audience::Said;
use super::codec::{Codec, Connect, Incoming, Outgoing, RECEIVE_MAX, Welcome};
use super::filter::Filter;
use super::grants::Readable;
use super::keeper::{self, Letter, Place, Rest, Subscribed, Wish};
use super::meter::{Limits, Meter};
use super::outbox::Outbox;
use super::reason::Reason;
use super::refusals::Part;
use super::scope::Scope;

/// How long a connection may take from the TLS handshake to its CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One client on one connection: a device, or an operator who listens.
#[derive(Debug)]
pub(super) struct Session {
    scope: Scope,
    /// What a client is called that leaves its name empty.
    nickname: String,
    limits: Limits,
    /// What the client has sent lately, on connections before as well.
    meter: Meter,
    /// What it may read of what others say.
    readable: Readable,
    codec: Codec,
    state: State,
    /// When the session gives up, unless something comes.
    deadline: Duration,
    /// Largest packet the device takes, in bytes.
    packet_bytes_max: usize,
    actions: Vec<Action>,
    /// What was refused and is not counted yet.
    refused: Vec<(Part, Reason)>,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The hub knows of the connection, and this is the session that the device goes on with.
    Attached(Option<keeper::Session>),
    /// The sink answered for the first message that was handed out and not answered.
    Answered(Result<(), Refused>),
    /// There is a command for the device.
    Command(Letter),
    /// The device may read this of what others say, and nothing else.
    Granted(Readable),
    /// The connection broke.
    Lost,
    /// Bytes came.
    Received(&'a [u8]),
    /// The server wants to end the connection.
    Stop(Reason),
    /// A device said something that the client may have subscribed to.
    Said(Arc<Said>),
    /// Time passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Make the connection the device's, and say what was kept for it.
    Attach(Wish),
    /// Send what was written, then end the connection; first hand over the will, if there is one.
    Close { will: Option<Message> },
    /// Hand over a message and bring the answer back.
    Deliver(Message),
    /// From now on the client hears what these filters find, and nothing else.
    Hear(Vec<Filter>),
    /// From now on the device listens to commands, or does not.
    Listen(bool),
    /// Note what the session subscribes to, before anything else is done.
    Note(Subscribed),
    /// Write bytes.
    Send(Vec<u8>),
    /// Note that the device took a command.
    Taken(Place),
}

/// A message from a topic of the device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
enum State {
    Opening,
    /// CONNECT is fine, the hub has not answered.
    Attaching(Terms),
    Open(Open),
    Closed(Option<Rest>),
}

#[derive(Debug)]
struct Open {
    /// How long the device may be silent.
    silence: Duration,
    /// Whether the session was begun to be kept.
    is_kept: bool,
    session_expiry_s: u32,
    /// Commands the device may have unacknowledged.
    window: usize,
    will: Option<Message>,
    /// The device listens to its commands under the name that existing devices have for them.
    by_existing_name: bool,
    /// What the client listens to, as it wrote it.
    feeds: Vec<(String, Filter)>,
    feeds_changed: bool,
    /// What was noted last.
    noted: Subscribed,
    outbox: Outbox,
    inbox: VecDeque<Received>,
    /// How the device said goodbye; what it sent before is still worked off.
    leaving: Option<Ending>,
}

impl Session {
    /// Begins the session of a client that proved its identity at `now`, a time since any fixed
    /// moment.
    pub(super) fn new(scope: Scope, nickname: String, limits: Limits, now: Duration) -> Self {
        Self {
            scope,
            nickname,
            limits,
            meter: Meter::default(),
            readable: Readable::new(),
            codec: Codec::default(),
            state: State::Opening,
            deadline: now + CONNECT_TIMEOUT,
            packet_bytes_max: usize::MAX,
            actions: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Tells the session what happened at `now`, and returns what to do.
    pub(super) fn on(&mut self, now: Duration, event: Event<'_>) -> Vec<Action> {
        match event {
            Event::Answered(answer) => self.answered(now, answer),
            Event::Attached(kept) => self.attached(kept),
            Event::Command(command) => self.command(command),
            Event::Granted(readable) => self.granted(readable),
            Event::Lost => self.close(None, Ending::WithWill),
            Event::Received(bytes) => {
                self.meter.read(&self.limits, now, bytes.len());
                self.codec.feed(bytes);
            }
            Event::Said(said) => self.said(&said),
            Event::Stop(reason) => self.stop(reason),
            Event::Tick => self.tick(now),
        }
        self.read(now);
        mem::take(&mut self.actions)
    }

    /// Goes on with what the client has sent on connections before.
    pub(super) const fn resume(&mut self, meter: Meter) {
        self.meter = meter;
    }

    /// Returns what the client has sent lately.
    pub(super) const fn meter(&self) -> Meter {
        self.meter
    }

    /// Takes what was refused since it was last asked.
    pub(super) fn take_refused(&mut self) -> Vec<(Part, Reason)> {
        mem::take(&mut self.refused)
    }

    /// Returns when to tick.
    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns whether bytes are wanted: not while many messages are being worked off.
    pub(super) fn wants_bytes(&self) -> bool {
        match &self.state {
            State::Opening => true,
            State::Attaching(_) | State::Closed(_) => false,
            State::Open(open) => {
                open.inbox.len() < usize::from(RECEIVE_MAX) && open.leaving.is_none()
            }
        }
    }

    /// Returns the name of a client that is about to be let in.
    pub(super) fn client_id(&self) -> &str {
        match &self.state {
            State::Attaching(terms) if !terms.client_id.is_empty() => &terms.client_id,
            State::Attaching(_) | State::Closed(_) | State::Open(_) | State::Opening => {
                &self.nickname
            }
        }
    }

    /// Takes what outlives the connection, once it is closed.
    pub(super) fn into_rest(self) -> Option<Rest> {
        match self.state {
            State::Closed(rest) => rest,
            State::Attaching(_) | State::Open(_) | State::Opening => None,
        }
    }

    /// Works through the packets that came in.
    fn read(&mut self, now: Duration) {
        while self.wants_packets() {
            match self.codec.next() {
                Ok(Some(packet)) => self.packet(now, packet),
                Ok(None) => return,
                Err(reason) => self.refuse(reason),
            }
        }
    }

    /// One more message than announced is read: that it came is a reason to end the connection.
    fn wants_packets(&self) -> bool {
        match &self.state {
            State::Opening => true,
            State::Attaching(_) | State::Closed(_) => false,
            State::Open(open) => {
                open.inbox.len() <= usize::from(RECEIVE_MAX) && open.leaving.is_none()
            }
        }
    }

    fn packet(&mut self, now: Duration, packet: Incoming) {
        if let Incoming::Connect(connect) = packet {
            return self.connect(now, &connect);
        }
        let State::Open(open) = &self.state else { return };
        // MQTT 5, 3.1.2.10: one and a half times the keep-alive time without a packet.
        self.deadline = now + open.silence;
        let is_message = matches!(packet, Incoming::Publish(_));
        if !is_message && !self.meter.other(&self.limits, now) {
            return self.refuse(Reason::QuotaExceeded);
        }
        let State::Open(open) = &mut self.state else { return };
        match packet {
            Incoming::Connect(_) => {}
            Incoming::Disconnect { with_will, session_expiry_s } => {
                self.disconnect(with_will, session_expiry_s);
            }
            Incoming::Ping => self.send(&Outgoing::Pong),
            Incoming::PubAck(id) => {
                let place = open.outbox.acknowledge(id);
                self.actions.extend(place.map(Action::Taken));
                self.send_commands();
            }
            Incoming::PubRel(id) => {
                let existed = open.outbox.release(id);
                self.send(&Outgoing::PubComp(id, existed));
            }
            Incoming::Publish(publish) => {
                let fits = self.meter.message(&self.limits, now);
                self.publish(publish, fits);
            }
            Incoming::Subscribe { id, filters } => self.subscribe(id, &filters),
            Incoming::Unsubscribe { id, filters } => self.unsubscribe(id, &filters),
        }
    }

    fn connect(&mut self, now: Duration, connect: &Connect) {
        match admit(&self.scope, connect) {
            Ok(terms) => {
                self.deadline = now + silence(terms.keep_alive_s.value);
                self.packet_bytes_max = terms.packet_bytes_max;
                self.actions.push(Action::Attach(terms.wish()));
                self.state = State::Attaching(terms);
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn attached(&mut self, kept: Option<keeper::Session>) {
        let State::Attaching(terms) = &mut self.state else { return };
        let kept = kept.filter(|_| !terms.clean_start);
        let feeds = kept.as_ref().map(|session| session.subscribed.feeds.clone());
        let nickname = self.nickname.clone();
        let welcome = Welcome {
            session_present: kept.is_some(),
            assigned_client_id: terms.client_id.is_empty().then_some(nickname.as_str()),
            wildcards: matches!(self.scope, Scope::Operator(_)),
            keep_alive_s: terms.keep_alive_s.correction(),
            session_expiry_s: terms.session_expiry_s.correction(),
        };
        self.state = State::Open(Open {
            silence: silence(terms.keep_alive_s.value),
            is_kept: terms.session_expiry_s.value > 0,
            session_expiry_s: terms.session_expiry_s.value,
            window: terms.window,
            will: terms.will.take(),
            by_existing_name: false,
            feeds: Vec::new(),
            feeds_changed: false,
            noted: kept.as_ref().map(|session| session.subscribed.clone()).unwrap_or_default(),
            outbox: kept.map(Outbox::from).unwrap_or_default(),
            inbox: VecDeque::new(),
            leaving: None,
        });
        self.send(&Outgoing::Welcome(welcome));
        self.listen_again(&feeds.unwrap_or_default());
        self.send_again();
    }

    /// Writes a packet. A device that has no room for the answers it asked for is let go.
    fn send(&mut self, packet: &Outgoing<'_>) {
        match self.codec.encode(packet) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) if bytes.len() <= self.packet_bytes_max => {
                self.actions.push(Action::Send(bytes));
            }
            Ok(_) | Err(_) => self.close(None, Ending::WithWill),
        }
    }
}

#[cfg(test)]
mod tests;
