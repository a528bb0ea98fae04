//! The devices by their values of one field, whatever the case of the values.
//!
//! Many devices share most values; serial numbers and the like belong to one device each. Of those only
//! the number of the device is kept, and the value is read where the device lies.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

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
    alone: HashTable<u32>,
}

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
        let Self { hasher, shared, alone } = self;
        let hash = hash(hasher, value);
        if let Ok(other) = alone.find_entry(hash, |other| texts.is(*other, value)) {
            let (other, _) = other.remove();
            shared.insert(lower.into(), [other, number].into_iter().collect());
        } else {
            let hash_of = |other: &u32| texts.with(*other, |text| self::hash(hasher, text));
            alone.insert_unique(hash, number, |other| hash_of(other).unwrap_or(0));
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
        let hash = hash(&self.hasher, value);
        if let Ok(alone) = self.alone.find_entry(hash, |other| *other == number) {
            alone.remove();
        }
    }

    /// Returns all devices.
    pub(super) fn all(&self) -> RoaringBitmap {
        let alone = self.alone.iter().copied().collect();
        self.shared.values().fold(alone, |all, numbers| all | numbers)
    }

    /// Returns the devices of one value.
    pub(super) fn of(&self, value: &str, texts: Texts<'_>) -> RoaringBitmap {
        if let Some(numbers) = self.shared.get(value.to_ascii_lowercase().as_str()) {
            return numbers.clone();
        }
        let alone = self.alone.find(hash(&self.hasher, value), |it| texts.is(*it, value));
        alone.into_iter().copied().collect()
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
        let alone = self.alone.iter().copied().filter(|it| within.contains(*it));
        let alone = alone.filter(|it| texts.with(*it, is_accepted) == Some(true)).collect();
        shared.fold(alone, |found, (_, numbers)| found | numbers)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shared.len() + self.alone.len()
    }
}

/// Returns the hash of a value, whatever its case.
fn hash(hasher: &RandomState, value: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    value.bytes().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
    hasher.finish()
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
