//! The first statement of a firmware, whatever its partition table: this boot is counted where there is
//! a journal, and an image that could never be updated again is given up.

use core::fmt;

use waxwing_agent::guard::{Guarded, give_up_trial, guard};
use waxwing_agent::policy::Policy;
use waxwing_esp_image::partition::Table;

use crate::boot::{BootPort, Restart};
use crate::journal::JournalPort;
use crate::layout::{Layout, LayoutError, journal_of};
use crate::region::{Chip, Region};

/// A device whose boot is counted.
#[derive(Debug)]
pub struct Begun<F> {
    /// Where it keeps what.
    pub layout: Layout,
    /// Its journal.
    pub journal: Guarded<JournalPort<F>>,
}

/// An agent cannot live here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotBegun {
    /// The partition table lacks something. An image on trial was given up for it.
    Layout(LayoutError),
    /// The running image was started too often: the device restarts.
    Restarting,
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::Restarting => f.write_str("image was started too often"),
        }
    }
}

impl core::error::Error for NotBegun {}

/// Counts this boot: see [`guard`]. `spare` is as for [`Layout::of`].
///
/// # Errors
///
/// [`NotBegun`] when there is no agent to start.
pub fn begin<F: Chip, R: Restart>(
    flash: &F,
    table: Table<'_>,
    spare: Option<&str>,
    boot: &mut BootPort<F, R>,
    policy: &Policy,
) -> Result<Begun<F>, NotBegun> {
    let journal = journal_of(table, spare);
    let journal = journal.map(|place| JournalPort::new(Region::new(flash.clone(), &place)));
    let counted = journal.map(|journal| guard(boot, journal, policy).ok_or(NotBegun::Restarting));
    let counted = counted.transpose()?;
    match (Layout::of(table, spare), counted) {
        (Ok(layout), Some(journal)) => Ok(Begun { layout, journal }),
        (layout, _) => {
            // Waiting mends no table, and the image before this one counts how often it comes back.
            give_up_trial(boot);
            Err(NotBegun::Layout(layout.err().unwrap_or(LayoutError::NoJournal)))
        }
    }
}
