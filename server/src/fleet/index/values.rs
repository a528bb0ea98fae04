//! The devices by their values of one field, whatever the case of the values.
//!
//! Many devices share most values; serial numbers and the like belong to one device each. Of those only
//! the number of the device and a hash are kept, and the value is read where the device lies.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::domain::query::{Facts as _, Field, Subject, Term, Test, Value};
use crate::fleet::members::{Members, Place};

/// The devices by their values of one field.
#[derive(Debug, Default)]
pub(super) struct Values {
    hasher: RandomState,
    /// Of values that several devices have or had, in lower case.
    shared: BTreeMap<Box<str>, RoaringBitmap>,
    /// Devices that are alone with their value, by its hash.
    alone: HashTable<Alone>,
}

/// A device that is alone with its value. With the hash beside it the table grows without a look at any
/// device: for a million of them, half a second in which no change could be made.
#[derive(Clone, Copy, Debug)]
struct Alone {
    hash: Hash,
    number: u32,
}

/// Half of the hash of a value: enough to tell those of a fleet apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Hash(u32);

/// What devices have in one field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    pub(super) field: &'a Field,
    pub(super) places: &'a [Place],
    pub(super) members: &'a Members,
}

impl Texts<'_> {
    fn with<T>(self, number: u32, look: impl FnOnce(&str) -> T) -> Option<T> {
        let place = self.places.get(usize::try_from(number).ok()?)?;
        self.members.at(*place, |member| match member.fact(self.field)? {
            Subject::Text(text) => Some(look(text)),
            Subject::Time(_) | Subject::Version(_) => None,
        })?
    }

    fn is(self, number: u32, value: &str) -> bool {
        self.with(number, |text| text.eq_ignore_ascii_case(value)) == Some(true)
    }
}

impl Values {
    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.alone.is_empty()
    }

    /// Adds a device that has had no value yet.
    pub(super) fn insert(&mut self, value: &str, number: u32, texts: Texts<'_>) {
        let lower = value.to_ascii_lowercase();
        if let Some(numbers) = self.shared.get_mut(lower.as_str()) {
            numbers.insert(number);
            return;
        }
        let hash = Hash::of(&lower, &self.hasher);
        let is_value = |it: &Alone| it.hash == hash && texts.is(it.number, value);
        if let Ok(other) = self.alone.find_entry(hash.wide(), is_value) {
            let (other, _) = other.remove();
            self.shared.insert(lower.into(), [other.number, number].into_iter().collect());
        } else {
            self.alone.insert_unique(hash.wide(), Alone { hash, number }, |it| it.hash.wide());
        }
    }

    pub(super) fn remove(&mut self, value: &str, number: u32) {
        let lower = value.to_ascii_lowercase();
        if let Some(numbers) = self.shared.get_mut(lower.as_str()) {
            numbers.remove(number);
            if numbers.is_empty() {
                self.shared.remove(lower.as_str());
            }
            return;
        }
        let hash = Hash::of(&lower, &self.hasher);
        if let Ok(alone) = self.alone.find_entry(hash.wide(), |it| it.number == number) {
            alone.remove();
        }
    }

    /// Returns all devices.
    pub(super) fn all(&self) -> RoaringBitmap {
        let alone = self.alone.iter().map(|it| it.number).collect();
        self.shared.values().fold(alone, |all, numbers| all | numbers)
    }

    /// Returns the devices of one value.
    pub(super) fn of(&self, value: &str, texts: Texts<'_>) -> RoaringBitmap {
        let lower = value.to_ascii_lowercase();
        if let Some(numbers) = self.shared.get(lower.as_str()) {
            return numbers.clone();
        }
        let hash = Hash::of(&lower, &self.hasher);
        let is_value = |it: &Alone| it.hash == hash && texts.is(it.number, value);
        self.alone.find(hash.wide(), is_value).into_iter().map(|it| it.number).collect()
    }

    /// Returns the devices whose value a comparison accepts, among these at least.
    pub(super) fn accepted(
        &self,
        term: &Term,
        within: &RoaringBitmap,
        texts: Texts<'_>,
    ) -> RoaringBitmap {
        if let Some(values) = exact(term) {
            let found = values.into_iter().map(|value| self.of(value, texts));
            return found.fold(RoaringBitmap::new(), |found, numbers| found | numbers);
        }
        let is_accepted = |text: &str| term.accepts(Subject::Text(text));
        let shared = self.shared.iter().filter(|(value, _)| is_accepted(value));
        let alone = self.alone.iter().map(|it| it.number).filter(|it| within.contains(*it));
        let alone = alone.filter(|it| texts.with(*it, is_accepted) == Some(true)).collect();
        shared.fold(alone, |found, (_, numbers)| found | numbers)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shared.len() + self.alone.len()
    }
}

impl Hash {
    /// Returns the hash of a value in lower case.
    fn of(lower: &str, hasher: &RandomState) -> Self {
        let [a, b, c, d, ..] = hasher.hash_one(lower).to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }

    /// Returns it as wide as a table wants it: it looks at both ends.
    fn wide(self) -> u64 {
        let Self(half) = self;
        u64::from(half) << 32 | u64::from(half)
    }
}

/// Returns the values that a comparison names without wildcards, if it does so and nothing else.
fn exact(term: &Term) -> Option<Vec<&str>> {
    let Test::Among { values, .. } = term.test() else { return None };
    let texts = values.iter().map(|value| match value {
        Value::Pattern(pattern) => pattern.exact(),
        Value::Number(_) | Value::Time(_) | Value::Version(_) => None,
    });
    texts.collect()
}
