//! Moves bytes between one device and its session, and messages between the session and the rest
//! of the server.
//!
//! Not here: accepting connections and TLS ([`crate::listener`]), nor any decision about packets.

use std::future::{self, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::audience::{Audience, Crowded, Said, Seat};
use super::filter::Filter;
use super::grants::{Grants, Readable};
use super::hub::{Attachment, Hub, Order, Who};
use super::keeper::{Keeper, Subscribed, Unavailable, Wish};
use super::meter::Limits;
use super::reason::Reason;
use super::refusals::Refusals;
use super::scope::Scope;
use super::session::{Action, Event, Message, Session};
use super::{Refused, Sink};
use crate::clock::Clock;

/// Read at once.
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
    /// Those who listen to what devices say.
    pub audience: Audience,
    /// What devices may read of others.
    pub grants: Grants,
    /// What devices find again.
    pub keeper: K,
    /// Counts what is refused.
    pub refusals: Refusals,
    /// Where messages go.
    pub sink: S,
}

/// A client that proved its identity.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Who it is.
    pub scope: Scope,
    /// What it is called if it leaves its name empty.
    pub nickname: String,
    /// How much it may send.
    pub limits: Limits,
    /// Until when it may stay, on the monotonic clock.
    pub until: Duration,
}

/// Speaks MQTT with a client, until either side ends it.
///
/// `is_admitted` reads the client's record. It is asked once the hub knows of the connection, so
/// that a revocation either shows in the record or reaches the connection.
pub async fn serve<S: Sink, K: Keeper, A: Future<Output = bool>>(
    endpoint: &Endpoint<S, K>,
    clock: &Arc<dyn Clock>,
    guest: Guest,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    is_admitted: impl Fn() -> A,
) {
    let (scope, nickname) = (guest.scope.clone(), guest.nickname.clone());
    let session = Session::new(scope, nickname, guest.limits, clock.monotonic());
    let clock = clock.as_ref();
    let deliveries = FuturesOrdered::new();
    let mut connection = Connection {
        endpoint,
        clock,
        guest,
        stream,
        session,
        attachment: None,
        seat: None,
        regranted: endpoint.grants.watch(),
        is_kept: false,
        deliveries,
    };
    let will = connection.run(is_admitted).await;
    // In a box: most of the time of a connection this is still to come, and takes more room than the rest.
    Box::pin(connection.end(will)).await;
}

struct Connection<'a, S, K, T> {
    endpoint: &'a Endpoint<S, K>,
    clock: &'a dyn Clock,
    guest: Guest,
    stream: T,
    session: Session,
    attachment: Option<Attachment>,
    /// For who listens to devices.
    seat: Option<Seat>,
    /// Tells of other grants.
    regranted: watch::Receiver<u64>,
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
    /// Runs until the connection is to end; returns the will that is to be handed over.
    async fn run<A: Future<Output = bool>>(
        &mut self,
        is_admitted: impl Fn() -> A,
    ) -> Option<Message> {
        let mut next = self.wait().await;
        loop {
            next = match next {
                Next::Attach(wish) => self.attach(wish, &is_admitted).await,
                Next::Close { will } => return will,
                Next::Wait => self.wait().await,
            };
        }
    }

    /// Waits for the next thing to happen, and does what the session wants then.
    async fn wait(&mut self) -> Next {
        let received;
        let deadline = self.session.deadline().min(self.guest.until);
        let rest = deadline.saturating_sub(self.clock.monotonic());
        let event = tokio::select! {
            biased;
            order = order(&mut self.attachment) => match order {
                Order::Command(command) => Event::Command(command),
                Order::Stop(reason) => Event::Stop(reason),
            },
            Some(answer) = self.deliveries.next() => Event::Answered(answer),
            read = read(&mut self.stream), if self.session.wants_bytes() => match read {
                Ok(bytes) if !bytes.is_empty() => {
                    received = bytes;
                    Event::Received(&received)
                }
                Ok(_) | Err(_) => Event::Lost,
            },
            Ok(()) = self.regranted.changed(), if self.seat.is_some() => {
                Event::Granted(self.readable())
            }
            said = hear(&mut self.seat) => Event::Said(said),
            () = sleep(rest) => Event::Tick,
        };
        let now = self.clock.monotonic();
        let over = self.guest.until <= now;
        let event = if over { Event::Stop(Reason::MaximumConnectTime) } else { event };
        let mut actions = self.look_at_grants();
        actions.extend(self.on(event));
        self.carry_out(actions).await
    }

    /// Tells the session what happened, and counts what it refuses.
    fn on(&mut self, event: Event<'_>) -> Vec<Action> {
        let actions = self.session.on(self.clock.monotonic(), event);
        for (part, reason) in self.session.take_refused() {
            self.endpoint.refusals.count(part, reason);
        }
        actions
    }

    /// Tells the session what it may read if that has changed.
    fn look_at_grants(&mut self) -> Vec<Action> {
        if !self.regranted.has_changed().unwrap_or(false) {
            return Vec::new();
        }
        self.regranted.mark_unchanged();
        let readable = self.readable();
        self.on(Event::Granted(readable))
    }

    fn readable(&self) -> Readable {
        match &self.guest.scope {
            Scope::Device(device) => self.endpoint.grants.of(device),
            Scope::Operator(_) => Readable::new(),
        }
    }

    async fn attach<A: Future<Output = bool>>(
        &mut self,
        wish: Wish,
        is_admitted: impl Fn() -> A,
    ) -> Next {
        let who = self.who();
        let attachment = self.endpoint.hub.attach(who).await;
        self.session.resume(attachment.take_meter());
        self.attachment = Some(attachment);
        let readable = self.readable();
        self.on(Event::Granted(readable));
        let event = if is_admitted().await {
            self.begin(wish).await
        } else {
            Event::Stop(Reason::NotAuthorized)
        };
        let actions = self.on(event);
        self.carry_out(actions).await
    }

    fn who(&self) -> Who {
        match &self.guest.scope {
            Scope::Device(device) => Who::Device(device.clone()),
            Scope::Operator(operator) => {
                let client_id = self.session.client_id().to_owned();
                Who::Operator { operator: operator.clone(), client_id }
            }
        }
    }

    /// Finds out what session the client goes on with.
    async fn begin(&mut self, wish: Wish) -> Event<'static> {
        let (Scope::Device(device), Some(attachment)) = (&self.guest.scope, &self.attachment)
        else {
            return Event::Attached(None);
        };
        let begun = self.endpoint.keeper.begin(device, attachment.generation(), wish).await;
        self.is_kept = begun.is_ok() && wish.expiry_s > 0;
        begun.map_or(Event::Stop(Reason::ServerBusy), Event::Attached)
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
                // What follows these two tells the client of it.
                Action::Hear(filters) => {
                    if self.hear(filters).is_err() {
                        return self.give_up(Reason::QuotaExceeded).await;
                    }
                }
                Action::Note(subscribed) => {
                    if self.note(subscribed).await.is_err() {
                        return self.give_up(Reason::ServerBusy).await;
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
        let mut actions = self.on(event);
        if let Some(Action::Close { will }) = actions.pop() { Next::Close { will } } else { next }
    }

    /// Ends the connection and says why.
    async fn give_up(&mut self, reason: Reason) -> Next {
        let actions = self.on(Event::Stop(reason));
        let mut next = Next::Wait;
        for action in actions {
            match action {
                Action::Close { will } => next = Next::Close { will },
                // It ends in any case.
                Action::Send(packet) => drop(self.write(&packet).await),
                Action::Attach(_)
                | Action::Deliver(_)
                | Action::Hear(_)
                | Action::Listen(_)
                | Action::Note(_)
                | Action::Taken(_) => {}
            }
        }
        next
    }

    async fn note(&mut self, subscribed: Subscribed) -> Result<(), Unavailable> {
        let (Scope::Device(device), Some(attachment)) = (&self.guest.scope, &self.attachment)
        else {
            return Ok(());
        };
        self.endpoint.keeper.note(device, attachment.generation(), subscribed).await
    }

    fn hear(&mut self, filters: Vec<Filter>) -> Result<(), Crowded> {
        let seat = self.seat.get_or_insert_with(|| self.endpoint.audience.seat());
        seat.listen_to(filters)
    }

    fn deliver(&mut self, message: Message) {
        let Message { kind, payload } = message;
        let Scope::Device(device) = self.guest.scope.clone() else { return };
        let sink = &self.endpoint.sink;
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
        if let (Some(Message { kind, payload }), Scope::Device(device)) = (will, &self.guest.scope)
        {
            let accept = self.endpoint.sink.accept(device, kind, payload);
            // The sink counts what it refuses; there is nobody left to tell.
            let _ = timeout(FAREWELL_TIMEOUT, accept).await;
        }
        if let Some(attachment) = self.attachment {
            attachment.keep_meter(self.session.meter(), self.clock.monotonic());
            if let (true, Scope::Device(device)) = (self.is_kept, &self.guest.scope) {
                let rest = self.session.into_rest();
                self.endpoint.keeper.end(device, attachment.generation(), rest).await;
            }
            drop(attachment);
        }
        let _ = timeout(FAREWELL_TIMEOUT, self.stream.shutdown()).await;
    }
}

/// Reads what has come; nothing is the end. The room for it is there only while it is asked for: who waits
/// for a silent device holds none.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let read = |context: &mut Context<'_>| {
        let mut room = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    };
    poll_fn(read).await
}

async fn order(attachment: &mut Option<Attachment>) -> Order {
    match attachment {
        Some(attachment) => attachment.order().await,
        None => future::pending().await,
    }
}

async fn hear(seat: &mut Option<Seat>) -> Arc<Said> {
    match seat {
        Some(seat) => seat.hear().await,
        None => future::pending().await,
    }
}

async fn stopped(attachment: &mut Option<Attachment>) -> Reason {
    match attachment {
        Some(attachment) => attachment.stopped().await,
        None => future::pending().await,
    }
}
