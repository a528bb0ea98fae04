//! Letters: what e-mail says of an alert.
//!
//! Not here: how it is written down for the wire (`crate::mail`), and when it is sent, which is as with
//! webhooks ([`super::webhook::delivery`]).

use waxwing_tuf::Time;

use super::alert::Alert;
use super::alert::board::{Step, Told};
use super::audit::Entry;

/// Something to be read by people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// Its identifier: that of the message to webhooks about the same.
    pub id: String,
    /// When it was written, in Unix milliseconds.
    pub at: u64,
    /// One line.
    pub subject: String,
    /// Some lines.
    pub body: String,
}

impl Letter {
    /// Describes what is told of an alert under an identifier, if anything is. Examples may be devices, and
    /// so they are not in it.
    pub fn of_alert(id: &str, step: &Step) -> Option<Self> {
        let alert = &step.alert;
        let word = match step.told? {
            Told::Fired => "firing",
            Told::Resolved => "resolved",
        };
        let summary = alert.summary();
        let subject = format!("[waxwing] {word}: {summary}");
        let body = body(alert, &summary);
        Some(Self { id: id.to_owned(), at: alert.written_at, subject, body })
    }

    /// Makes a letter with which somebody tries whether mail comes.
    pub fn test(entry: &Entry) -> Self {
        let at = entry.at;
        let body = format!("{} tries whether mail about alerts comes.\n", entry.actor);
        let (id, subject) = (format!("msg_{at:012x}test"), "[waxwing] a test".to_owned());
        Self { id, at, subject, body }
    }
}

fn body(alert: &Alert, summary: &str) -> String {
    let Alert { id, rule, subject, severity, state, value, peak, .. } = alert;
    let began_at = Time::from_millis(alert.began_at);
    format!(
        "{summary}\n\nalert     {id}\nrule      {rule}\nsubject   {subject}\nseverity  {severity}\n\
         state     {}\nnumber    {value}, at most {peak}\nbegan at  {began_at}\n\n\
         Examples, and who is silent about it: waxwing alert show {id}\n",
        state.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::board::{self, Looked, Moment};
    use crate::domain::alert::{Finding, Kind, Rule};

    fn step() -> Step {
        let rule = Rule::usual(Kind::DeviceLost);
        let subject = "product/th1".to_owned();
        let finding = Finding { subject, value: 3, examples: vec!["th1-0001".to_owned()] };
        let looked = Looked { rule: &rule, findings: vec![finding] };
        let mut steps = board::next(&[], vec![looked], Moment { silences: &[], now_ms: 1 });
        steps.pop().unwrap()
    }

    #[test]
    fn a_letter_says_what_is_the_matter_and_names_no_device() {
        let letter = Letter::of_alert("msg_1", &step()).unwrap();
        let subject = "[waxwing] firing: warning product/th1: 3 devices are not heard of any more";
        assert_eq!(letter.subject, subject);
        assert!(letter.body.contains("number    3, at most 3\n"), "{}", letter.body);
        assert!(!letter.body.contains("th1-0001"), "{}", letter.body);
    }

    #[test]
    fn what_is_not_told_is_no_letter() {
        assert_eq!(Letter::of_alert("msg_1", &Step { told: None, ..step() }), None);
    }
}
