//! Evidence: what is known of the devices of a phase.

use super::bounds::Outcomes;
use super::counts::Counts;

/// What is known of a phase.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Evidence {
    /// How many of its devices are in each state; those nothing was heard of are waiting.
    pub counts: Counts,
    /// How many switched to the image so long ago that they should have become healthy by now. They
    /// are in flight still, and are expected to be lost.
    pub overdue: u64,
}

impl Evidence {
    /// Adds up what is known of several phases.
    pub fn sum(phases: &[Self]) -> Self {
        let mut total = Self::default();
        for phase in phases {
            total.counts += &phase.counts;
            total.overdue += phase.overdue;
        }
        total
    }

    /// Returns how those ended that should have by now. Who is overdue counts as broken, or a release
    /// that silences devices would look good until they time out: healthy ones are heard of sooner.
    pub fn due(&self) -> Outcomes {
        let Outcomes { broken, well } = self.counts.outcomes();
        Outcomes { broken: broken + self.overdue, well }
    }
}
