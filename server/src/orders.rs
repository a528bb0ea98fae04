//! Brings commands of operators to devices, and takes in what becomes of them.
//!
//! A command is in the database before anything else. It goes to the device as soon as that listens, one
//! at a time and in order, signed when it goes: so nothing that was signed meanwhile is ahead of it, and
//! one that was cancelled or is void never goes. Until it is answered it goes again on each connection
//! and every few minutes; the device knows it by its number. Each time it is signed for a few minutes
//! only, so what somebody on the way holds back is soon worth nothing. Not here: the rules
//! (`domain::command`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use waxwing_wire::DeviceId;
use waxwing_wire::command::{Answer, Order};

use crate::app::App;
use crate::director::COMMAND_LIFE;
use crate::domain::audit::{Action, Entry};
use crate::domain::command::{AGAIN_AFTER, Command, State};
use crate::logging::Chain;
use crate::mqtt::keeper::Letter;
use crate::mqtt::{Hub, Listening};
use crate::store::{self, Store, audit, commands};

/// How long the same command does not go to a broker again, whatever becomes of the connection: one that
/// ends it every second would have every command that is open signed every second.
const BROKER_PAUSE: Duration = Duration::from_secs(10);

/// The number of no command.
const NONE: u64 = 0;

/// The devices for whom commands wait, so that nobody asks the database for the others. Clones share
/// them.
#[derive(Clone, Debug, Default)]
pub struct Orders(Arc<Mutex<HashMap<DeviceId, Waiting>>>);

/// What is known of a device for whom commands wait.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    /// Another command may be the next one now.
    is_news: bool,
    sent: Option<Sent>,
}

/// What was sent to a device last.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    /// How.
    by: Listening,
    /// When, on the monotonic clock.
    at: Duration,
}

impl Sent {
    /// The device still has time to answer. What a connection of its own was lost with comes again at once
    /// with the next.
    fn is_fresh(self, by: Listening, now: Duration) -> bool {
        let time = match (self.by == by, by.is_broker) {
            (true, _) => AGAIN_AFTER,
            (false, true) => BROKER_PAUSE,
            (false, false) => Duration::ZERO,
        };
        now < self.at.saturating_add(time)
    }
}

impl Orders {
    /// Takes up what the server before has left.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn load(store: &Store, now_ms: u64) -> Result<Self, store::Error> {
        let orders = Self::default();
        for device in commands::waiting(store, now_ms).await? {
            orders.expect(&device);
        }
        Ok(orders)
    }

    /// From now on something waits for the device. Call it with the turn of the change that made it so.
    pub fn expect(&self, device: &DeviceId) {
        self.lock().entry(device.clone()).or_default().is_news = true;
    }

    /// What was sent last has come to its end: what follows need not wait.
    pub fn ended(&self, device: &DeviceId) {
        if let Some(waiting) = self.lock().get_mut(device) {
            waiting.is_news = true;
        }
    }

    /// Returns who listens and should be sent something now.
    fn due(&self, hub: &Hub, now: Duration) -> Vec<DeviceId> {
        let is_due = |device: &DeviceId, waiting: Waiting| {
            hub.listening(device).is_some_and(|by| {
                waiting.is_news || !waiting.sent.is_some_and(|sent| sent.is_fresh(by, now))
            })
        };
        let waiting = self.lock();
        let due = waiting.iter().filter(|(device, waiting)| is_due(device, **waiting));
        due.map(|(device, _)| device.clone()).collect()
    }

    /// Nothing waits for the device any more.
    pub fn forget(&self, device: &DeviceId) {
        self.lock().remove(device);
    }

    /// Takes note of what is being sent, and returns whether it is to be: not if the device has it and has
    /// time to answer.
    fn note(&self, device: &DeviceId, sent: Sent) -> bool {
        let mut all = self.lock();
        let waiting = all.entry(device.clone()).or_default();
        waiting.is_news = false;
        let is_with_it = |last: Sent| last.number == sent.number && last.is_fresh(sent.by, sent.at);
        if waiting.sent.is_some_and(is_with_it) {
            return false;
        }
        waiting.sent = Some(sent);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Waiting>> {
        // Every change above is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what is due to whoever listens. A command that cannot be read keeps those of its device waiting,
/// and of nobody else.
///
/// # Errors
///
/// When the database fails; what was not sent is sent the next time.
pub async fn send_due(app: &App) -> Result<(), store::Error> {
    for device in app.orders.due(&app.hub, app.clock.monotonic()) {
        match send_next(app, &device).await {
            Err(error) if error.is_damage() => put_off(app, &device, &error),
            sent => sent?,
        }
    }
    Ok(())
}

/// Says so once in a while.
fn put_off(app: &App, device: &DeviceId, error: &store::Error) {
    tracing::error!(device.id = %device, error = %Chain(error), "a command is not sent");
    if let Some(by) = app.hub.listening(device) {
        app.orders.note(device, Sent { number: NONE, by, at: app.clock.monotonic() });
    }
}

/// Sends a device the oldest command that is open, if the device listens.
///
/// # Errors
///
/// When the database fails.
pub async fn send_next(app: &App, device: &DeviceId) -> Result<(), store::Error> {
    let Some(by) = app.hub.listening(device) else { return Ok(()) };
    // Without a credible time nothing is signed, and nothing is void either.
    let Ok(now_ms) = app.director.now_ms() else { return Ok(()) };
    let mut change = app.store.begin().await?;
    let open = commands::open(change.connection(), device, now_ms).await?;
    let Some(command) = open.into_iter().next() else {
        app.orders.forget(device);
        return Ok(());
    };
    if command.state == State::Queued {
        commands::send(change.connection(), command.number, now_ms).await?;
    }
    // Nobody can cancel it before it is on its way.
    let turn = change.commit().await?;
    let sent = Sent { number: command.number, by, at: app.clock.monotonic() };
    // The turn is held until it is handed over: numbers must not overtake each other.
    if app.orders.note(device, sent)
        && let Some(letter) = sign(app, &command, now_ms)
    {
        app.hub.command(device, letter);
    }
    drop(turn);
    Ok(())
}

fn sign(app: &App, command: &Command, now_ms: u64) -> Option<Letter> {
    let order = Order { number: command.number, command: command.order.clone() };
    let seq = app.fleet.stamp(now_ms);
    let life_ms = u64::try_from(COMMAND_LIFE.as_millis()).unwrap_or(u64::MAX);
    // It is signed anew long before; what was held back meanwhile cannot outlive a cancellation.
    let expires_at = command.expires_at.min(now_ms.saturating_add(life_ms));
    let signed = app.director.command(&command.device, &order, seq, expires_at);
    let payload = signed.inspect_err(|error| tracing::error!(%error, "a command is not signed"));
    Some(Letter { place: None, payload: payload.ok()?.into() })
}

/// Takes in what a device says on its topic for answers. What is no answer to a command is for somebody
/// else. Doing it twice changes nothing.
///
/// # Errors
///
/// When the database fails.
pub async fn answered(
    store: &Store,
    device: &DeviceId,
    payload: &str,
    now_ms: u64,
) -> Result<(), store::Error> {
    let Ok(Answer { number, outcome, detail }) = Answer::decode(payload) else { return Ok(()) };
    let mut change = store.begin().await?;
    // Of another device's commands it cannot say anything.
    let command = commands::find(change.connection(), device, number).await?;
    let state = command.and_then(|command| command.state.answered(outcome));
    let Some(state) = state else { return Ok(()) };
    commands::end(change.connection(), number, state, &detail, now_ms).await?;
    let entry = Entry {
        at: now_ms,
        actor: format!("device:{device}"),
        action: Action::CommandAnswered,
        subject: format!("device/{device}"),
        reason: String::new(),
        detail: json!({ "id": number.to_string(), "outcome": outcome }),
    };
    audit::add(change.connection(), &entry).await?;
    change.commit().await.map(drop)
}
