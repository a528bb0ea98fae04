//! Messages about rollouts to other machines: signed, to each of them one at a time.
//!
//! What is to be sent is in the outbox, which is written with what happened; see docs/webhooks.md. Not
//! here: when a message is sent again ([`crate::domain::webhook::delivery`]).

mod client;
pub mod reach;
mod secret;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::client::Error;
use self::client::{Sender, Signed};
use self::reach::Reach;
pub use self::secret::{KEY_BYTES, Key, Secret};
use crate::config::Config;
use crate::domain::Webhook;
use crate::domain::webhook::delivery::{Failure, Outcome};
use crate::logging::Chain;
use crate::store::webhooks::Outgoing;

/// What sends messages.
pub struct Webhooks {
    key: Key,
    reach: Reach,
    /// None on a system that knows no authorities: then nobody can be believed.
    sender: Option<Sender>,
    /// Webhooks to which something is being sent.
    busy: Busy,
}

type Busy = Arc<Mutex<BTreeSet<String>>>;

/// The right to send to a webhook, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    busy: Busy,
    webhook: String,
}

impl Webhooks {
    /// Prepares to send.
    ///
    /// # Errors
    ///
    /// [`Error`] when the file of authorities that the configuration names cannot be used.
    pub fn new(config: &Config, key: Key) -> Result<Self, Error> {
        let reach = Reach::new(&config.webhooks.allow_networks);
        let sender = match Sender::new(reach.clone(), &config.webhooks) {
            Err(error @ Error::Client(_)) => {
                tracing::error!(error = %Chain(&error), "webhooks cannot be sent");
                None
            }
            sender => Some(sender?),
        };
        Ok(Self { key, reach, sender, busy: Busy::default() })
    }

    /// Returns the secret of a webhook.
    pub fn secret(&self, webhook: &str) -> Secret {
        self.key.secret(webhook)
    }

    /// Returns where messages may go.
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Takes the right to send to a webhook; nobody else has it meanwhile.
    pub fn take(&self, webhook: &str) -> Option<Slot> {
        let is_free = lock(&self.busy).insert(webhook.to_owned());
        is_free.then(|| Slot { busy: Arc::clone(&self.busy), webhook: webhook.to_owned() })
    }

    /// Sends a message once, signed with the time of this attempt.
    pub async fn send(&self, webhook: &Webhook, outgoing: &Outgoing, now_ms: u64) -> Outcome {
        let Some(sender) = &self.sender else { return Outcome::Failed(Failure::NotReached) };
        let timestamp_s = now_ms / 1000;
        let (id, body) = (outgoing.message.clone(), outgoing.body.clone());
        let signature = self.secret(&webhook.id).sign(&id, timestamp_s, &body);
        sender.send(webhook.target.url(), Signed { id, timestamp_s, signature, body }).await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.webhook);
    }
}

fn lock(busy: &Busy) -> MutexGuard<'_, BTreeSet<String>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
