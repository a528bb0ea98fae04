//! Why something was not believed, and whose fault that is.

use alloc::string::String;
use core::fmt;

use crate::json::Malformed;
use crate::store::{FetchError, StoreError};

/// A refusal: which file or target, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The file or target that was refused, as it is named in its repository.
    pub subject: String,
    /// Why.
    pub cause: Cause,
}

/// Why something was refused. [`Cause::code_name`] is the stable name of each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// A field of the metadata is missing or has a value we do not read. Names the field.
    BadField(&'static str),
    /// The metadata has expired.
    Expired,
    /// The file could not be fetched.
    Fetch(FetchError),
    /// It is not JSON we read.
    Json(Malformed),
    /// A file that must exist was not delivered.
    Missing,
    /// More new roots exist than are followed at once. They were kept: ask again.
    MoreRoots,
    /// No role that may name this target names it.
    NotListed,
    /// The snapshot does not know the role.
    NotInSnapshot,
    /// A role that was in the snapshot is gone from it.
    RemovedFromSnapshot,
    /// The file is older than one we have.
    Rollback,
    /// The content is not what was signed earlier under this version.
    SameVersionOtherContent,
    /// Local storage failed.
    Store(StoreError),
    /// Too few of the keys that may sign it did.
    TooFewSignatures,
    /// The file is longer than its limit or its signed length.
    TooLong,
    /// The search for a target would visit more roles than are allowed.
    TooManyRoles,
    /// The content does not have the signed hash.
    WrongHash,
    /// The content does not have the signed length.
    WrongLength,
    /// It belongs to another repository (D1).
    WrongRepository,
    /// It is of a version of TUF we do not read.
    WrongSpecification,
    /// It is metadata of another role type.
    WrongType,
    /// Its version is not the one that was announced.
    WrongVersion,
}

/// Who has to do something about a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever delivered the bytes: the network, a cache, a server without keys.
    Delivery,
    /// This device: its storage or its configuration.
    Local,
    /// Whoever signed the metadata.
    Signer,
}

impl Cause {
    /// The stable name of the cause, for reports and logs.
    pub const fn code_name(self) -> &'static str {
        match self {
            Self::BadField(_) => "bad_field",
            Self::Expired => "expired",
            Self::Fetch(_) => "fetch_failed",
            Self::Json(_) => "bad_json",
            Self::Missing => "missing",
            Self::MoreRoots => "more_roots",
            Self::NotListed => "not_listed",
            Self::NotInSnapshot => "not_in_snapshot",
            Self::RemovedFromSnapshot => "removed_from_snapshot",
            Self::Rollback => "rollback",
            Self::SameVersionOtherContent => "same_version_other_content",
            Self::Store(_) => "store_failed",
            Self::TooFewSignatures => "too_few_signatures",
            Self::TooLong => "too_long",
            Self::TooManyRoles => "too_many_roles",
            Self::WrongHash => "wrong_hash",
            Self::WrongLength => "wrong_length",
            Self::WrongRepository => "wrong_repository",
            Self::WrongSpecification => "wrong_specification",
            Self::WrongType => "wrong_type",
            Self::WrongVersion => "wrong_version",
        }
    }

    /// Who has to do something about it. What nobody's signature covers is the fault of whoever
    /// delivered it, old but valid files included.
    pub const fn fault(self) -> Fault {
        match self {
            Self::BadField(_)
            | Self::NotInSnapshot
            | Self::NotListed
            | Self::RemovedFromSnapshot
            | Self::SameVersionOtherContent
            | Self::TooManyRoles
            | Self::WrongRepository
            | Self::WrongSpecification => Fault::Signer,
            Self::Expired
            | Self::Fetch(_)
            | Self::Json(_)
            | Self::Missing
            | Self::MoreRoots
            | Self::Rollback
            | Self::TooFewSignatures
            | Self::TooLong
            | Self::WrongHash
            | Self::WrongLength
            | Self::WrongType
            | Self::WrongVersion => Fault::Delivery,
            Self::Store(_) => Fault::Local,
        }
    }

    /// Says what was refused for this cause.
    pub fn of(self, subject: impl Into<String>) -> Refusal {
        Refusal { subject: subject.into(), cause: self }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadField(field) => {
                return write!(f, "field `{field}` is missing or not understood");
            }
            Self::Expired => "expired",
            Self::Fetch(error) => return error.fmt(f),
            Self::Json(malformed) => return malformed.fmt(f),
            Self::Missing => "not delivered",
            Self::MoreRoots => "more new roots than are followed at once",
            Self::NotListed => "not listed by any role that may list it",
            Self::NotInSnapshot => "not in the snapshot",
            Self::RemovedFromSnapshot => "gone from the snapshot",
            Self::Rollback => "older than what was seen before",
            Self::SameVersionOtherContent => "changed without a new version",
            Self::Store(error) => return error.fmt(f),
            Self::TooFewSignatures => "signed by too few of its keys",
            Self::TooLong => "longer than allowed",
            Self::TooManyRoles => "delegated through too many roles",
            Self::WrongHash => "does not have its signed hash",
            Self::WrongLength => "does not have its signed length",
            Self::WrongRepository => "belongs to another repository",
            Self::WrongSpecification => "of an unknown version of the specification",
            Self::WrongType => "of another type of metadata",
            Self::WrongVersion => "of another version than announced",
        })
    }
}

impl core::error::Error for Cause {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: {}", self.subject, self.cause)
    }
}

impl core::error::Error for Refusal {}

impl From<Malformed> for Cause {
    fn from(malformed: Malformed) -> Self {
        Self::Json(malformed)
    }
}

impl From<StoreError> for Cause {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<FetchError> for Cause {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}
