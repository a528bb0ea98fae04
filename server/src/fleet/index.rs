//! The index over the fleet: for each value of each field the devices that have it.
//!
//! Devices are numbered in the order in which they came; sets of them are compressed bitmaps. A device
//! that changes moves in the sets of those values that changed and in no others. A query becomes a few
//! unions and intersections; only names and times of registration are looked at device by device, and
//! only of those that everything else left over. A value that one device has alone is not written down
//! a second time: it is read from the device. Not here: who asks, and whether it is one product.

mod values;

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use semver::Version;
use waxwing_wire::DeviceId;

use self::values::{Texts, Values};
use super::members::{Members, Place};
use super::packed::Member;
use crate::domain::Group;
use crate::domain::device::Status;
use crate::domain::group::Members as GroupMembers;
use crate::domain::query::{Facts, Field, Node, Query, Subject, Term};

/// The devices by their values.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Where each device lies, by its number.
    places: Vec<Place>,
    /// By product, status, and each tag and attribute there is.
    values: BTreeMap<Field, Values>,
    versions: BTreeMap<Version, RoaringBitmap>,
}

/// The index with the devices that it is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) index: &'a Index,
    pub(super) members: &'a Members,
}

impl Index {
    /// Returns the number of the next device.
    ///
    /// # Panics
    ///
    /// With more than four thousand million devices.
    pub(super) fn next_number(&self) -> u32 {
        u32::try_from(self.places.len()).expect("a fleet fits into memory")
    }

    /// Returns where the device with a number lies.
    pub(super) fn place(&self, number: u32) -> Option<Place> {
        self.places.get(usize::try_from(number).ok()?).copied()
    }

    /// Takes note of a new device with the next number, or of a change of one. `members` have it as it
    /// is now.
    pub(super) fn put(
        &mut self,
        place: Place,
        old: Option<&Member<'_>>,
        new: &Member<'_>,
        members: &Members,
    ) {
        let number = new.number;
        if old.is_none() {
            self.places.push(place);
        }
        self.put_version(old, new);
        let Some(old) = old else {
            let texts = (members, self.places.as_slice());
            labels(new).for_each(|label| insert(&mut self.values, number, label, texts));
            return;
        };
        let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (labels(old).collect(), labels(new).collect());
        for (field, value) in before.iter().filter(|(field, it)| after.get(*field) != Some(it)) {
            let Some(values) = self.values.get_mut(field) else { continue };
            values.remove(value, number);
            if values.is_empty() {
                self.values.remove(field);
            }
        }
        let new = after.into_iter().filter(|(field, value)| before.get(field) != Some(value));
        let texts = (members, self.places.as_slice());
        new.for_each(|label| insert(&mut self.values, number, label, texts));
    }

    fn put_version(&mut self, old: Option<&Member<'_>>, new: &Member<'_>) {
        let (before, after) = (old.and_then(|old| old.version.as_ref()), new.version.as_ref());
        if before == after {
            return;
        }
        if let Some(version) = before
            && let Some(numbers) = self.versions.get_mut(version)
        {
            numbers.remove(new.number);
            if numbers.is_empty() {
                self.versions.remove(version);
            }
        }
        if let Some(version) = after {
            self.versions.entry(version.clone()).or_default().insert(new.number);
        }
    }
}

impl<'a> Search<'a> {
    /// Looks at the devices of a set from a number on, in the order in which they came.
    pub(super) fn devices<'b, T: 'b>(
        self,
        numbers: &'b RoaringBitmap,
        from: u32,
        look: impl Fn(&Member<'_>) -> T + 'b,
    ) -> impl Iterator<Item = T> + 'b
    where
        'a: 'b,
    {
        numbers.range(from..).filter_map(move |number| self.device(number, &look))
    }

    /// Looks at the device with a number.
    pub(super) fn device<T>(self, number: u32, look: impl FnOnce(&Member<'_>) -> T) -> Option<T> {
        self.members.at(self.index.place(number)?, look)
    }

    /// Returns all devices.
    pub(super) fn all(self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.index.next_number());
        all
    }

    /// Returns the devices that a query asks for, among these.
    pub(super) fn within(self, query: &Query, within: &RoaringBitmap) -> RoaringBitmap {
        self.node(query.root(), within)
    }

    /// Returns the devices of which a comparison is true, among these.
    pub(super) fn term(self, term: &Term, within: &RoaringBitmap) -> RoaringBitmap {
        match self.accepted(term, within) {
            Some(numbers) if term.is_negated() => within - numbers,
            Some(numbers) => within & numbers,
            None => self.scan(term, within),
        }
    }

    /// Returns all devices of a product.
    pub(super) fn of_product(self, product: &str) -> RoaringBitmap {
        self.with_value(&Field::Product, product)
    }

    /// Returns the devices of a group that may take part in a rollout.
    pub(super) fn able(self, group: &Group) -> RoaringBitmap {
        let within = self.of_product(group.product.as_str());
        let members = match &group.members {
            GroupMembers::Devices(devices) => {
                let number = |device: &DeviceId| self.members.with(device, |member| member.number);
                within & devices.iter().filter_map(number).collect::<RoaringBitmap>()
            }
            GroupMembers::Query(query) => self.within(query, &within),
            GroupMembers::Tags(tags) => {
                let carrying = tags.iter().fold(within, |within, (key, value)| {
                    within & self.with_value(&Field::TagValue(key.clone()), value)
                });
                // The index knows no case; tags of groups without a query do.
                let is_member = |number: &u32| {
                    self.device(*number, |member| group.contains(member)) == Some(true)
                };
                if tags.is_empty() { carrying } else { carrying.iter().filter(is_member).collect() }
            }
        };
        members - self.with_value(&Field::Status, Status::Revoked.as_str())
    }

    /// Returns the devices that have one value in a field, whatever its case.
    fn with_value(self, field: &Field, value: &str) -> RoaringBitmap {
        let (texts, values) = (self.texts(field), self.index.values.get(field));
        values.map(|values| values.of(value, texts)).unwrap_or_default()
    }

    fn texts<'b>(self, field: &'b Field) -> Texts<'b>
    where
        'a: 'b,
    {
        Texts { field, places: &self.index.places, members: self.members }
    }

    fn node(self, node: &Node, within: &RoaringBitmap) -> RoaringBitmap {
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
    /// is no list of them. Of others than these, some may be missing.
    fn accepted(self, term: &Term, within: &RoaringBitmap) -> Option<RoaringBitmap> {
        match term.field() {
            Field::CreatedAt | Field::Device => None,
            Field::Tag => Some(self.tagged(term)),
            Field::Version => {
                let versions = self.index.versions.iter();
                let accepted = versions.filter(|(it, _)| term.accepts(Subject::Version(it)));
                Some(accepted.fold(RoaringBitmap::new(), |found, (_, numbers)| found | numbers))
            }
            field @ (Field::Attribute(_) | Field::Product | Field::Status | Field::TagValue(_)) => {
                let values = self.index.values.get(field);
                let accepted =
                    values.map(|values| values.accepted(term, within, self.texts(field)));
                Some(accepted.unwrap_or_default())
            }
        }
    }

    /// Returns the devices that have a tag whose key a comparison accepts.
    fn tagged(self, term: &Term) -> RoaringBitmap {
        let columns = self.index.values.iter().filter(|(field, _)| match field {
            Field::TagValue(key) => term.accepts(Subject::Text(key)),
            Field::Attribute(_)
            | Field::CreatedAt
            | Field::Device
            | Field::Product
            | Field::Status
            | Field::Tag
            | Field::Version => false,
        });
        columns.fold(RoaringBitmap::new(), |found, (_, values)| found | values.all())
    }

    /// Looks at device after device.
    fn scan(self, term: &Term, within: &RoaringBitmap) -> RoaringBitmap {
        let is_found = |member: &Member<'_>| {
            let accepted = member.fact(term.field()).is_some_and(|subject| term.accepts(subject));
            accepted != term.is_negated()
        };
        let numbers = within.iter().filter(|n| self.device(*n, is_found) == Some(true));
        RoaringBitmap::from_sorted_iter(numbers).expect("a bitmap is in order")
    }
}

/// Adds a device under its value of a field.
fn insert(
    all: &mut BTreeMap<Field, Values>,
    number: u32,
    (field, value): (Field, &str),
    (members, places): (&Members, &[Place]),
) {
    let values = match all.get_mut(&field) {
        Some(values) => values,
        None => all.entry(field.clone()).or_default(),
    };
    values.insert(value, number, Texts { field: &field, places, members });
}

/// Returns what a device has in all the fields that are indexed by text, each field once.
fn labels<'a>(member: &'a Member<'a>) -> impl Iterator<Item = (Field, &'a str)> {
    let tags = member.tags().map(|(key, value)| (Field::TagValue(key.to_owned()), value));
    let attributes = member.attributes();
    let attributes = attributes.map(|(key, value)| (Field::Attribute(key.to_owned()), value));
    let own = [(Field::Product, member.product), (Field::Status, member.status.as_str())];
    own.into_iter().chain(tags).chain(attributes)
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
