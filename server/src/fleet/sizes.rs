//! How many devices the phases of a plan would reach, as the fleet is now.
//!
//! Not here: whether that will do.

use std::sync::Arc;

use waxwing_wire::GroupId;

use super::Fleet;
use super::catalogue::Campaign;
use crate::domain::Rollout;
use crate::domain::rollout::{PhasePlan, Plan, Size};

impl Fleet {
    /// Returns how many devices of a group that may take part in a rollout belong to another, too.
    pub fn common_count(&self, one: &GroupId, other: &GroupId) -> u64 {
        let Some((one, other)) = self.group(one).zip(self.group(other)) else { return 0 };
        let ledger = self.ledger();
        let search = self.searching(&ledger);
        search.able(&one).intersection_len(&search.able(&other))
    }

    /// Returns how many devices each phase of a draft would add to those before, were all of them started
    /// now. `None` if a release, group or rollout that it names is missing.
    pub fn sizes_of(&self, draft: &Rollout) -> Option<Vec<u64>> {
        let campaign = self.shared.catalogue.load().campaign(Arc::new(draft.clone()))?;
        if campaign.reaches_whole_group() {
            return Some(reckoned(&draft.plan, self.member_count(&draft.group)));
        }
        self.counted(draft)
    }

    /// Goes through all devices: canaries may be in other phases, too, and not everybody may take part.
    fn counted(&self, draft: &Rollout) -> Option<Vec<u64>> {
        let members = self.meant_by(draft);
        let mut started = draft.clone();
        draft.phases.iter().for_each(|_| started.start_next_phase(members.iter(), 0));
        let campaign = self.shared.catalogue.load().campaign(Arc::new(started))?;
        let mut sizes = vec![0; draft.phases.len()];
        for device in &members {
            let phase = self.shared.members.with(device, |it| campaign.would_count_in(it));
            if let Some(size) = phase.flatten().and_then(|phase| sizes.get_mut(phase)) {
                *size += 1;
            }
        }
        Some(sizes)
    }
}

impl Campaign {
    /// Tells whether the last phase reaches the whole group, and each phase all those before.
    fn reaches_whole_group(&self) -> bool {
        let is_ranked = |phase: &PhasePlan| !matches!(phase.size, Size::Group(_));
        let is_for_all = self.release.ceiling_permille.is_none() && self.back_from.is_none();
        is_for_all && self.rollout.plan.phases.iter().all(is_ranked)
    }
}

/// Reckons what each phase adds when all of them follow the order of the rollout (D26).
fn reckoned(plan: &Plan, members: u64) -> Vec<u64> {
    let mut reached = 0;
    let added = plan.phases.iter().map(|phase| {
        let reach = match phase.size {
            Size::Count(count) => members.min(count.into()),
            Size::Percent(percent) => (members * u64::from(percent)).div_ceil(100),
            Size::Group(_) => 0,
        };
        let before = reached;
        reached = reach.max(before);
        reached - before
    });
    added.collect()
}
