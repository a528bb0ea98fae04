//! Evidence: what is known of the devices of a phase.

use waxwing_wire::report::State;

use super::bounds::Outcomes;
use super::contact::{self, Unreachable};
use super::counts::Counts;
use crate::domain::Deployment;

/// What is known of a phase.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Evidence {
    /// How many of its devices are in each state; those nothing was heard of are waiting.
    pub counts: Counts,
    /// How many went back because they could not reach the server, and whether that may have been the
    /// release (D18).
    pub unreachable: Unreachable,
    /// How many switched to the image so long ago that they should have become healthy by now. They
    /// are in flight still, and are expected to be lost.
    pub overdue: u64,
    /// When something became of a device of the rollout last, in Unix milliseconds; 0 if never.
    pub moved_at: u64,
}

impl Evidence {
    /// Takes note that a device of the phase is in another state. One that just went back for want of
    /// contact is doubtful.
    pub fn move_on(&mut self, before: State, after: &Deployment) {
        self.counts.remove(before);
        self.counts.add(after.state);
        self.moved_at = self.moved_at.max(after.changed_at);
        self.unreachable.doubtful += u64::from(contact::went_back_unreachable(after));
    }

    /// Adds up what is known of several phases.
    pub fn sum(phases: &[Self]) -> Self {
        let mut total = Self::default();
        for phase in phases {
            total.counts += &phase.counts;
            total.overdue += phase.overdue;
            total.moved_at = total.moved_at.max(phase.moved_at);
            total.unreachable.doubtful += phase.unreachable.doubtful;
            total.unreachable.excused += phase.unreachable.excused;
        }
        total
    }

    /// Returns how those ended whose end says something of the release.
    pub fn outcomes(&self) -> Outcomes {
        let Outcomes { broken, well } = self.counts.outcomes();
        let Unreachable { doubtful, excused } = self.unreachable;
        Outcomes { broken: broken.saturating_sub(doubtful + excused), well }
    }

    /// Returns how those ended that tried the image, as if all would become healthy that are trying it.
    ///
    /// What is broken is heard of sooner than what is well: a failed self-test after a minute, health after
    /// the soak. In the order in which devices end, bounds would see the broken ones of many first, and
    /// exclude a good release. In the order in which they began they are bounds: no more have broken so far
    /// than will have in the end.
    pub fn tried(&self) -> Outcomes {
        let Outcomes { broken, well } = self.outcomes();
        Outcomes { broken, well: well + self.counts.trying() }
    }

    /// Returns how many devices take part, those aside whose end says nothing of the release.
    pub fn taking_part(&self) -> u64 {
        self.counts.taking_part().saturating_sub(self.unreachable.excused)
    }

    /// Returns how those ended that should have by now. Who is overdue counts as broken, or a release
    /// that silences devices would look good until they time out: healthy ones are heard of sooner. So
    /// does who may yet turn out to have gone back because of the release.
    pub fn due(&self) -> Outcomes {
        let Outcomes { broken, well } = self.outcomes();
        Outcomes { broken: broken + self.unreachable.doubtful + self.overdue, well }
    }
}
