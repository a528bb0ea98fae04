//! Moves bytes between one device and its session, and messages between the session and the rest
//! of the server.
//!
//! Not here: accepting connections and TLS ([`crate::listener`]), nor any decision about packets.

use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use waxwing_wire::DeviceId;

use super::hub::{Attachment, Hub, Order};
use super::keeper::{Keeper, Unavailable, Wish};
use super::reason::Reason;
use super::session::{Action, Event, Message, Session};
use super::{Refused, Sink};
use crate::clock::Clock;

/// Read at once: idle connections hold this much each.
const READ_BYTES: usize = 2 * 1024;

/// How long a device may take to take what it is sent; then it is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of a connection may take, for its will and for the last bytes each.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What all MQTT connections share.
#[derive(Debug)]
pub struct Endpoint<S, K> {
    /// The connected devices.
    pub hub: Hub,
    /// What they find again.
    pub keeper: K,
    /// Where messages go.
    pub sink: S,
}

/// A device that proved its identity.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Who it is.
    pub device: DeviceId,
    /// Until when it may stay, on the monotonic clock.
    pub until: Duration,
}

/// Speaks MQTT with a device, until either side ends it.
///
/// `is_admitted` reads the device's record. It is asked once the hub knows of the connection, so
/// that a revocation either shows in the record or reaches the connection.
pub async fn serve<S: Sink, K: Keeper>(
    endpoint: &Endpoint<S, K>,
    clock: &Arc<dyn Clock>,
    guest: Guest,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    is_admitted: impl Fn() -> bool,
) {
    let session = Session::new(guest.device.clone(), clock.monotonic());
    let clock = clock.as_ref();
    let deliveries = FuturesOrdered::new();
    let attachment = None;
    let is_kept = false;
    Connection { endpoint, clock, guest, stream, session, attachment, is_kept, deliveries }
        .run(is_admitted)
        .await;
}

struct Connection<'a, S, K, T> {
    endpoint: &'a Endpoint<S, K>,
    clock: &'a dyn Clock,
    guest: Guest,
    stream: T,
    session: Session,
    attachment: Option<Attachment>,
    /// Whether the keeper waits for the end.
    is_kept: bool,
    /// The messages in the hands of the sink, answered in the order in which they came.
    deliveries: FuturesOrdered<Delivery<'a>>,
}

type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>;

/// What to do after a round of actions.
enum Next {
    Attach(Wish),
    Close { will: Option<Message> },
    Wait,
}

impl<S: Sink, K: Keeper, T: AsyncRead + AsyncWrite + Unpin> Connection<'_, S, K, T> {
    async fn run(mut self, is_admitted: impl Fn() -> bool) {
        let mut buffer = [0; READ_BYTES];
        let mut next = self.wait(&mut buffer).await;
        loop {
            next = match next {
                Next::Attach(wish) => self.attach(wish, &is_admitted).await,
                Next::Close { will } => return self.end(will).await,
                Next::Wait => self.wait(&mut buffer).await,
            };
        }
    }

    /// Waits for the next thing to happen, and does what the session wants then.
    async fn wait(&mut self, buffer: &mut [u8]) -> Next {
        let deadline = self.session.deadline().min(self.guest.until);
        let rest = deadline.saturating_sub(self.clock.monotonic());
        let event = tokio::select! {
            biased;
            order = order(&mut self.attachment) => match order {
                Order::Command(command) => Event::Command(command),
                Order::Stop(reason) => Event::Stop(reason),
            },
            Some(answer) = self.deliveries.next() => Event::Answered(answer),
            read = self.stream.read(buffer), if self.session.wants_bytes() => match read {
                Ok(0) | Err(_) => Event::Lost,
                Ok(length) => Event::Received(buffer.get(..length).unwrap_or_default()),
            },
            () = sleep(rest) => Event::Tick,
        };
        let now = self.clock.monotonic();
        let over = self.guest.until <= now;
        let event = if over { Event::Stop(Reason::MaximumConnectTime) } else { event };
        let actions = self.session.on(now, event);
        self.carry_out(actions).await
    }

    async fn attach(&mut self, wish: Wish, is_admitted: impl Fn() -> bool) -> Next {
        let attachment = self.endpoint.hub.attach(self.guest.device.clone()).await;
        let connection = attachment.generation();
        self.attachment = Some(attachment);
        let event = if is_admitted() {
            let begun = self.endpoint.keeper.begin(&self.guest.device, connection, wish).await;
            self.is_kept = begun.is_ok() && wish.expiry_s > 0;
            begun.map_or(Event::Stop(Reason::ServerBusy), Event::Attached)
        } else {
            Event::Stop(Reason::NotAuthorized)
        };
        let actions = self.session.on(self.clock.monotonic(), event);
        self.carry_out(actions).await
    }

    async fn carry_out(&mut self, actions: Vec<Action>) -> Next {
        let mut next = Next::Wait;
        let mut bytes = Vec::new();
        for action in actions {
            match action {
                Action::Attach(wish) => next = Next::Attach(wish),
                Action::Close { will } => next = Next::Close { will },
                Action::Deliver(message) => self.deliver(message),
                Action::Listen(listens) => {
                    self.attachment.iter().for_each(|attachment| attachment.listen(listens));
                }
                Action::Note(subscription) => {
                    // What follows tells the device of it.
                    if self.note(subscription).await.is_err() {
                        return self.break_off(Event::Stop(Reason::ServerBusy), next);
                    }
                }
                Action::Send(packet) => bytes.extend_from_slice(&packet),
                Action::Taken(place) => self.endpoint.keeper.taken(place),
            }
        }
        match self.write(&bytes).await {
            Ok(()) => next,
            Err(event) => self.break_off(event, next),
        }
    }

    /// Ends the connection without another word; whatever else the session wanted, its end comes first.
    fn break_off(&mut self, event: Event<'_>, next: Next) -> Next {
        let mut actions = self.session.on(self.clock.monotonic(), event);
        if let Some(Action::Close { will }) = actions.pop() { Next::Close { will } } else { next }
    }

    async fn note(&mut self, subscription: Option<Qos>) -> Result<(), Unavailable> {
        let Some(attachment) = &self.attachment else { return Ok(()) };
        let connection = attachment.generation();
        self.endpoint.keeper.note(&self.guest.device, connection, subscription).await
    }

    fn deliver(&mut self, message: Message) {
        let Message { kind, payload } = message;
        let (sink, device) = (&self.endpoint.sink, self.guest.device.clone());
        let accept = async move { sink.accept(&device, kind, payload).await };
        self.deliveries.push_back(Box::pin(accept));
    }

    /// Writes, unless the device takes too long or the connection is to end meanwhile.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Event<'static>> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        tokio::select! {
            biased;
            written = timeout(WRITE_TIMEOUT, write) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Event::Lost),
            },
            reason = stopped(&mut self.attachment) => Err(Event::Stop(reason)),
        }
    }

    async fn end(mut self, will: Option<Message>) {
        self.deliveries.clear();
        if let Some(Message { kind, payload }) = will {
            let accept = self.endpoint.sink.accept(&self.guest.device, kind, payload);
            // The sink counts what it refuses; there is nobody left to tell.
            let _ = timeout(FAREWELL_TIMEOUT, accept).await;
        }
        if let Some(attachment) = self.attachment {
            if self.is_kept {
                let (device, rest) = (&self.guest.device, self.session.into_rest());
                self.endpoint.keeper.end(device, attachment.generation(), rest).await;
            }
            drop(attachment);
        }
        let _ = timeout(FAREWELL_TIMEOUT, self.stream.shutdown()).await;
    }
}

async fn order(attachment: &mut Option<Attachment>) -> Order {
    match attachment {
        Some(attachment) => attachment.order().await,
        None => future::pending().await,
    }
}

async fn stopped(attachment: &mut Option<Attachment>) -> Reason {
    match attachment {
        Some(attachment) => attachment.stopped().await,
        None => future::pending().await,
    }
}
