//! The values that a query compares with.

use std::cmp::Ordering;

use semver::Version;
use waxwing_tuf::Time;

use super::scanner::Char;
use super::{Cause, Field, Subject};

/// Most digits of a number: so many of them a floating-point number holds exactly.
const DIGITS_MAX: usize = 15;

/// What something is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A decimal number, to be before or after.
    Number(Number),
    /// Text with wildcards, or without.
    Pattern(Pattern),
    /// A time in Unix milliseconds.
    Time(u64),
    /// A version.
    Version(Version),
}

/// A decimal number, as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Number(String);

/// Text with wildcards, or without: what stands before, between and after them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    parts: Vec<String>,
}

impl Value {
    /// Understands what something may be equal to.
    pub(super) fn to_match(field: &Field, chars: Vec<Char>) -> Result<Self, Cause> {
        let has_wildcard = chars.contains(&Char::Wildcard);
        match field {
            Field::CreatedAt if has_wildcard => Err(Cause::Wildcard),
            Field::CreatedAt => time(plain(&chars)),
            Field::Version if !has_wildcard => version(plain(&chars)),
            Field::Attribute(_)
            | Field::Device
            | Field::Product
            | Field::Status
            | Field::Tag
            | Field::TagValue(_)
            | Field::Version => Ok(Self::Pattern(Pattern::new(chars))),
        }
    }

    /// Understands what something may come before or after. What is written says what it is: a number,
    /// a version, or else text.
    pub(super) fn to_order(field: &Field, chars: Vec<Char>) -> Result<Self, Cause> {
        if chars.contains(&Char::Wildcard) {
            return Err(Cause::Wildcard);
        }
        let text = plain(&chars);
        match field {
            Field::CreatedAt => time(text),
            Field::Version => version(text),
            Field::Attribute(_)
            | Field::Device
            | Field::Product
            | Field::Status
            | Field::Tag
            | Field::TagValue(_) => Ok(Number::parse(&text)
                .map(Self::Number)
                .or_else(|| Version::parse(&text).ok().map(Self::Version))
                .unwrap_or_else(|| Self::Pattern(Pattern::new(chars)))),
        }
    }

    /// Tells whether something is this.
    pub(super) fn equals(&self, subject: Subject<'_>) -> bool {
        match (self, subject) {
            (Self::Pattern(pattern), Subject::Text(text)) => pattern.matches(text),
            (Self::Pattern(pattern), Subject::Version(version)) => {
                pattern.matches(&version.to_string())
            }
            (Self::Number(_) | Self::Pattern(_) | Self::Time(_) | Self::Version(_), subject) => {
                self.order_of(subject) == Some(Ordering::Equal)
            }
        }
    }

    /// Returns how something compares with this; `None` if it is nothing of the kind.
    pub(super) fn order_of(&self, subject: Subject<'_>) -> Option<Ordering> {
        match (self, subject) {
            (Self::Number(number), Subject::Text(text)) => {
                number.value().partial_cmp(&Number::parse(text)?.value()).map(Ordering::reverse)
            }
            (Self::Version(version), Subject::Text(text)) => {
                Some(Version::parse(text).ok()?.cmp_precedence(version))
            }
            (Self::Version(version), Subject::Version(other)) => {
                Some(other.cmp_precedence(version))
            }
            (Self::Pattern(pattern), Subject::Text(text)) => Some(pattern.order_of(text)),
            (Self::Time(time), Subject::Time(other)) => Some(other.cmp(time)),
            (
                Self::Number(_) | Self::Pattern(_) | Self::Time(_) | Self::Version(_),
                Subject::Text(_) | Subject::Time(_) | Subject::Version(_),
            ) => None,
        }
    }
}

impl Number {
    /// Reads digits, with a sign and a fraction if there are any.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let few = whole.len() + fraction.len() <= DIGITS_MAX;
        (few && are_digits(whole) && are_digits(fraction)).then(|| Self(text.to_owned()))
    }

    fn value(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    fn new(chars: Vec<Char>) -> Self {
        let (mut parts, mut part) = (Vec::new(), String::new());
        for c in chars {
            match c {
                Char::Plain(c) => part.push(c),
                // Two wildcards are one.
                Char::Wildcard if part.is_empty() && !parts.is_empty() => {}
                Char::Wildcard => parts.push(std::mem::take(&mut part)),
            }
        }
        parts.push(part);
        Self { parts }
    }

    /// Returns the only text that it matches, if there are no wildcards.
    pub fn exact(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Returns what stands before, between and after the wildcards.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Tells whether text is what it describes, whatever the case of ASCII letters.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let (Some(first), Some(last)) = (self.parts.first(), self.parts.last()) else {
            return false;
        };
        if self.parts.len() == 1 {
            return text.eq_ignore_ascii_case(first.as_bytes());
        }
        let Some(inner) = strip(text, first.as_bytes(), last.as_bytes()) else { return false };
        let mut rest = inner;
        let between = self.parts.iter().skip(1).take(self.parts.len() - 2);
        between.into_iter().all(|part| match find(rest, part.as_bytes()) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
    }

    /// Returns how text compares with it, whatever the case of ASCII letters; it has no wildcard.
    fn order_of(&self, text: &str) -> Ordering {
        let lower = |text: &str| text.to_ascii_lowercase();
        lower(text).cmp(&lower(self.exact().unwrap_or_default()))
    }
}

/// Returns what is between a beginning and an end.
fn strip<'a>(text: &'a [u8], first: &[u8], last: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(first.len())?;
    let (inner, end) = rest.split_at_checked(rest.len().checked_sub(last.len())?)?;
    (start.eq_ignore_ascii_case(first) && end.eq_ignore_ascii_case(last)).then_some(inner)
}

/// Returns what follows the first place where the part is found.
fn find<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let place = text.windows(part.len().max(1)).position(|it| it.eq_ignore_ascii_case(part))?;
    text.get(place + part.len()..)
}

fn plain(chars: &[Char]) -> String {
    let plain = |c: &Char| match c {
        Char::Plain(c) => *c,
        Char::Wildcard => '*',
    };
    chars.iter().map(plain).collect()
}

fn time(text: String) -> Result<Value, Cause> {
    let millis = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let time = millis.or_else(|| Time::parse(&text).map(Time::as_millis));
    time.map(Value::Time).ok_or(Cause::NotATime(text))
}

fn version(text: String) -> Result<Value, Cause> {
    Version::parse(&text).map(Value::Version).map_err(|_| Cause::NotAVersion(text))
}
