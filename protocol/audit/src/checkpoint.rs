//! What a checkpoint says, as the text that is signed.
//!
//! The form is that of C2SP `tlog-checkpoint`, with the hash of the chain in the place of a Merkle
//! root and the time as an extension line:
//!
//! ```text
//! waxwing-audit-v1/00112233445566778899aabbccddeeff
//! 100
//! 8J+Qpg...=
//! 2026-11-20T09:30:00Z
//! ```
//!
//! It begins with the name of a log. TUF metadata and commands, which the same key signs, are JSON
//! objects and begin with `{`: a signature over the one is never one over the other. Not here:
//! signatures, see [`crate::Note`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waxwing_tuf::Time;
use waxwing_wire::Digest;

use crate::chain::{Head, Origin};

/// A statement about one log at one time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How far it went.
    pub head: Head,
    /// When this was said, to the second.
    pub at: Time,
}

impl Checkpoint {
    /// Returns the text to sign.
    pub fn to_text(&self) -> String {
        let Head { size, hash } = self.head;
        format!("{}\n{size}\n{}\n{}\n", self.origin.as_str(), STANDARD.encode(hash.0), self.at)
    }

    /// Reads what [`Self::to_text`] writes, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split_terminator('\n');
        let origin = Origin::parse(lines.next()?)?;
        let size = lines.next()?.parse().ok().filter(|size| *size >= 0)?;
        let hash = STANDARD.decode(lines.next()?).ok()?;
        let head = Head { size, hash: Digest(hash.try_into().ok()?) };
        let checkpoint = Self { origin, head, at: Time::parse(lines.next()?)? };
        // What reads the same but is spelled otherwise was not signed by us.
        (checkpoint.to_text() == text).then_some(checkpoint)
    }
}
