//! Who would get what, and why not: the questions of operators, answered by the functions that answer
//! polls.

use std::sync::Arc;

use waxwing_wire::DeviceId;

use super::Fleet;
use super::catalogue::{Campaign, may_take_part};
use super::packed::Member;
use crate::domain::rollout::State;
use crate::domain::standing::{Moment, Standing};
use crate::domain::{Release, Rollout, Running};

/// Where a device stands in one rollout.
#[derive(Clone, Debug)]
pub struct Position {
    /// The rollout.
    pub rollout: Arc<Rollout>,
    /// Where the device stands.
    pub standing: Standing,
    /// The phase that reaches it, from 0.
    pub phase: Option<usize>,
}

/// What a device would get of a rollout that is only planned.
#[derive(Clone, Debug)]
pub struct Part {
    /// The device.
    pub device: DeviceId,
    /// Where it would stand if all phases had started.
    pub standing: Standing,
    /// The release it would be offered first.
    pub release: Arc<Release>,
    /// The phase that would reach it, from 0.
    pub phase: usize,
    /// The rollout that decides about the device instead, if one does.
    pub overruled_by: Option<Arc<Rollout>>,
}

impl Fleet {
    /// Returns where a device stands in every rollout of its product, highest first; those that have
    /// not started are left out. `running` is what it was last seen with, if ever.
    pub fn positions(
        &self,
        device: &DeviceId,
        running: Option<&Running>,
        now_ms: u64,
    ) -> Vec<Position> {
        let catalogue = self.shared.catalogue.load();
        let Some(member) = self.shared.members.get(device) else { return Vec::new() };
        let member = member.member();
        let zone = member.zone();
        let moment = Moment { zone: &zone, now_ms };
        let ranked = catalogue.ranked(member.product).iter();
        ranked.map(|campaign| position(campaign, &member, running, moment)).collect()
    }

    /// Returns what each device of the group would get of a planned rollout, were all its phases
    /// started now. `None` if a release or group that it names is missing. `running` tells what a
    /// device was last seen with.
    pub fn rehearse<'a>(
        &self,
        rollout: &Rollout,
        running: impl Fn(&DeviceId) -> Option<&'a Running>,
        now_ms: u64,
    ) -> Option<Vec<Part>> {
        let catalogue = self.shared.catalogue.load_full();
        let members = self.meant_by(rollout);
        let mut started =
            Rollout { state: State::Running, started_at: Some(now_ms), ..rollout.clone() };
        for _ in 0..started.phases.len() {
            started.start_next_phase(members.iter(), now_ms);
        }
        let campaign = catalogue.campaign(Arc::new(started))?;
        let parts = members.into_iter().filter_map(|device| {
            let member = self.shared.members.get(&device)?;
            let member = member.member();
            let running = running(&device);
            let (seat, zone) = (campaign.seat(&member)?, member.zone());
            let moment = Moment { zone: &zone, now_ms };
            let hop = running.map_or(0, |running| seat.route.next(&running.version));
            let above = catalogue.seats(&member).into_iter().find(|other| {
                let past_recall =
                    other.in_flight_deployment().is_some_and(|it| it.is_past_recall());
                past_recall || other.rollout.plan.priority > rollout.plan.priority
            });
            Some(Part {
                standing: seat.standing(running, moment),
                release: Arc::clone(seat.route.release(hop)),
                phase: seat.phase,
                overruled_by: above.map(|above| Arc::clone(above.rollout)),
                device,
            })
        });
        Some(parts.collect())
    }
}

fn position(
    campaign: &Campaign,
    member: &Member<'_>,
    running: Option<&Running>,
    moment: Moment<'_>,
) -> Position {
    let seat = campaign.seat(member);
    let standing = match &seat {
        Some(seat) => seat.standing(running, moment),
        None if !may_take_part(member.status) => Standing::Revoked,
        None if !campaign.is_for(member) => Standing::NotMeant,
        None => Standing::PhaseToCome,
    };
    let phase = seat.map(|seat| seat.phase);
    Position { rollout: Arc::clone(&campaign.rollout), standing, phase }
}
