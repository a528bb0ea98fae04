//! A query over devices, in RSQL as users of hawkBit write it: which devices belong to a group.
//!
//! ```text
//! query      = all { ( "," | "or" ) all }
//! all        = part { ( ";" | "and" ) part }
//! part       = "(" query ")" | field comparison
//! comparison = ( "==" | "!=" | "<" | "=lt=" | "<=" | "=le=" | ">" | "=gt=" | ">=" | "=ge=" ) value
//!            | ( "=in=" | "=out=" ) ( "(" value { "," value } ")" | value )
//! ```
//!
//! Text is compared without regard to the case of ASCII letters, as hawkBit does, versions as semver
//! says. `!=` and `=out=` are true of every device of which `==` and `=in=` are not, also of one that
//! has no such thing at all. Pure: parsed once, printed in one spelling, asked of one device at a time.
//! Not here: how a whole fleet is searched, and whose fields these are.

mod field;
mod parser;
mod print;
mod refused;
mod scanner;
mod value;

use semver::Version;

pub use self::field::Field;
pub use self::refused::{Cause, Refused};
pub use self::value::{Number, Pattern, Value};

/// Longest query in bytes: a screen full. Longer ones are lists of devices, for which there are tags.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses: people lose count earlier, and the parser calls itself.
pub const DEPTH_MAX: usize = 16;
/// Most comparisons: each one is asked of a device that polls.
pub const TERMS_MAX: usize = 64;
/// Most values of all comparisons together, for the same reason.
pub const VALUES_MAX: usize = 512;
/// Longest key of a tag or an attribute in bytes.
pub const KEY_BYTES_MAX: usize = 64;

/// A query that was understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    root: Node,
}

/// A part of a query. Parts of one kind are never nested directly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Node {
    /// All of these, two at least.
    All(Vec<Self>),
    /// One of these, two at least.
    Any(Vec<Self>),
    /// One comparison.
    Term(Term),
}

/// One comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Term {
    field: Field,
    test: Test,
}

/// What is asked of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Test {
    /// It is one of these; negated: it is none of them. `==`, `=in=`, `!=`, `=out=`.
    Among {
        /// The values.
        values: Vec<Value>,
        /// Whether it is none of them.
        negated: bool,
    },
    /// It comes before or after this one.
    Compares(Comparison, Value),
}

/// How a field compares with a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a device has in a field.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// Some text.
    Text(&'a str),
    /// A time in Unix milliseconds.
    Time(u64),
    /// A version.
    Version(&'a Version),
}

/// What is known of one device.
pub trait Facts {
    /// Returns its name.
    fn id(&self) -> &str;

    /// Returns what it is.
    fn product(&self) -> &str;

    /// Returns what the device has in a field, if it has anything there. Of [`Field::Tag`], of which
    /// it may have many, nothing.
    fn fact(&self, field: &Field) -> Option<Subject<'_>>;

    /// Returns all its tags, with what they say.
    fn tags(&self) -> impl Iterator<Item = (&str, &str)>;
}

impl Query {
    /// Understands a query.
    ///
    /// # Errors
    ///
    /// [`Refused`] says where and why not.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let query = parser::parse(text).map(|root| Self { root })?;
        // It is kept as it is printed, and must be understood again when the server starts.
        if query.to_string().len() > QUERY_BYTES_MAX {
            return Err(Refused { at: text.chars().count(), cause: Cause::TooLongAsKept });
        }
        Ok(query)
    }

    /// Tells whether a device is among those that are asked for.
    pub fn matches(&self, device: &impl Facts) -> bool {
        self.root.matches(device)
    }

    /// Returns the whole of it.
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// Returns its comparisons, from left to right.
    pub fn terms(&self) -> Vec<&Term> {
        let mut terms = Vec::new();
        self.root.collect(&mut terms);
        terms
    }

    /// Tells whether it asks for one of these fields.
    pub fn asks_for(&self, is_changed: impl Fn(&Field) -> bool) -> bool {
        self.terms().iter().any(|term| is_changed(&term.field))
    }
}

impl std::str::FromStr for Query {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        Self::parse(text)
    }
}

impl Node {
    fn matches(&self, device: &impl Facts) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(device)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(device)),
            Self::Term(term) => term.matches(device),
        }
    }

    fn collect<'a>(&'a self, terms: &mut Vec<&'a Term>) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.collect(terms);
                }
            }
            Self::Term(term) => terms.push(term),
        }
    }
}

impl Term {
    /// Returns which field is asked for.
    pub const fn field(&self) -> &Field {
        &self.field
    }

    /// Returns what is asked.
    pub const fn test(&self) -> &Test {
        &self.test
    }

    /// Tells whether it is true of those devices that have nothing [`Term::accepts`] would take.
    pub const fn is_negated(&self) -> bool {
        matches!(self.test, Test::Among { negated: true, .. })
    }

    /// Tells whether something in the field is what the comparison speaks of, negated or not.
    pub fn accepts(&self, subject: Subject<'_>) -> bool {
        match &self.test {
            Test::Among { values, .. } => values.iter().any(|value| value.equals(subject)),
            Test::Compares(comparison, value) => {
                value.order_of(subject).is_some_and(|order| comparison.holds(order))
            }
        }
    }

    fn matches(&self, device: &impl Facts) -> bool {
        let found = if self.field == Field::Tag {
            device.tags().any(|(key, _)| self.accepts(Subject::Text(key)))
        } else {
            device.fact(&self.field).is_some_and(|subject| self.accepts(subject))
        };
        found != self.is_negated()
    }
}

impl Comparison {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Tells whether text may be the key of a tag or an attribute: something that a query can ask for.
pub fn is_key(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:@+".contains(&b);
    (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
