//! A group: which devices of a product a rollout is for.

use std::collections::BTreeSet;

use waxwing_wire::{DeviceId, GroupId, ProductId};

use super::Device;
use super::device::Tags;

/// A named set of devices of one product.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its name.
    pub id: GroupId,
    /// The product of all its devices.
    pub product: ProductId,
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
}

impl Group {
    /// Tells whether a device belongs to the group.
    pub fn contains(&self, device: &Device) -> bool {
        let carries = |(key, value): (&String, &String)| device.tags.get(key) == Some(value);
        device.product == self.product
            && match &self.members {
                Members::Devices(devices) => devices.contains(&device.id),
                Members::Tags(tags) => tags.iter().all(carries),
            }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::device::Status;

    pub(crate) fn device(id: &str, tags: &[(&str, &str)]) -> Device {
        Device {
            id: DeviceId::parse(id).unwrap(),
            product: ProductId::parse("th1").unwrap(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            status: Status::Active,
            created_at: 0,
            changed_at: 0,
            certificates: Vec::new(),
        }
    }

    fn group(members: Members) -> Group {
        Group {
            id: GroupId::parse("g").unwrap(),
            product: ProductId::parse("th1").unwrap(),
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
    fn a_device_of_another_product_never_belongs() {
        let mut stranger = device("a", &[]);
        stranger.product = ProductId::parse("th2").unwrap();
        assert!(!group(Members::Tags(Tags::new())).contains(&stranger));
        let listed = Members::Devices(BTreeSet::from([stranger.id.clone()]));
        assert!(!group(listed).contains(&stranger));
    }
}
