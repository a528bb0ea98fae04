//! A group: which devices of a product a rollout is for.

use std::collections::BTreeSet;

use waxwing_wire::{DeviceId, GroupId, ProductId};

use super::device::Tags;
use super::query::{Facts, Field};
use super::{Device, Query};

/// A named set of devices of one product.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its name.
    pub id: GroupId,
    /// The product of all its devices.
    pub product: ProductId,
    /// What operators say of it; may be empty.
    pub description: String,
    /// Who belongs to it.
    pub members: Members,
    /// When it was made, in Unix milliseconds.
    pub created_at: u64,
}

/// Who belongs to a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Members {
    /// Exactly these.
    Devices(BTreeSet<DeviceId>),
    /// Every device that carries all these tags; no tags means every device of the product.
    Tags(Tags),
    /// Every device that the query asks for, whenever it does: membership is asked anew each time, so
    /// nothing of it can be out of date.
    Query(Query),
}

impl Group {
    /// Tells whether a device belongs to the group.
    pub fn contains(&self, device: &impl Facts) -> bool {
        let carries = |(key, value): (&String, &String)| {
            device.tags().any(|tag| tag == (key.as_str(), value.as_str()))
        };
        device.product() == self.product.as_str()
            && match &self.members {
                Members::Devices(devices) => devices.contains(device.id()),
                Members::Tags(tags) => tags.iter().all(carries),
                Members::Query(query) => query.matches(device),
            }
    }

    /// Tells whether a device that was as the one may have joined or left when it is as the other.
    pub fn may_differ(&self, old: &Device, new: &Device) -> bool {
        match &self.members {
            Members::Devices(_) => false,
            Members::Tags(_) => old.tags != new.tags,
            Members::Query(query) => query.asks_for(|field| differs(field, old, new)),
        }
    }
}

/// Tells whether a device that was as the one is another in this field. The rest of it never changes.
fn differs(field: &Field, old: &Device, new: &Device) -> bool {
    match field {
        Field::Attribute(key) => old.attributes.of(key) != new.attributes.of(key),
        Field::CreatedAt | Field::Device | Field::Product => false,
        Field::Status => old.status != new.status,
        Field::Tag => old.tags != new.tags,
        Field::TagValue(key) => old.tags.get(key) != new.tags.get(key),
        Field::Version => old.version != new.version,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::device::{Attributes, Status};

    pub(crate) fn device(id: &str, tags: &[(&str, &str)]) -> Device {
        Device {
            id: DeviceId::parse(id).unwrap(),
            product: ProductId::parse("th1").unwrap(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            attributes: Attributes::default(),
            version: None,
            status: Status::Active,
            created_at: 0,
            changed_at: 0,
            certificates: Vec::new(),
            message_secret: None,
        }
    }

    fn group(members: Members) -> Group {
        Group {
            id: GroupId::parse("g").unwrap(),
            product: ProductId::parse("th1").unwrap(),
            description: String::new(),
            members,
            created_at: 0,
        }
    }

    #[test]
    fn a_device_must_carry_every_tag_of_the_group() {
        let tags = device("x", &[("site", "berlin"), ("ring", "1")]).tags;
        let group = group(Members::Tags(tags));
        assert!(group.contains(&device("a", &[("site", "berlin"), ("ring", "1"), ("x", "y")])));
        assert!(!group.contains(&device("a", &[("site", "berlin")])));
        assert!(!group.contains(&device("a", &[("site", "berlin"), ("ring", "2")])));
    }

    #[test]
    fn a_device_joins_and_leaves_with_what_the_query_asks_for_and_with_nothing_else() {
        let query = Query::parse("version=lt=1.1.0;tag==canary").unwrap();
        let group = group(Members::Query(query));
        let with = |tags: &[(&str, &str)], version: &str| Device {
            version: Some(Arc::new(version.parse().unwrap())),
            ..device("a", tags)
        };
        let (inside, updated) =
            (with(&[("canary", "")], "1.0.9"), with(&[("canary", "")], "1.1.0"));
        assert!(group.contains(&inside) && !group.contains(&updated));
        assert!(!group.contains(&device("a", &[("canary", "")])), "no version is known");
        assert!(group.may_differ(&inside, &updated));
        assert!(group.may_differ(&inside, &with(&[], "1.0.9")));
        let described = Device {
            attributes: Attributes { given: inside.tags.clone(), ..Attributes::default() },
            status: Status::Revoked,
            ..inside.clone()
        };
        assert!(!group.may_differ(&inside, &described));
    }

    #[test]
    fn a_device_of_another_product_never_belongs() {
        let mut stranger = device("a", &[]);
        stranger.product = ProductId::parse("th2").unwrap();
        assert!(!group(Members::Tags(Tags::new())).contains(&stranger));
        let listed = Members::Devices(BTreeSet::from([stranger.id.clone()]));
        assert!(!group(listed).contains(&stranger));
    }
}
