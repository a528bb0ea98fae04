//! Why a query was not understood, and where.

use std::fmt;

use super::field::FIELDS;
use super::{DEPTH_MAX, KEY_BYTES_MAX, QUERY_BYTES_MAX, TERMS_MAX, VALUES_MAX};

/// Most characters of a query that are repeated to whoever wrote it.
const QUOTED_CHARS_MAX: usize = 40;

/// A query that was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at character {}: {cause}", .at + 1)]
pub struct Refused {
    /// How many characters come before the place at fault.
    pub at: usize,
    /// What is wrong there.
    pub cause: Cause,
}

/// What is wrong with a query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Cause {
    /// Nothing was asked.
    #[error("there is no query; `device==*` asks for all devices")]
    Empty,
    /// Something else should stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The field changes by itself while devices poll and update.
    #[error("{} changes with every poll or update, so it cannot say who is in a group", Quoted(.0))]
    Fleeting(String),
    /// A key holds something that keys do not.
    #[error("a key is 1 to {KEY_BYTES_MAX} letters, digits and `._-:@+`")]
    InvalidKey,
    /// A field of many was named without saying which.
    #[error("the key is missing, as in `attribute.region`")]
    KeyMissing,
    /// The value is no time.
    #[error("{} is no time; write 2026-11-21T00:00:00Z, or milliseconds since 1970", Quoted(.0))]
    NotATime(String),
    /// The value is no version.
    #[error("{} is no version; write all of it, as in 1.4.0, or use == with a wildcard", Quoted(.0))]
    NotAVersion(String),
    /// What is in the field has no order.
    #[error("`{0}` has no order; compare it with ==, !=, =in= or =out=")]
    NotOrdered(&'static str),
    /// Several values for a comparison that takes one.
    #[error("only =in= and =out= take a list")]
    OneValue,
    /// Parentheses are nested too deep.
    #[error("parentheses are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// The query is too long.
    #[error("a query has at most {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// The query is too long in the one spelling in which it is kept.
    #[error(
        "as it is kept, with `=lt=` for `<` and a backslash before each quotation mark, the query has \
         more than {QUERY_BYTES_MAX} bytes"
    )]
    TooLongAsKept,
    /// There are too many comparisons.
    #[error("a query has at most {TERMS_MAX} comparisons")]
    TooManyTerms,
    /// There are too many values.
    #[error("a query has at most {VALUES_MAX} values; give those devices a tag")]
    TooManyValues,
    /// The quotation does not end.
    #[error("the quotation does not end")]
    Unclosed,
    /// There is no such field.
    #[error("unknown field {}; there are {FIELDS}", Quoted(.0))]
    UnknownField(String),
    /// There is no such comparison.
    #[error("unknown comparison {}; there are ==, !=, <, =lt=, <=, =le=, >, =gt=, >=, =ge=, =in= and =out=", Quoted(.0))]
    UnknownComparison(String),
    /// A wildcard where only one thing can be meant.
    #[error("a wildcard works with == and != only; a star itself is written \\*")]
    Wildcard,
}

/// Some of the query, in back-ticks, and not too much of it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let shown: String = chars.by_ref().take(QUOTED_CHARS_MAX).collect();
        let rest = if chars.next().is_some() { "…" } else { "" };
        write!(f, "`{}{rest}`", shown.escape_debug())
    }
}
