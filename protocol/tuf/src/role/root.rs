//! `root.json` (spec 4.3): who may sign what.

use crate::dialect;
use crate::json::Value;
use crate::refusal::Cause;
use crate::role::{Header, Role, Signers};

/// The keys and thresholds of the four top-level roles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// Version and expiry.
    pub header: Header,
    /// Whether all files but the timestamp have their version in their name.
    pub consistent_snapshot: bool,
    /// Who may sign this root and the next.
    pub root: Signers,
    /// Who may sign the snapshot.
    pub snapshot: Signers,
    /// Who may sign the top-level targets.
    pub targets: Signers,
    /// Who may sign the timestamp.
    pub timestamp: Signers,
}

impl Role for Root {
    const TYPE: &'static str = "root";

    fn decode(header: Header, signed: Value<'_>) -> Result<Self, Cause> {
        let roles = signed.field("roles").ok_or(Cause::BadField("roles"))?;
        let keys = signed.field("keys").ok_or(Cause::BadField("keys"))?;
        let signers = |name| match roles.field(name) {
            Some(role) => Signers::decode(role, keys),
            None if dialect::UPTANE_ATS => Ok(Signers::default()),
            None => Err(Cause::BadField("roles")),
        };
        let consistent_snapshot = match signed.field("consistent_snapshot") {
            Some(value) => value.as_bool().ok_or(Cause::BadField("consistent_snapshot"))?,
            None => false,
        };
        Ok(Self {
            header,
            consistent_snapshot,
            root: signers("root")?,
            snapshot: signers("snapshot")?,
            targets: signers("targets")?,
            timestamp: signers("timestamp")?,
        })
    }
}
