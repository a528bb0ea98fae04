//! Why a device cannot be made as asked, where it is not the server that says so.

use waxwing_wire::enrol_uri::InvalidEnrolUri;
use waxwing_wire::provision::InvalidProvision;

/// A device that was not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unfit {
    /// No QR code holds the URI.
    #[error("the enrolment URI fits no QR code")]
    Code,
    /// A line of the CSV file names a device that an earlier one names.
    #[error("line {0} names this device, too")]
    Duplicate(usize),
    /// It has a certificate: a new token is for a device that lost its key.
    #[error("the device has enrolled already")]
    Enrolled,
    /// A cell is no hardware revision.
    #[error("the hardware revision is not a name")]
    Hardware,
    /// A cell is no name of a device.
    #[error("the id is not a name")]
    Id,
    /// A line is longer than any device needs.
    #[error("the line is longer than {0} bytes")]
    LineLength(usize),
    /// Several revisions are possible.
    #[error("nobody says which hardware revision it is")]
    NoHardware,
    /// Other text than UTF-8.
    #[error("the line is not UTF-8")]
    NotText,
    /// The device, or its line, is of another product than the template.
    #[error("it is a device of another product")]
    OtherProduct,
    /// The parts make no credentials.
    #[error("these are no credentials that a device reads: {0}")]
    Provision(#[from] InvalidProvision),
    /// Cells are not quoted here.
    #[error("the line has a quotation mark or a control character")]
    Quoted,
    /// The device is shut out.
    #[error("the device is revoked")]
    Revoked,
    /// A cell is no tag.
    #[error("a tag is not written KEY or KEY=VALUE")]
    Tag,
    /// A file that is none of ours, or of another device, has the name.
    #[error("the file is there and does not hold the credentials of this device")]
    Taken,
    /// More cells than the header has.
    #[error("the line has more cells than the first one")]
    TooManyCells,
    /// The product does not have this revision.
    #[error("the product has no such hardware revision")]
    UnknownHardware,
    /// The parts make no enrolment URI.
    #[error("nothing could be scanned: {0}")]
    Uri(#[from] InvalidEnrolUri),
    /// The server does not know the device whose credentials are there.
    #[error("the file is there and the server does not know the device")]
    Unregistered,
}

impl Unfit {
    /// Returns the stable name of the cause.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Code | Self::Uri(_) => "invalid_uri",
            Self::Duplicate(_) => "duplicate_device",
            Self::Enrolled => "device_enrolled",
            Self::Hardware => "invalid_hardware",
            Self::Id => "invalid_id",
            Self::LineLength(_) => "line_too_long",
            Self::NoHardware => "no_hardware",
            Self::NotText => "not_text",
            Self::OtherProduct => "other_product",
            Self::Provision(_) => "invalid_credentials",
            Self::Quoted => "quoted",
            Self::Revoked => "device_revoked",
            Self::Tag => "invalid_tag",
            Self::Taken => "file_taken",
            Self::TooManyCells => "too_many_cells",
            Self::UnknownHardware => "unknown_hardware",
            Self::Unregistered => "device_unregistered",
        }
    }

    /// Returns what to do about it.
    pub(crate) const fn next_step(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => "remove one of the two lines",
            Self::Enrolled => "a device that lost its key gets a new token with --force",
            Self::Hardware | Self::Id => {
                "1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
            }
            Self::LineLength(_) => "is a line break missing?",
            Self::NoHardware => "say it: --hardware, a column `hardware`, or in the template",
            Self::NotText => "save the file as UTF-8",
            Self::OtherProduct => "use the template of its product, in a run of its own",
            Self::Code | Self::Provision(_) | Self::Uri(_) => "mend the template",
            Self::Quoted => "cells are not quoted: take the character out of the cell",
            Self::Revoked => "revocation is for good: register it under a new id",
            Self::Tag => "write KEY or KEY=VALUE, one tag in a cell",
            Self::Taken => "move the file away, or replace it with --force",
            Self::TooManyCells => "repeat the column `tag` as often as a line has tags",
            Self::UnknownHardware => "`waxwing product show` lists the revisions of the product",
            Self::Unregistered => "the file is of another server: move it away, or use --force",
        }
    }
}
