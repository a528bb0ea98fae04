//! What others are told of rollouts: who asked for it, what there is to tell, and what a message says.
//!
//! Messages are those of Standard Webhooks 1.0.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): one
//! identifier, however often a message is sent. Not here: signing and sending.

pub mod delivery;
pub mod target;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use waxwing_tuf::Time;
use waxwing_wire::Digest;

pub use self::delivery::Delivery;
pub use self::target::Target;
use super::alert::board::{Step, Told};
use super::audit::Entry;
use super::{Rollout, words};

/// Most webhooks: each adds a row to what must be durable before a halt is answered.
pub const WEBHOOKS_MAX: usize = 32;

/// Characters of the hash in an identifier; the time before it is another one for each change.
const ID_HASH_CHARS: usize = 16;

words!(
    /// What happened.
    Kind {
        /// Something is the matter that somebody must know.
        AlertFired "alert.fired",
        /// That is over.
        AlertResolved "alert.resolved",
        /// Only somebody's approval is missing before a rollout goes on.
        ApprovalNeeded "rollout.approval_needed",
        /// An operator stopped a rollout for good.
        Cancelled "rollout.cancelled",
        /// A rollout came to its end.
        Finished "rollout.finished",
        /// A rollout stopped itself.
        Halted "rollout.halted",
        /// An operator stopped a rollout for now.
        Paused "rollout.paused",
        /// A gate was passed, and the next phase began.
        PhasePassed "rollout.phase_passed",
        /// A paused rollout goes on.
        Resumed "rollout.resumed",
        /// A rollout began.
        Started "rollout.started",
        /// Somebody tries a webhook.
        Test "webhook.test",
    }
);

/// Somebody who is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// Its name, which is never given again.
    pub id: String,
    /// Where messages go.
    pub target: Target,
    /// What is told; everything if it is empty.
    pub kinds: Vec<Kind>,
    /// Who asked for it.
    pub created_by: String,
    /// When, in Unix milliseconds.
    pub created_at: u64,
}

/// Something that happened, as it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The identifier of the message, without a full stop; later ones sort higher.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The message: JSON, at most a few thousand bytes, because names and reasons have limits.
    pub body: String,
}

impl Webhook {
    /// Tells whether this is told.
    pub fn wants(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

impl Event {
    /// Describes what happened to a rollout, as the audit log has it.
    pub fn of_rollout(kind: Kind, rollout: &Rollout, entry: &Entry) -> Self {
        let about = json!({
            "rollout": rollout.id,
            "product": rollout.product,
            "channel": rollout.channel,
            "version": rollout.version.to_string(),
            "group": rollout.group,
            "state": rollout.state,
            "phase": rollout.current_phase(),
            "generation": rollout.generation,
            "by": entry.actor,
            "reason": entry.reason,
        });
        let once = format!("{}\n{}", rollout.id, rollout.generation);
        Self::new(kind, entry.at, &once, &about)
    }

    /// Describes what is told of an alert, if anything is. Examples may be devices, and so they are not in
    /// it.
    pub fn of_alert(step: &Step) -> Option<Self> {
        let alert = &step.alert;
        let kind = match step.told? {
            Told::Fired => Kind::AlertFired,
            Told::Resolved => Kind::AlertResolved,
        };
        let about = json!({
            "alert": alert.id,
            "rule": alert.rule,
            "subject": alert.subject,
            "severity": alert.severity,
            "state": alert.state.as_str(),
            "value": alert.value,
            "peak": alert.peak,
            "began_at": Time::from_millis(alert.began_at).to_string(),
            "summary": alert.summary(),
        });
        Some(Self::new(kind, alert.written_at, &alert.id, &about))
    }

    /// Makes a message with which somebody tries a webhook.
    pub fn test(webhook: &str, entry: &Entry) -> Self {
        let about = json!({ "webhook": webhook, "by": entry.actor, "reason": entry.reason });
        Self::new(Kind::Test, entry.at, webhook, &about)
    }

    fn new(kind: Kind, at: u64, once: &str, data: &serde_json::Value) -> Self {
        let hash = Sha256::new().chain_update(kind.as_str()).chain_update(once).finalize();
        let hash: String = Digest(hash.into()).to_string().chars().take(ID_HASH_CHARS).collect();
        let id = format!("msg_{at:012x}{hash}");
        let timestamp = Time::from_millis(at).to_string();
        let body = json!({ "id": id, "type": kind, "timestamp": timestamp, "data": data });
        Self { id, kind, at, body: body.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Action;
    use crate::domain::rollout::tests::rollout;

    /// Far less than a receiver takes.
    const BODY_BYTES_MAX: usize = 4096;

    fn entry(reason: &str, at: u64) -> Entry {
        Entry {
            at,
            actor: "admin:admin".to_owned(),
            action: Action::RolloutPaused,
            subject: String::new(),
            reason: reason.to_owned(),
            detail: json!({}),
        }
    }

    #[test]
    fn an_identifier_says_when_and_stands_for_one_thing_that_happened() {
        let rollout = rollout("r-1", &[100]);
        let event = |kind, at| Event::of_rollout(kind, &rollout, &entry("", at)).id;
        assert_eq!(event(Kind::Paused, 1), event(Kind::Paused, 1));
        assert_ne!(event(Kind::Paused, 1), event(Kind::Halted, 1));
        assert!(event(Kind::Paused, 0xffff) < event(Kind::Halted, 0x10000));
        let mut later = rollout.clone();
        later.generation += 1;
        let later = Event::of_rollout(Kind::Paused, &later, &entry("", 1)).id;
        assert_ne!(event(Kind::Paused, 1), later);
        assert!(!later.contains('.'), "a full stop parts what is signed");
    }

    #[test]
    fn a_message_is_small_whatever_people_write() {
        let reason = "\u{1}".repeat(500);
        let event = Event::of_rollout(Kind::Paused, &rollout("r-1", &[100]), &entry(&reason, 1));
        assert!(event.body.len() <= BODY_BYTES_MAX, "{}", event.body.len());
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        assert_eq!(body["type"], "rollout.paused");
        assert_eq!(body["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(body["data"]["reason"], reason);
    }

    #[test]
    fn who_asks_for_nothing_in_particular_is_told_everything() {
        let target = Target::parse("https://hooks.example/w").unwrap();
        let mut webhook = Webhook {
            id: "wh-1".to_owned(),
            target,
            kinds: Vec::new(),
            created_by: String::new(),
            created_at: 0,
        };
        assert!(Kind::ALL.iter().all(|kind| webhook.wants(*kind)));
        webhook.kinds = vec![Kind::Halted];
        assert!(webhook.wants(Kind::Halted) && !webhook.wants(Kind::Paused));
    }
}
