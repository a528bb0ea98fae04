//! Lists in JSON, read no further than a limit: what is too much is never kept.
//!
//! Not here: what is in them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// Reads a list of at most `MAX` items.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sequence of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            push::<_, A::Error, MAX>(&mut list, item)?;
        }
        Ok(list)
    }
}

/// Adds an item to a list that has room for `MAX`.
pub(super) fn push<T, E, const MAX: usize>(list: &mut Vec<T>, item: T) -> Result<(), E>
where
    E: serde::de::Error,
{
    if list.len() >= MAX {
        return Err(E::custom(format_args!("there are more than {MAX}")));
    }
    list.push(item);
    Ok(())
}
