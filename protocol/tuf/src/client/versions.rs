//! The versions of the targets roles in the store: a sorted list.
//!
//! There are a handful. A `BTreeMap` would do the same with sixteen times the code, which a device has
//! to hold.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Names of roles and their versions, sorted by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(Vec<(Box<str>, u64)>);

impl Versions {
    /// Remembers the version of a role, instead of the one before.
    pub(super) fn set(&mut self, role: &str, version: u64) {
        let at = self.0.partition_point(|(other, _)| **other < *role);
        match self.0.get_mut(at) {
            Some((same, known)) if **same == *role => *known = version,
            Some(_) | None => {
                self.0.reserve_exact(1);
                self.0.insert(at, (role.into(), version));
            }
        }
    }

    /// Forgets a role.
    pub(super) fn remove(&mut self, role: &str) {
        self.0.retain(|(other, _)| **other != *role);
    }

    /// Names and versions, sorted by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(role, version)| (&**role, *version))
    }
}
