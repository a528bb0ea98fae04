//! Why something was not believed, and whose fault that is.

use alloc::string::String;
use core::fmt;

use crate::json::Malformed;
use crate::store::{FetchError, StoreError};

/// A refusal: which file or target, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The file or target that was refused, as it is named in its repository; with two repositories
    /// after `director/` or `image/`.
    pub subject: String,
    /// Why.
    pub cause: Cause,
}

/// Why something was refused. [`Cause::code_name`] is the stable name of each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The release is for a share of the devices that this one does not belong to (D10).
    AboveCeiling,
    /// It is no file with signatures, or lists one key id twice, or too many.
    BadEnvelope,
    /// A field of the metadata is missing or has a value we do not read. Names the field.
    BadField(&'static str),
    /// The Director names this device more than once.
    DeviceNamedTwice,
    /// The Director delegates, which only an Image repository may.
    DirectorDelegates,
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
    /// No Director has told this device the time yet.
    NoAttestedTime,
    /// The snapshot does not know the role.
    NotInSnapshot,
    /// No role that may name this target names it.
    NotListed,
    /// A role that was in the snapshot is gone from it.
    RemovedFromSnapshot,
    /// A command with this number, or a later one, came before.
    Replayed,
    /// Director and Image repository describe the target differently.
    RepositoriesDisagree,
    /// The file is older than one we have.
    Rollback,
    /// The content is not what was signed earlier under this version.
    SameVersionOtherContent,
    /// The eFuses are past its secure version, or cannot count that far.
    SecureVersionOutOfRange,
    /// Its security version is below the floor (D2).
    SecurityVersionTooLow,
    /// It is empty or does not fit the OTA slot.
    SlotTooSmall,
    /// Local storage failed.
    Store(StoreError),
    /// The Director attests a time before one we know has passed.
    TimeWentBack,
    /// Too few of the keys that may sign it did.
    TooFewSignatures,
    /// The file is longer than its limit or its signed length.
    TooLong,
    /// The search for a target would visit more roles than are allowed.
    TooManyRoles,
    /// The Director names more targets than a device can have parts.
    TooManyTargets,
    /// The device does not accept releases of this channel.
    WrongChannel,
    /// It is for another chip.
    WrongChip,
    /// It is for another device.
    WrongDevice,
    /// It is for other hardware revisions.
    WrongHardware,
    /// The content does not have the signed hash.
    WrongHash,
    /// It is not an image for an OTA slot.
    WrongKind,
    /// The content does not have the signed length.
    WrongLength,
    /// It does not answer this poll.
    WrongNonce,
    /// Its path is not the one its attributes call for.
    WrongPath,
    /// It is for another product.
    WrongProduct,
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
            Self::AboveCeiling => "above_ceiling",
            Self::BadEnvelope => "bad_envelope",
            Self::BadField(_) => "bad_field",
            Self::DeviceNamedTwice => "device_named_twice",
            Self::DirectorDelegates => "director_delegates",
            Self::Expired => "expired",
            Self::Fetch(_) => "fetch_failed",
            Self::Json(_) => "bad_json",
            Self::Missing => "missing",
            Self::MoreRoots => "more_roots",
            Self::NoAttestedTime => "no_attested_time",
            Self::NotInSnapshot => "not_in_snapshot",
            Self::NotListed => "not_listed",
            Self::RemovedFromSnapshot => "removed_from_snapshot",
            Self::Replayed => "replayed",
            Self::RepositoriesDisagree => "repositories_disagree",
            Self::Rollback => "rollback",
            Self::SameVersionOtherContent => "same_version_other_content",
            Self::SecureVersionOutOfRange => "secure_version_out_of_range",
            Self::SecurityVersionTooLow => "security_version_too_low",
            Self::SlotTooSmall => "slot_too_small",
            Self::Store(_) => "store_failed",
            Self::TimeWentBack => "time_went_back",
            Self::TooFewSignatures => "too_few_signatures",
            Self::TooLong => "too_long",
            Self::TooManyRoles => "too_many_roles",
            Self::TooManyTargets => "too_many_targets",
            Self::WrongChannel => "wrong_channel",
            Self::WrongChip => "wrong_chip",
            Self::WrongDevice => "wrong_device",
            Self::WrongHardware => "wrong_hardware",
            Self::WrongHash => "wrong_hash",
            Self::WrongKind => "wrong_kind",
            Self::WrongLength => "wrong_length",
            Self::WrongNonce => "wrong_nonce",
            Self::WrongPath => "wrong_path",
            Self::WrongProduct => "wrong_product",
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
            Self::BadEnvelope
            | Self::Expired
            | Self::Fetch(_)
            | Self::Json(_)
            | Self::Missing
            | Self::MoreRoots
            | Self::Replayed
            | Self::Rollback
            | Self::TimeWentBack
            | Self::TooFewSignatures
            | Self::TooLong
            | Self::WrongDevice
            | Self::WrongHash
            | Self::WrongLength
            | Self::WrongNonce
            | Self::WrongType
            | Self::WrongVersion => Fault::Delivery,
            Self::NoAttestedTime | Self::Store(_) => Fault::Local,
            Self::AboveCeiling
            | Self::BadField(_)
            | Self::DeviceNamedTwice
            | Self::DirectorDelegates
            | Self::NotInSnapshot
            | Self::NotListed
            | Self::RemovedFromSnapshot
            | Self::RepositoriesDisagree
            | Self::SameVersionOtherContent
            | Self::SecureVersionOutOfRange
            | Self::SecurityVersionTooLow
            | Self::SlotTooSmall
            | Self::TooManyRoles
            | Self::TooManyTargets
            | Self::WrongChannel
            | Self::WrongChip
            | Self::WrongHardware
            | Self::WrongKind
            | Self::WrongPath
            | Self::WrongProduct
            | Self::WrongRepository
            | Self::WrongSpecification => Fault::Signer,
        }
    }

    /// Says what was refused for this cause.
    pub fn of(self, subject: impl Into<String>) -> Refusal {
        Refusal { subject: subject.into(), cause: self }
    }
}

impl Refusal {
    /// Says in which repository that was.
    pub(crate) fn within(self, repository: &str) -> Self {
        Self { subject: [repository, "/", &self.subject].concat(), cause: self.cause }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AboveCeiling => "for a share of the devices that this one is not in",
            Self::BadEnvelope => "not a file with a list of signatures",
            Self::BadField(field) => {
                return write!(f, "field `{field}` is missing or not understood");
            }
            Self::DeviceNamedTwice => "names the device more than once",
            Self::DirectorDelegates => "delegates, which a Director must not",
            Self::Expired => "expired",
            Self::Fetch(error) => return error.fmt(f),
            Self::Json(malformed) => return malformed.fmt(f),
            Self::Missing => "not delivered",
            Self::MoreRoots => "more new roots than are followed at once",
            Self::NoAttestedTime => "no time was attested yet",
            Self::NotInSnapshot => "not in the snapshot",
            Self::NotListed => "not listed by any role that may list it",
            Self::RemovedFromSnapshot => "gone from the snapshot",
            Self::Replayed => "not newer than the last one",
            Self::RepositoriesDisagree => "described differently by Director and Image repository",
            Self::Rollback => "older than what was seen before",
            Self::SameVersionOtherContent => "changed without a new version",
            Self::SecureVersionOutOfRange => "has a secure version outside the range of the eFuses",
            Self::SecurityVersionTooLow => "has a security version below the floor",
            Self::SlotTooSmall => "does not fit the slot",
            Self::Store(error) => return error.fmt(f),
            Self::TimeWentBack => "attests a time that has passed",
            Self::TooFewSignatures => "signed by too few of its keys",
            Self::TooLong => "longer than allowed",
            Self::TooManyRoles => "delegated through too many roles",
            Self::TooManyTargets => "names too many targets",
            Self::WrongChannel => "of a channel the device does not accept",
            Self::WrongChip => "for another chip",
            Self::WrongDevice => "for another device",
            Self::WrongHardware => "for other hardware revisions",
            Self::WrongHash => "does not have its signed hash",
            Self::WrongKind => "not an app image",
            Self::WrongLength => "does not have its signed length",
            Self::WrongNonce => "not the answer to this poll",
            Self::WrongPath => "at a path that does not fit its attributes",
            Self::WrongProduct => "for another product",
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
