//! `snapshot.json` (spec 4.4): the versions of all targets roles at one moment.

use alloc::string::String;
use alloc::vec::Vec;

use crate::json::Value;
use crate::refusal::Cause;
use crate::role::{FileMeta, Header, Role, bounded};

/// The versions of the targets roles that belong together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Version and expiry.
    pub header: Header,
    roles: Vec<(String, FileMeta)>,
}

impl Snapshot {
    /// What the snapshot says about the targets role `role`.
    pub fn role(&self, role: &str) -> Option<&FileMeta> {
        self.roles().find(|(name, _)| *name == role).map(|(_, meta)| meta)
    }

    /// All targets roles in it.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &FileMeta)> {
        self.roles.iter().filter_map(|(file, meta)| Some((file.strip_suffix(".json")?, meta)))
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn decode(header: Header, signed: Value<'_>) -> Result<Self, Cause> {
        let meta = signed.field("meta").and_then(Value::members).ok_or(Cause::BadField("meta"))?;
        let mut roles = Vec::with_capacity(meta.clone().count());
        for (file, meta) in meta {
            // A name too long for us is a role we never look for.
            if let Some(file) = bounded(file) {
                roles.push((file, FileMeta::decode(meta)?));
            }
        }
        let snapshot = Self { header, roles };
        snapshot.role("targets").ok_or(Cause::BadField("meta"))?;
        Ok(snapshot)
    }
}
