//! A query in the one spelling in which it is kept and shown.

use std::fmt::{self, Display, Formatter};

use super::scanner::is_bare;
use super::{Comparison, Field, Node, Query, Term, Test, Value};

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => separated(f, parts, ";", |f, part| match part {
                Self::Any(_) => write!(f, "({part})"),
                Self::All(_) | Self::Term(_) => part.fmt(f),
            }),
            Self::Any(parts) => separated(f, parts, ",", |f, part| part.fmt(f)),
            Self::Term(term) => term.fmt(f),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.field().fmt(f)?;
        match self.test() {
            Test::Among { values, negated } => match (values.as_slice(), negated) {
                ([value], false) => write!(f, "=={value}"),
                ([value], true) => write!(f, "!={value}"),
                (values, negated) => {
                    f.write_str(if *negated { "=out=(" } else { "=in=(" })?;
                    separated(f, values, ",", |f, value| value.fmt(f))?;
                    f.write_str(")")
                }
            },
            Test::Compares(comparison, value) => write!(f, "{}{value}", comparison.as_str()),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Attribute(key) | Self::TagValue(key) => write!(f, ".{key}"),
            Self::CreatedAt
            | Self::Device
            | Self::Product
            | Self::Status
            | Self::Tag
            | Self::Version => Ok(()),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(number.as_str()),
            Self::Pattern(pattern) => text(f, pattern.parts()),
            Self::Time(millis) => write!(f, "{millis}"),
            Self::Version(version) => write!(f, "{version}"),
        }
    }
}

impl Comparison {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "=lt=",
            Self::LessOrEqual => "=le=",
            Self::Greater => "=gt=",
            Self::GreaterOrEqual => "=ge=",
        }
    }
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(n, item)| {
        f.write_str(if n > 0 { separator } else { "" })?;
        write(f, item)
    })
}

/// Writes what stands around wildcards, in quotation marks if it needs any.
fn text(f: &mut Formatter<'_>, parts: &[String]) -> fmt::Result {
    let is_empty = parts.len() == 1 && parts.iter().all(String::is_empty);
    let is_bare = !is_empty && parts.iter().flat_map(|part| part.chars()).all(is_bare);
    let quote = if is_bare { "" } else { "\"" };
    f.write_str(quote)?;
    separated(f, parts, "*", |f, part| {
        part.chars().try_for_each(|c| match c {
            '"' | '\\' | '*' => write!(f, "\\{c}"),
            c => write!(f, "{c}"),
        })
    })?;
    f.write_str(quote)
}
