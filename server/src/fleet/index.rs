//! The index over the fleet: for each value of each field the devices that have it.
//!
//! Devices are numbered in the order in which they came; sets of them are compressed bitmaps. A device
//! that changes moves in the sets of those values that changed and in no others. A query becomes a few
//! unions and intersections; only names and times of registration are looked at device by device, and
//! only of those that everything else left over. Not here: who asks, and whether it is one product.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use semver::Version;
use waxwing_wire::DeviceId;

use crate::domain::device::Status;
use crate::domain::group::Members;
use crate::domain::query::{Facts as _, Field, Node, Query, Subject, Term, Test, Value};
use crate::domain::{Device, Group};

/// The devices by their values.
#[derive(Debug, Default)]
pub struct Index {
    devices: Vec<Arc<Device>>,
    attributes: BTreeMap<Arc<str>, Values>,
    products: Values,
    statuses: Values,
    tags: BTreeMap<Arc<str>, Values>,
    versions: BTreeMap<Arc<Version>, RoaringBitmap>,
}

/// The devices by their values of one field, in lower case.
#[derive(Debug, Default)]
struct Values(BTreeMap<Box<str>, Numbers>);

/// A set of devices: mostly of one, where each device has a value of its own.
#[derive(Debug)]
enum Numbers {
    One(u32),
    Many(RoaringBitmap),
}

impl Index {
    /// Adds a device, or brings the one with this number up to date. Returns its number.
    ///
    /// # Panics
    ///
    /// With more than four thousand million devices.
    pub fn put(&mut self, number: Option<u32>, device: &Arc<Device>) -> u32 {
        let place = number.and_then(|number| usize::try_from(number).ok());
        let slot = place.and_then(|place| self.devices.get_mut(place));
        let old = slot.map(|slot| std::mem::replace(slot, Arc::clone(device)));
        let number = number.unwrap_or_else(|| {
            self.devices.push(Arc::clone(device));
            u32::try_from(self.devices.len() - 1).expect("a fleet fits into memory")
        });
        let old = old.as_deref();
        self.put_words(number, old, device);
        self.put_version(number, old, device);
        let before = old.map(|old| label(&old.tags)).unwrap_or_default();
        relabel(&mut self.tags, number, &before, &label(&device.tags));
        let before = old.map(|old| old.attributes.iter().collect()).unwrap_or_default();
        relabel(&mut self.attributes, number, &before, &device.attributes.iter().collect());
        number
    }

    fn put_words(&mut self, number: u32, old: Option<&Device>, new: &Device) {
        if old.is_none() {
            self.products.insert(new.product.as_str(), number);
        }
        if old.is_none_or(|old| old.status != new.status) {
            if let Some(old) = old {
                self.statuses.remove(old.status.as_str(), number);
            }
            self.statuses.insert(new.status.as_str(), number);
        }
    }

    fn put_version(&mut self, number: u32, old: Option<&Device>, new: &Device) {
        let before = old.and_then(|old| old.version.as_ref());
        if before == new.version.as_ref() {
            return;
        }
        if let Some(version) = before
            && let Some(numbers) = self.versions.get_mut(version)
        {
            numbers.remove(number);
            if numbers.is_empty() {
                self.versions.remove(version);
            }
        }
        if let Some(version) = &new.version {
            self.versions.entry(Arc::clone(version)).or_default().insert(number);
        }
    }

    /// Returns the one copy of a version that all devices share.
    pub fn shared(&self, version: Arc<Version>) -> Arc<Version> {
        self.versions.get_key_value(&version).map_or(version, |(shared, _)| Arc::clone(shared))
    }

    /// Returns the devices of a set from a number on, in the order in which they came.
    pub fn devices<'a>(
        &'a self,
        numbers: &'a RoaringBitmap,
        from: u32,
    ) -> impl Iterator<Item = (u32, &'a Arc<Device>)> {
        numbers.range(from..).filter_map(|number| Some((number, self.device(number)?)))
    }

    /// Returns the device with a number.
    pub fn device(&self, number: u32) -> Option<&Arc<Device>> {
        self.devices.get(usize::try_from(number).ok()?)
    }

    /// Returns all devices that a query asks for.
    pub fn search(&self, query: &Query) -> RoaringBitmap {
        self.search_within(query, &self.all())
    }

    /// Returns all devices.
    pub fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..u32::try_from(self.devices.len()).unwrap_or(u32::MAX));
        all
    }

    /// Returns the devices that a query asks for, among these.
    pub fn search_within(&self, query: &Query, within: &RoaringBitmap) -> RoaringBitmap {
        self.node(query.root(), within)
    }

    /// Returns the devices of which a comparison is true, among these.
    pub fn term(&self, term: &Term, within: &RoaringBitmap) -> RoaringBitmap {
        match self.accepted(term) {
            Some(numbers) if term.is_negated() => within - numbers,
            Some(numbers) => within & numbers,
            None => self.scan(term, within),
        }
    }

    /// Returns all devices of a product.
    pub fn of_product(&self, product: &str) -> RoaringBitmap {
        self.products.of(product)
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub fn able(
        &self,
        group: &Group,
        number_of: impl Fn(&DeviceId) -> Option<u32>,
    ) -> RoaringBitmap {
        let within = self.of_product(group.product.as_str());
        let members = match &group.members {
            Members::Devices(devices) => {
                within & devices.iter().filter_map(number_of).collect::<RoaringBitmap>()
            }
            Members::Query(query) => self.search_within(query, &within),
            Members::Tags(tags) => {
                let carrying = tags.iter().fold(within, |within, (key, value)| {
                    within & self.tags.get(key.as_str()).map(|it| it.of(value)).unwrap_or_default()
                });
                // The index knows no case; tags of groups without a query do.
                let is_member =
                    |number: &u32| self.device(*number).is_some_and(|it| group.contains(it));
                if tags.is_empty() { carrying } else { carrying.iter().filter(is_member).collect() }
            }
        };
        members - self.statuses.of(Status::Revoked.as_str())
    }

    fn node(&self, node: &Node, within: &RoaringBitmap) -> RoaringBitmap {
        match node {
            Node::All(parts) => {
                let (cheap, dear): (Vec<_>, Vec<_>) = parts.iter().partition(|it| is_indexed(it));
                let parts = cheap.into_iter().chain(dear);
                parts.fold(within.clone(), |within, part| self.node(part, &within))
            }
            Node::Any(parts) => parts
                .iter()
                .fold(RoaringBitmap::new(), |found, part| found | self.node(part, within)),
            Node::Term(term) => self.term(term, within),
        }
    }

    /// Returns the devices that have something in the field that a comparison accepts; `None` if there
    /// is no list of them.
    fn accepted(&self, term: &Term) -> Option<RoaringBitmap> {
        match term.field() {
            Field::Attribute(key) => Some(accepted_of(&self.attributes, key, term)),
            Field::CreatedAt | Field::Device => None,
            Field::Product => Some(self.products.accepted(term)),
            Field::Status => Some(self.statuses.accepted(term)),
            Field::Tag => {
                let keys = self.tags.iter().filter(|(key, _)| term.accepts(Subject::Text(key)));
                Some(union(keys.flat_map(|(_, values)| values.0.values())))
            }
            Field::TagValue(key) => Some(accepted_of(&self.tags, key, term)),
            Field::Version => {
                let versions =
                    self.versions.iter().filter(|(it, _)| term.accepts(Subject::Version(it)));
                Some(versions.fold(RoaringBitmap::new(), |found, (_, numbers)| found | numbers))
            }
        }
    }

    /// Looks at device after device.
    fn scan(&self, term: &Term, within: &RoaringBitmap) -> RoaringBitmap {
        let is_found = |device: &Device| {
            let accepted = device.fact(term.field()).is_some_and(|subject| term.accepts(subject));
            accepted != term.is_negated()
        };
        let numbers = within.iter().filter(|n| self.device(*n).is_some_and(|it| is_found(it)));
        RoaringBitmap::from_sorted_iter(numbers).expect("a bitmap is in order")
    }
}

impl Values {
    fn insert(&mut self, value: &str, number: u32) {
        let value = value.to_ascii_lowercase().into_boxed_str();
        match self.0.get_mut(&value) {
            Some(numbers) => numbers.insert(number),
            None => drop(self.0.insert(value, Numbers::One(number))),
        }
    }

    fn remove(&mut self, value: &str, number: u32) {
        let value = value.to_ascii_lowercase();
        let is_empty = match self.0.get_mut(value.as_str()) {
            Some(Numbers::Many(numbers)) => {
                numbers.remove(number);
                numbers.is_empty()
            }
            Some(Numbers::One(only)) => *only == number,
            None => false,
        };
        if is_empty {
            self.0.remove(value.as_str());
        }
    }

    /// Returns the devices of one value, whatever its case.
    fn of(&self, value: &str) -> RoaringBitmap {
        union(self.0.get(value.to_ascii_lowercase().as_str()).into_iter())
    }

    fn accepted(&self, term: &Term) -> RoaringBitmap {
        if let Some(values) = exact(term) {
            let values = values.iter().map(|value| value.to_ascii_lowercase());
            return union(values.filter_map(|value| self.0.get(value.as_str())));
        }
        let found = self.0.iter().filter(|(value, _)| term.accepts(Subject::Text(value)));
        union(found.map(|(_, numbers)| numbers))
    }
}

impl Numbers {
    fn insert(&mut self, number: u32) {
        match self {
            Self::Many(numbers) => drop(numbers.insert(number)),
            Self::One(other) => *self = Self::Many([*other, number].into_iter().collect()),
        }
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

fn union<'a>(sets: impl Iterator<Item = &'a Numbers>) -> RoaringBitmap {
    let mut found = RoaringBitmap::new();
    for numbers in sets {
        match numbers {
            Numbers::Many(numbers) => found |= numbers,
            Numbers::One(number) => drop(found.insert(*number)),
        }
    }
    found
}

fn accepted_of(fields: &BTreeMap<Arc<str>, Values>, key: &str, term: &Term) -> RoaringBitmap {
    fields.get(key).map(|values| values.accepted(term)).unwrap_or_default()
}

fn label(labels: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Moves a device from its old labels to its new ones.
fn relabel(
    fields: &mut BTreeMap<Arc<str>, Values>,
    number: u32,
    old: &BTreeMap<&str, &str>,
    new: &BTreeMap<&str, &str>,
) {
    for (key, value) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
        let Some(values) = fields.get_mut(*key) else { continue };
        values.remove(value, number);
        if values.0.is_empty() {
            fields.remove(*key);
        }
    }
    for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(value)) {
        if !fields.contains_key(*key) {
            fields.insert(Arc::from(*key), Values::default());
        }
        if let Some(values) = fields.get_mut(*key) {
            values.insert(value, number);
        }
    }
}

/// Tells whether a part of a query is answered without looking at devices.
fn is_indexed(node: &Node) -> bool {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().all(is_indexed),
        Node::Term(term) => !matches!(term.field(), Field::CreatedAt | Field::Device),
    }
}

#[cfg(test)]
mod tests;
