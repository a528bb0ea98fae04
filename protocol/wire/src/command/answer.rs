//! What a device says of a command that was kept for it: the payload of an
//! [envelope](crate::envelope) on its topic `response`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::json::Object;

/// Longest detail of an answer, in bytes: what a small device has of a log. With every byte escaped it
/// still fits into an envelope only if most need not be, so whoever makes one also keeps to that.
pub const ANSWER_DETAIL_BYTES_MAX: usize = 2 * 1024;

/// What became of a command on the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was tried, and did not work out.
    Failed,
    /// It was begun, and the device restarted: nobody knows how far it came. It is not begun again.
    Interrupted,
    /// The device does not know it.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Interrupted, Self::Unknown];

    /// Returns the word used in messages, tables and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(UnknownOutcome)
    }
}

crate::id::serde_as_text!(Outcome);

/// The text is no outcome of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownOutcome;

impl fmt::Display for UnknownOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an outcome of a command")
    }
}

impl core::error::Error for UnknownOutcome {}

/// What a device says of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(deny_unknown_fields))]
pub struct Answer {
    /// The number of the command.
    #[cfg_attr(feature = "serde", serde(rename = "command"))]
    pub number: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What else there is to say, such as lines of a log; may be empty.
    #[cfg_attr(feature = "serde", serde(default))]
    pub detail: String,
}

impl Answer {
    /// Encodes the answer as compact JSON. A detail that is too long is cut, at the beginning: the end of
    /// a log is what counts.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let object = Object::new(&mut out).number("command", self.number);
        let object = object.text("outcome", self.outcome);
        match last_bytes(&self.detail) {
            "" => object,
            detail => object.text("detail", detail),
        }
        .end();
        out
    }

    /// Decodes an answer.
    ///
    /// # Errors
    ///
    /// [`crate::Malformed`] names what is wrong.
    #[cfg(feature = "serde")]
    pub fn decode(json: &str) -> Result<Self, crate::Malformed> {
        let answer: Self = crate::named::from_str(json)?;
        if answer.detail.len() > ANSWER_DETAIL_BYTES_MAX {
            return Err(crate::Malformed::new("`detail` is longer than 2 KiB"));
        }
        Ok(answer)
    }
}

fn last_bytes(text: &str) -> &str {
    let from = text.len().saturating_sub(ANSWER_DETAIL_BYTES_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_of_answers() {
        let answer = Answer { number: 7, outcome: Outcome::Done, detail: String::new() };
        assert_eq!(answer.encode(), r#"{"command":7,"outcome":"done"}"#);
        let answer = Answer { detail: "a \"b\"\n".to_owned(), ..answer };
        assert_eq!(answer.encode(), r#"{"command":7,"outcome":"done","detail":"a \"b\"\u000a"}"#);
    }

    #[test]
    fn what_a_device_encodes_a_server_decodes() {
        for outcome in Outcome::ALL {
            for detail in ["", "open", "ä\u{1}\\"] {
                let answer = Answer { number: u64::MAX, outcome, detail: detail.to_owned() };
                assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
            }
        }
    }

    #[test]
    fn of_a_long_detail_the_end_is_said() {
        let detail = "ä".repeat(ANSWER_DETAIL_BYTES_MAX) + "x";
        let answer = Answer { number: 1, outcome: Outcome::Done, detail };
        let said = Answer::decode(&answer.encode()).unwrap().detail;
        assert_eq!(said, "ä".repeat(ANSWER_DETAIL_BYTES_MAX / 2 - 1) + "x");
    }

    #[test]
    fn what_is_no_answer_is_named() {
        for (json, named) in [
            (r#"{"outcome":"done"}"#, "command"),
            (r#"{"command":-1,"outcome":"done"}"#, "-1"),
            (r#"{"command":1,"outcome":"well"}"#, "outcome of a command"),
            (r#"{"command":1,"outcome":"done","more":1}"#, "more"),
        ] {
            let error = Answer::decode(json).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let long = format!(r#"{{"command":1,"outcome":"done","detail":"{}"}}"#, "x".repeat(2049));
        assert!(Answer::decode(&long).is_err());
    }
}
