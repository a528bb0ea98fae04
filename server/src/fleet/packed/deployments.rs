//! The deployments of a device, packed.

use std::cmp::Reverse;

use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use super::{PACKED_HERE, list};
use crate::domain::Deployment;

/// A deployment, with the number of its rollout: state, code, attempt, tries, how often it was
/// deferred, hop, phase; not before when, when it changed, when it was decided.
pub(super) type PackedDeployment = (u32, u8, ErrorCode, u32, u32, u8, u8, u8, (u64, u64, u64));

/// The deployments of a device, those that go on and those that have ended, the newest rollout first.
pub(super) struct Parts {
    pub(super) open: Vec<u8>,
    pub(super) ended: Vec<u8>,
    pub(super) ended_at: u64,
}

impl Parts {
    pub(super) fn new(deployments: impl Iterator<Item = (u32, Deployment)>) -> Self {
        let (mut ended, open): (Vec<_>, Vec<_>) =
            deployments.partition(|(_, deployment)| deployment.state.is_final());
        ended.sort_unstable_by_key(|(rollout, _)| Reverse(*rollout));
        let ended_at = ended.iter().map(|(_, deployment)| deployment.changed_at).max();
        Self {
            open: list(open.into_iter().map(packed_deployment)),
            ended: list(ended.into_iter().map(packed_deployment)),
            ended_at: ended_at.unwrap_or(0),
        }
    }
}

fn packed_deployment((rollout, it): (u32, Deployment)) -> PackedDeployment {
    let Deployment { state, code, attempt, tries, deferred, not_before, .. } = it;
    let Deployment { hop, phase, changed_at, decided_at, .. } = it;
    let state = State::ALL.iter().position(|other| *other == state);
    let state = state.and_then(|state| u8::try_from(state).ok()).expect("it is one of them");
    let times = (not_before, changed_at, decided_at);
    (rollout, state, code, attempt, tries, deferred, hop, phase, times)
}

pub(super) fn deployment(packed: PackedDeployment) -> (u32, Deployment) {
    let (rollout, state, code, attempt, tries, deferred, hop, phase, times) = packed;
    let (not_before, changed_at, decided_at) = times;
    let state = *State::ALL.get(usize::from(state)).expect(PACKED_HERE);
    let deployment = Deployment {
        state,
        code,
        attempt,
        tries,
        deferred,
        not_before,
        hop,
        phase,
        changed_at,
        decided_at,
    };
    (rollout, deployment)
}
