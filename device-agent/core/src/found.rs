//! What an agent found in flash when it started, in the words in which a device tells it.
//!
//! A device works on when its journal is lost or its boot record is damaged, and then has to say so, or
//! nobody learns that its flash wears out.

use core::fmt;

use crate::journal::Condition;
use crate::ports::SlotState;

/// What was found. It displays as two members of a JSON object.
///
/// ```
/// use waxwing_agent::found::Found;
/// use waxwing_agent::journal::Condition;
/// use waxwing_agent::ports::SlotState;
///
/// let found = Found { journal: Condition::Lost, record: SlotState::Blank };
/// assert_eq!(found.to_string(), r#""journal":"Lost","record":"Blank""#);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// What became of the journal.
    pub journal: Condition,
    /// What the boot records said of the running slot.
    pub record: SlotState,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journal, record } = self;
        write!(f, r#""journal":"{journal:?}","record":"{record:?}""#)
    }
}
