//! What an alert says in a sentence.
//!
//! Plain ASCII and short, so that it fits into a text message and the subject of a mail. It names no device:
//! messages go to others. Not here: the examples, which operators see.

use super::{Alert, Kind};

/// Longest summary in characters: one text message (3GPP TS 23.038).
const SUMMARY_CHARS_MAX: usize = 160;

/// Says what is the matter.
pub(super) fn of(alert: &Alert) -> String {
    let what = match alert.rule.kind {
        Kind::RolloutHalted => "the rollout stopped itself".to_owned(),
    };
    let text = format!("{} {}: {what}", alert.severity, alert.subject);
    text.chars().filter(char::is_ascii).take(SUMMARY_CHARS_MAX).collect()
}
