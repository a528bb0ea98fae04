//! Rows and how their hashes follow from each other.
//!
//! Not here: signatures, and the order in which rows come from a database or a server.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;

/// Random bytes in the name of a log: two logs never have one name.
pub const ORIGIN_ID_BYTES: usize = 16;

/// What the name of every log begins with; the number is the version of all encodings here.
const ORIGIN_PREFIX: &str = "waxwing-audit-v1/";

/// What is hashed before a log has rows, and before each row. Different first bytes keep one from
/// being taken for the other.
const GENESIS_TAG: &[u8] = b"waxwing-audit-genesis-v1\n";
const ROW_TAG: &[u8] = b"waxwing-audit-row-v1\n";

/// The name of one log, such as `waxwing-audit-v1/00112233445566778899aabbccddeeff`: it goes into
/// every hash, so that the rows of one log cannot be shown as those of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

impl Origin {
    /// Names a new log.
    pub fn new(id: [u8; ORIGIN_ID_BYTES]) -> Self {
        let prefix = ORIGIN_PREFIX.to_owned();
        Self(id.iter().fold(prefix, |name, byte| name + &format!("{byte:02x}")))
    }

    /// Reads a name; `None` for anything that [`Self::new`] does not make.
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.strip_prefix(ORIGIN_PREFIX)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let known = id.len() == 2 * ORIGIN_ID_BYTES && id.bytes().all(is_hex);
        known.then(|| Self(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One row of the log, exactly as stored: nothing is parsed, so that nothing has two spellings.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Its number: 1, 2, 3, without gaps.
    pub id: i64,
    /// When, in Unix milliseconds.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The detail, as the JSON text that was stored.
    pub detail: String,
}

impl Row {
    /// Returns the hash of this row after the one before it: SHA-256 over
    ///
    /// ```text
    /// "waxwing-audit-row-v1\n"
    /// previous hash                                32 bytes
    /// id, at                                       8 bytes each, big-endian, two's complement
    /// actor, action, subject, reason, detail       each: length in 8 bytes, big-endian; UTF-8
    /// ```
    ///
    /// Every part has a fixed length or says its length, so no two rows have one encoding.
    pub fn hash_after(&self, previous: &Digest) -> Digest {
        let mut hash = Sha256::new();
        hash.update(ROW_TAG);
        hash.update(previous.0);
        hash.update(self.id.to_be_bytes());
        hash.update(self.at.to_be_bytes());
        for text in [&self.actor, &self.action, &self.subject, &self.reason, &self.detail] {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            hash.update(length.to_be_bytes());
            hash.update(text);
        }
        Digest(hash.finalize().into())
    }
}

/// A row with the hash that was stored with it; nothing says that the two belong together.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Link {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// The hash beside it; `None` when it has none or what is there is no hash.
    pub hash: Option<Digest>,
}

/// The end of a chain: how many rows, and the hash of the last one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Rows so far; the number of the last one.
    pub size: i64,
    /// Its hash.
    pub hash: Digest,
}

impl Head {
    /// Returns the beginning of a log: SHA-256 over `"waxwing-audit-genesis-v1\n"` and its name.
    pub fn genesis(origin: &Origin) -> Self {
        let hash = Sha256::new_with_prefix(GENESIS_TAG).chain_update(origin.as_str());
        Self { size: 0, hash: Digest(hash.finalize().into()) }
    }

    /// Returns the end of the chain once this row is appended.
    #[must_use]
    pub fn after(&self, row: &Row) -> Self {
        Self { size: row.id, hash: row.hash_after(&self.hash) }
    }
}
