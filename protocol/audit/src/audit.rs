//! Following a log from its first row to its last, with the checkpoints that were made on the way.
//!
//! Not here: whether a checkpoint is genuine. Who adds one has verified its signature, or remembers
//! it.

use std::collections::BTreeMap;

use waxwing_wire::Digest;

use crate::chain::{Head, Link, Origin};

/// A log while it is read.
#[derive(Clone, Debug)]
pub struct Audit {
    head: Head,
    /// What was signed about rows still to come: hash by size.
    signed: BTreeMap<i64, Digest>,
    /// The last size at which a checkpoint agreed.
    agreed: i64,
}

/// The first thing that is wrong with a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Finding {
    /// A row is not what its hash was made of.
    #[error("row {row} or its hash was changed, or a row before it was replaced")]
    Changed {
        /// Which.
        row: i64,
    },
    /// Two checkpoints contradict each other: two histories were shown.
    #[error("two signed checkpoints contradict each other about row {size}")]
    Forked {
        /// The row about which they do.
        size: i64,
    },
    /// A row is missing, or one does not belong.
    #[error("row {expected} is missing: row {found} comes in its place")]
    Misplaced {
        /// The row that should come.
        expected: i64,
        /// The row that came.
        found: i64,
    },
    /// The hashes fit each other, but not what was signed: history was rewritten.
    #[error(
        "a row between {first} and {last} was changed and all hashes made anew: the signed checkpoint of row {last} says otherwise"
    )]
    Rewritten {
        /// The first row it may be.
        first: i64,
        /// The last row it may be.
        last: i64,
    },
    /// The log ends earlier than it once did.
    #[error(
        "the log ends with row {rows}, but {signed} rows were signed: the last ones were removed"
    )]
    Truncated {
        /// Rows there are.
        rows: i64,
        /// Rows there were.
        signed: i64,
    },
}

impl Finding {
    /// Returns the first row that is not as it was written, as far as one can tell.
    pub const fn row(&self) -> i64 {
        match *self {
            Self::Changed { row } => row,
            Self::Forked { size } => size,
            Self::Misplaced { expected, .. } => expected,
            Self::Rewritten { first, .. } => first,
            Self::Truncated { rows, .. } => rows.saturating_add(1),
        }
    }
}

impl Audit {
    /// Begins before the first row.
    pub fn new(origin: &Origin) -> Self {
        let head = Head::genesis(origin);
        Self { head, signed: BTreeMap::new(), agreed: 0 }
    }

    /// Adds what a checkpoint of this log says. All of them come before the rows they speak of.
    ///
    /// # Errors
    ///
    /// [`Finding::Forked`] when another checkpoint says otherwise.
    pub fn expect(&mut self, head: Head) -> Result<(), Finding> {
        let known = if head.size == self.head.size { Some(self.head.hash) } else { None };
        let known = known.or_else(|| self.signed.insert(head.size, head.hash));
        if known.is_none_or(|known| known == head.hash) {
            Ok(())
        } else {
            Err(Finding::Forked { size: head.size })
        }
    }

    /// Returns how many rows were taken so far.
    pub const fn size(&self) -> i64 {
        self.head.size
    }

    /// Takes the next row.
    ///
    /// # Errors
    ///
    /// The [`Finding`] about this row. After one, nothing more can be said about the rest.
    pub fn follow(&mut self, link: &Link) -> Result<(), Finding> {
        let expected = self.head.size.saturating_add(1);
        if link.row.id != expected {
            return Err(Finding::Misplaced { expected, found: link.row.id });
        }
        let head = self.head.after(&link.row);
        if link.hash != Some(head.hash) {
            return Err(Finding::Changed { row: expected });
        }
        if let Some(signed) = self.signed.remove(&expected) {
            if signed != head.hash {
                return Err(Finding::Rewritten { first: self.agreed + 1, last: expected });
            }
            self.agreed = expected;
        }
        self.head = head;
        Ok(())
    }

    /// Ends after the last row, and returns the end of the chain.
    ///
    /// # Errors
    ///
    /// [`Finding::Truncated`] when a checkpoint speaks of more rows.
    pub fn finish(self) -> Result<Head, Finding> {
        match self.signed.last_key_value() {
            Some((&signed, _)) => Err(Finding::Truncated { rows: self.head.size, signed }),
            None => Ok(self.head),
        }
    }
}

#[cfg(test)]
mod tests;
