//! One sink's errand boy: reads the log behind the cursor, sends, and moves the cursor.
//!
//! The cursor is written before a batch goes out and after it was taken; whatever lies between when the
//! server dies, or cannot write, is sent again, with a mark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Parcel, Sink, Target, answers, lock};
use crate::app::App;
use crate::domain::sink::Subject;
use crate::domain::sink::progress::{Cursor, Dead, Outcome, Progress};
use crate::logging::Chain;
use crate::random;
use crate::store;
use crate::store::messages::{DeadLetter, Logged};

/// Most messages of one batch: few enough that they are sent in well under a second.
const BATCH_MAX: usize = 256;

/// Most dead letters that are sent again at once.
const ASKED_MAX: u32 = 64;

/// How long to wait for a database that fails.
const DATABASE_PAUSE: Duration = Duration::from_secs(5);

/// How long to wait at most when there is nothing to do; whatever there is to do wakes it earlier.
const NAP: Duration = Duration::from_mins(1);

/// Sends to one sink.
pub(super) struct Worker {
    app: Arc<App>,
    sink: Arc<Sink>,
    target: Target,
    newest: watch::Receiver<u64>,
    state: Option<State>,
}

/// How far it is; nothing before the cursor was read.
struct State {
    progress: Progress,
    /// What is written of that.
    written: Cursor,
    /// The open messages.
    held: BTreeMap<u64, Logged>,
}

impl Worker {
    pub(super) fn new(app: Arc<App>, sink: Arc<Sink>, target: Target) -> Self {
        let newest = app.log.newest();
        Self { app, sink, target, newest, state: None }
    }

    /// Works until the server ends. What is on its way then is sent again after the next start.
    pub(super) async fn run(mut self, end: CancellationToken) {
        end.run_until_cancelled(async {
            loop {
                let pause = match self.round().await {
                    Ok(pause) => pause,
                    Err(error) => {
                        let (sink, error) = (self.sink.name(), Chain(&error));
                        tracing::error!(sink, %error, "the message log failed for a sink");
                        // What is in memory is ahead of what is durable, such as of a dead letter that
                        // could not be written: from there again, with the mark.
                        self.state = None;
                        Some(DATABASE_PAUSE)
                    }
                };
                if let Some(pause) = pause {
                    self.wait(pause).await;
                }
            }
        })
        .await;
    }

    /// Does what there is to do, and returns how long to wait unless there is more.
    async fn round(&mut self) -> Result<Option<Duration>, store::Error> {
        self.resume().await?;
        self.newest.mark_unchanged();
        let now_ms = self.now_ms();
        let more_asked = self.send_asked(now_ms).await?;
        let more_read = self.read(now_ms).await?;
        let Some(state) = &mut self.state else { return Ok(None) };
        let batch = state.progress.due(now_ms, BATCH_MAX);
        if !batch.is_empty() {
            self.send(&batch).await?;
            return Ok(None);
        }
        self.write(&[]).await?;
        let due_at = self.state.as_ref().and_then(|state| state.progress.due_at());
        let until_due = due_at.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        let pause = until_due.unwrap_or(NAP).min(NAP);
        Ok((!more_asked && !more_read).then_some(pause))
    }

    async fn wait(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            Ok(()) = self.newest.changed() => {}
            () = self.sink.asked.notified() => {}
        }
    }

    /// Finds out where the sink is.
    async fn resume(&mut self) -> Result<(), store::Error> {
        if self.state.is_some() {
            return Ok(());
        }
        let config = self.sink.config();
        let cursor = self.app.log.cursor(self.sink.name(), config.backfill).await?;
        let progress = Progress::resume(cursor);
        self.state = Some(State { progress, written: cursor, held: BTreeMap::new() });
        self.show().await
    }

    /// Reads what comes next in the log; tells whether there may be more.
    async fn read(&mut self, now_ms: u64) -> Result<bool, store::Error> {
        let Some(state) = &mut self.state else { return Ok(false) };
        let progress = &mut state.progress;
        if progress.rests(now_ms) || progress.due(now_ms, BATCH_MAX).len() >= BATCH_MAX {
            return Ok(false);
        }
        let limit = progress.room().min(BATCH_MAX);
        let rows = u32::try_from(limit).unwrap_or(u32::MAX);
        let behind = self.app.log.after(progress.position(), rows).await?;
        let Some(last) = behind.last().map(|logged| logged.position) else { return Ok(false) };
        let more = behind.len() == limit;
        let wanted = behind.into_iter().filter(|logged| wants(&self.app, &self.sink, logged));
        let wanted: BTreeMap<_, _> = wanted.map(|logged| (logged.position, logged)).collect();
        let is_in_order = self.target.is_in_order();
        let lane = |logged: &Logged| is_in_order.then(|| logged.message.device.clone());
        progress.read(last, wanted.iter().map(|(position, logged)| (*position, lane(logged))));
        state.held.extend(wanted);
        Ok(more)
    }

    /// Sends a batch, and takes note of what came of it.
    async fn send(&mut self, batch: &[u64]) -> Result<(), store::Error> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let known = batch.iter().map(|position| state.progress.may_be_known(*position));
        let known: Vec<_> = known.collect();
        state.progress.send(batch);
        self.write(&[]).await?;
        let Some(state) = &mut self.state else { return Ok(()) };
        let letters = batch.iter().zip(known);
        let letters = letters.filter_map(|(it, again)| Some((state.held.get(it)?, again)));
        let parcels: Vec<_> =
            letters.map(|(logged, again)| parcel(&self.app, logged, again)).collect();
        let (outcomes, said) = self.target.send(&parcels).await;
        answers::route(&self.app, self.sink.name(), &said).await;
        self.note(&outcomes);
        let now_ms = self.now_ms();
        let jitter = u16::from_be_bytes(random::bytes(self.app.random.as_ref()));
        let Some(state) = &mut self.state else { return Ok(()) };
        let dead = state.progress.settle(outcomes, now_ms, jitter);
        let dead = dead.into_iter().filter_map(|it| Some((state.held.remove(&it.position)?, it)));
        let dead: Vec<_> = dead.collect();
        let progress = &state.progress;
        state.held.retain(|position, _| progress.is_open(*position));
        lock(&self.sink.health).failures = progress.failures();
        self.write(&dead).await
    }

    /// Sends dead letters again that somebody asked for; tells whether there may be more.
    async fn send_asked(&mut self, now_ms: u64) -> Result<bool, store::Error> {
        let rests = |state: &State| state.progress.rests(now_ms);
        if self.state.as_ref().is_none_or(rests) {
            return Ok(false);
        }
        let asked = self.app.log.asked_for(self.sink.name(), ASKED_MAX).await?;
        if asked.is_empty() {
            return Ok(false);
        }
        let letters = asked.iter().map(|DeadLetter { logged, .. }| parcel(&self.app, logged, true));
        let letters: Vec<_> = letters.collect();
        let (outcomes, said) = self.target.send(&letters).await;
        answers::route(&self.app, self.sink.name(), &said).await;
        self.note(&outcomes);
        let is_away = |it: &Outcome| matches!(it, Outcome::Unreachable { .. });
        let away = outcomes.iter().any(|(_, outcome)| is_away(outcome));
        for (position, outcome) in outcomes {
            self.settle_asked(position, outcome).await?;
        }
        self.show().await?;
        Ok(!away)
    }

    async fn settle_asked(&self, position: u64, outcome: Outcome) -> Result<(), store::Error> {
        let (log, sink) = (&self.app.log, self.sink.name());
        match outcome {
            Outcome::Taken => {
                log.discard(sink, store::messages::Which::One(position)).await.map(drop)
            }
            Outcome::Failed(reason) | Outcome::Refused(reason) => {
                log.rebury(sink, position, &reason).await
            }
            Outcome::Unreachable { .. } => Ok(()),
        }
    }

    /// Writes where the sink is and what it did not take, unless that is known.
    async fn write(&mut self, dead: &[(Logged, Dead)]) -> Result<(), store::Error> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let cursor = state.progress.cursor();
        if cursor == state.written && dead.is_empty() {
            return Ok(());
        }
        let sink = self.sink.name();
        let dropped = self.app.log.move_sink(sink, cursor, dead, self.app.clock.now_ms()).await?;
        state.written = cursor;
        for (Logged { position, message }, Dead { reason, tries, .. }) in dead {
            let device = &message.device;
            tracing::error!(sink, position, device.id = %device, reason, tries, "dead letter");
        }
        if dropped > 0 {
            tracing::error!(sink, dropped, "no room for dead letters: the oldest are gone");
            self.app.sinks.numbers.dropped(sink, dropped);
        }
        let newest = *self.newest.borrow();
        self.app.sinks.numbers.behind(sink, newest.saturating_sub(cursor.taken));
        if dead.is_empty() { Ok(()) } else { self.show().await }
    }

    /// Counts what came of messages, and keeps the last reason for people.
    fn note(&self, outcomes: &[(u64, Outcome)]) {
        for (_, outcome) in outcomes {
            self.app.sinks.numbers.count(self.sink.name(), outcome);
        }
        let reason = outcomes.iter().rev().find_map(|(_, outcome)| match outcome {
            Outcome::Failed(reason)
            | Outcome::Refused(reason)
            | Outcome::Unreachable { reason, .. } => Some(reason),
            Outcome::Taken => None,
        });
        let mut health = lock(&self.sink.health);
        if reason.is_some() && health.last_error.as_ref() != reason {
            tracing::warn!(sink = self.sink.name(), reason, "a sink does not take messages");
        }
        health.last_error = reason.cloned();
    }

    /// Shows numbers of what is in the database.
    async fn show(&self) -> Result<(), store::Error> {
        let dead = self.app.log.count_dead(self.sink.name()).await?;
        // From 0 on: the first one that is lost is seen, too.
        self.app.sinks.numbers.dropped(self.sink.name(), 0);
        self.app.sinks.numbers.dead(self.sink.name(), dead);
        Ok(())
    }

    /// Returns the time for waits: that of day may be set back.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.app.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells whether a message is for a sink.
fn wants(app: &App, sink: &Sink, logged: &Logged) -> bool {
    let config = sink.config();
    let subject = Subject::of(logged.message.kind);
    let is_about = subject.is_some_and(|subject| config.messages.contains(&subject));
    let of_product = || {
        let device = app.fleet.device(&logged.message.device);
        device.is_some_and(|device| config.products.contains(&device.product))
    };
    is_about && (config.products.is_empty() || of_product())
}

fn parcel<'a>(app: &App, logged: &'a Logged, again: bool) -> Parcel<'a> {
    let product = app.fleet.device(&logged.message.device).map(|device| device.product.clone());
    Parcel { logged, product, again }
}
