//! Alerts: what somebody must know, and should be told once.
//!
//! A rule looks at evidence, which is a number for each subject, such as how many devices of a product
//! were not heard of. The alert of a rule and a subject is a small machine ([`machine`]); [`board`] moves
//! all of them and says what is told. Not here: where the numbers come from.

pub mod board;
pub mod lost;
pub mod machine;
pub mod rule;
pub mod silence;
mod summary;
pub mod window;

use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;

pub use self::machine::{Stage, State};
pub use self::rule::{Kind, Rule, RuleName, Settings, Severity};
pub use self::silence::Silence;

/// Most examples of an alert: enough to begin to look, and a million lost devices are one alert.
pub const EXAMPLES_MAX: usize = 5;

/// Characters of the hash in an identifier; the time before it is another one for each alert of a rule
/// and a subject.
const ID_HASH_CHARS: usize = 16;

/// What a rule found about one subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What about: `product/<name>`, `rollout/<name>`, `listener/<name>` and so on.
    pub subject: String,
    /// How many, or how much; what it counts, the kind of the rule says.
    pub value: u64,
    /// Some of what was counted; at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// What a rule says of a subject, from when it first did until that is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// Its name; later ones sort higher.
    pub id: String,
    /// The rule.
    pub rule: RuleName,
    /// What about.
    pub subject: String,
    /// How urgent it is, as the rule said when it fired.
    pub severity: Severity,
    /// When the rule first said so, in Unix milliseconds.
    pub began_at: u64,
    /// How far it is.
    pub state: State,
    /// The number last found, up to a minute ago.
    pub value: u64,
    /// The highest one.
    pub peak: u64,
    /// Some of what was counted.
    pub examples: Vec<String>,
    /// When it was told that it fires, in Unix milliseconds; not yet while it is silenced.
    pub told_at: Option<u64>,
    /// When any of this was last written, in Unix milliseconds.
    pub written_at: u64,
}

impl Alert {
    /// Begins: nothing has been found yet.
    fn quiet(rule: &Rule, subject: &str, now_ms: u64) -> Self {
        Self {
            id: id(&rule.name, subject, now_ms),
            rule: rule.name.clone(),
            subject: subject.to_owned(),
            severity: rule.settings.severity,
            began_at: now_ms,
            state: State::Quiet,
            value: 0,
            peak: 0,
            examples: Vec::new(),
            told_at: None,
            written_at: now_ms,
        }
    }

    /// Says in a sentence what is the matter, short enough for a text message.
    pub fn summary(&self) -> String {
        summary::of(self)
    }
}

fn id(rule: &RuleName, subject: &str, now_ms: u64) -> String {
    let hash = Sha256::digest(format!("{rule}\n{subject}"));
    let hash: String = Digest(hash.into()).to_string().chars().take(ID_HASH_CHARS).collect();
    format!("al-{now_ms:012x}{hash}")
}
