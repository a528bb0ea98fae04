//! What an alert says in a sentence.
//!
//! Plain ASCII and short, so that it fits into a text message and the subject of a mail. It names no device:
//! messages go to others. Not here: the examples, which operators see.

use super::{Alert, Kind, State};

/// Longest summary in characters: one text message (3GPP TS 23.038).
const SUMMARY_CHARS_MAX: usize = 160;

/// Says what is the matter.
pub(super) fn of(alert: &Alert) -> String {
    // When it is over, what it was at most.
    let n = if matches!(alert.state, State::Resolved { .. }) { alert.peak } else { alert.value };
    let what = match alert.rule.kind {
        Kind::CertificateExpiring if alert.subject.starts_with("product/") => {
            format!("the certificates of {n} devices end, and they did not renew them")
        }
        Kind::CertificateExpiring => "it ends soon, or has ended".to_owned(),
        Kind::ClockSkew => format!("{n} messages were sent at another time than now"),
        Kind::DeviceLost => format!("{n} devices are not heard of any more"),
        Kind::RefusedConnections => format!("{n} connections and requests were refused"),
        Kind::RolloutHalted => "the rollout stopped itself".to_owned(),
        Kind::ServerClock => format!("the clock of the server is {n} s off"),
        Kind::SignatureFailures => format!("{n} messages are not from whom they say"),
        Kind::TokenMisused => format!("{n} spent enrolment tokens came with another key"),
        Kind::UpdateFailed => format!("an update failed on {n} devices"),
    };
    let text = format!("{} {}: {what}", alert.severity, alert.subject);
    text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).take(SUMMARY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Rule;

    #[test]
    fn a_summary_is_one_line_of_a_text_message_whatever_it_is_about() {
        let subjects =
            ["product/th1", "listener/mqtt", &"\u{e4}\r\n".repeat(300), &"x".repeat(300)];
        for (kind, subject) in
            Kind::ALL.iter().flat_map(|kind| subjects.map(|subject| (*kind, subject)))
        {
            let mut alert = Alert::quiet(&Rule::usual(kind), subject, 1);
            alert.value = u64::MAX;
            let text = alert.summary();
            assert!(text.len() <= SUMMARY_CHARS_MAX, "{text}");
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        }
    }
}
