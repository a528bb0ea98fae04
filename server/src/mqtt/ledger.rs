//! Keeps sessions in the database, so that they survive the process.
//!
//! One task writes, in the order in which it is asked, and all that waits in one transaction: a
//! thousand devices that wake at once cost a few disk writes. Not here: the SQL (`store::sessions`).

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::sync::{mpsc, oneshot};
use waxwing_wire::DeviceId;

use super::keeper::{Keeper, Letter, Place, Rest, Session, Subscribed, Unavailable, Wish};
use crate::clock::Clock;
use crate::logging::Chain;
use crate::store::sessions::{self, Connection};
use crate::store::{self, Store, relay};

/// Most jobs of one transaction: some ten milliseconds, in which nobody else writes.
const BATCH_MAX: usize = 256;

/// Jobs that wait for the task; whoever has more waits itself.
const QUEUE_MAX: usize = 4 * BATCH_MAX;

/// Keeps sessions in the database. Clones share the task, which ends with the last of them.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Takes up what the server before has left. Needs a runtime.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn open(store: Store, clock: Arc<dyn Clock>) -> Result<Self, store::Error> {
        let mut change = store.begin().await?;
        sessions::restart(change.connection(), clock.now_ms()).await?;
        drop(change.commit().await?);
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write(store.clone(), clock, waiting));
        Ok(Self { store, jobs })
    }

    /// Waits until everything that was asked for before is written.
    pub async fn flush(&self) {
        let _ = self.ask(|done| Job::Flush { done }).await;
    }

    async fn exists(&self, device: &DeviceId) -> Result<bool, Unavailable> {
        sessions::exists(&self.store, device).await.map_err(|error| unavailable(&error))
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| Unavailable)?;
        answered.await.map_err(|_| Unavailable)
    }
}

impl Keeper for Ledger {
    async fn begin(
        &self,
        device: &DeviceId,
        connection: u64,
        wish: Wish,
    ) -> Result<Option<Session>, Unavailable> {
        // The common case writes nothing: no session before, none to be kept. The end of the connection
        // before was written before this one began.
        if wish.expiry_s == 0 && !self.exists(device).await? {
            return Ok(None);
        }
        let connection = connection_of(device, connection);
        let found = self.ask(|answer| Job::Begin { connection, wish, answer }).await?;
        Ok(found.map(Session::from))
    }

    async fn note(
        &self,
        device: &DeviceId,
        connection: u64,
        subscribed: Subscribed,
    ) -> Result<(), Unavailable> {
        let connection = connection_of(device, connection);
        self.ask(|done| Job::Note { connection, subscribed, done }).await
    }

    fn taken(&self, place: Place) {
        // With a full queue it comes again on the next connection, and the device knows its number.
        let _ = self.jobs.try_send(Job::Taken(place.position));
    }

    async fn end(&self, device: &DeviceId, connection: u64, rest: Option<Rest>) {
        let connection = connection_of(device, connection);
        let _ = self.ask(|done| Job::End { connection, rest, done }).await;
    }
}

/// Something to be written. What is asked for is answered once it is on the disk; a failure is an
/// answer that never comes.
enum Job {
    Begin { connection: Connection, wish: Wish, answer: oneshot::Sender<Option<sessions::Session>> },
    End { connection: Connection, rest: Option<Rest>, done: oneshot::Sender<()> },
    Flush { done: oneshot::Sender<()> },
    Note { connection: Connection, subscribed: Subscribed, done: oneshot::Sender<()> },
    Taken(u64),
}

/// Gives an answer.
type Reply = Box<dyn FnOnce() + Send>;

async fn write(store: Store, clock: Arc<dyn Clock>, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        match carry_out(&store, batch.drain(..), clock.now_ms()).await {
            Ok(replies) => replies.into_iter().for_each(|reply| reply()),
            Err(error) => drop(unavailable(&error)),
        }
    }
}

async fn carry_out(
    store: &Store,
    jobs: impl Iterator<Item = Job>,
    now_ms: u64,
) -> Result<Vec<Reply>, store::Error> {
    let mut change = store.begin().await?;
    let mut replies = Vec::new();
    for job in jobs {
        replies.extend(apply(change.connection(), job, now_ms).await?);
    }
    drop(change.commit().await?);
    Ok(replies)
}

async fn apply(
    db: &mut store::Connection,
    job: Job,
    now_ms: u64,
) -> Result<Option<Reply>, store::Error> {
    Ok(match job {
        Job::Begin { connection, wish, answer } => {
            let Wish { clean_start, expiry_s } = wish;
            // It is not behind the broker any more.
            relay::take_back(db, &connection.device).await?;
            let found = sessions::begin(db, &connection, clean_start, expiry_s, now_ms).await?;
            Some(reply(answer, found))
        }
        Job::End { connection, rest, done } => {
            let rest = rest.map(sessions::Rest::from);
            sessions::end(db, &connection, rest.as_ref(), now_ms).await?;
            Some(reply(done, ()))
        }
        Job::Flush { done } => Some(reply(done, ())),
        Job::Note { connection, subscribed, done } => {
            let commands = subscribed.commands.map(number);
            sessions::subscribe(db, &connection, commands, &subscribed.feeds).await?;
            Some(reply(done, ()))
        }
        Job::Taken(position) => {
            sessions::taken(db, position).await?;
            None
        }
    })
}

fn reply<T: Send + 'static>(to: oneshot::Sender<T>, answer: T) -> Reply {
    Box::new(|| {
        // Whoever asked may be gone.
        let _ = to.send(answer);
    })
}

fn connection_of(device: &DeviceId, number: u64) -> Connection {
    Connection { device: device.clone(), number }
}

const fn number(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

fn unavailable(error: &store::Error) -> Unavailable {
    tracing::error!(error = %Chain(error), "sessions not kept");
    Unavailable
}

impl From<sessions::Session> for Session {
    fn from(stored: sessions::Session) -> Self {
        let commands = stored.subscription.and_then(|qos| Qos::try_from(qos).ok());
        let subscribed = Subscribed { commands, feeds: stored.feeds };
        let commands = stored.commands.into_iter().filter_map(letter).collect();
        let taken = stored.taken.into_iter().filter_map(NonZeroU16::new).collect();
        Self { subscribed, commands, taken }
    }
}

fn letter(stored: sessions::Command) -> Option<(Letter, bool)> {
    let packet = NonZeroU16::new(stored.packet)?;
    let place = Some(Place { position: stored.position, packet });
    Some((Letter { place, payload: stored.payload.into() }, stored.sent))
}

impl From<Rest> for sessions::Rest {
    fn from(Rest { expiry_s, sent, taken }: Rest) -> Self {
        Self { expiry_s, sent, taken: taken.into_iter().map(NonZeroU16::get).collect() }
    }
}
