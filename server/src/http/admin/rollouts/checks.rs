//! Whether a rollout can begin and finish with the fleet as it is: asked when it is drafted, rehearsed and
//! started. Between the draft and the start devices, releases and groups may have changed.
//!
//! Not here: what can be known of a plan alone ([`crate::domain::rollout::plan`]).

use waxwing_wire::GroupId;

use crate::app::App;
use crate::domain::Rollout;
use crate::domain::rollout::plan::BadPlan;
use crate::domain::rollout::{PhasePlan, Size};
use crate::http::Problem;

/// Why a rollout can never begin or finish.
pub(super) struct Unfit {
    code: &'static str,
    field: String,
    detail: String,
}

impl Unfit {
    fn new(code: &'static str, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, field: field.into(), detail: detail.into() }
    }

    /// The plan is at fault.
    fn plan(field: impl std::fmt::Display, detail: impl Into<String>) -> Self {
        Self::new("invalid_plan", format!("plan.{field}"), detail)
    }

    /// There are no devices.
    pub(super) fn nobody() -> Self {
        let detail = "There are no devices that could take part. Add some to the group first.";
        Self::new("empty_group", "group", detail)
    }

    /// Answers who sent the plan.
    pub(super) fn refused(self) -> Problem {
        Problem::refused(self.code, self.detail).field(self.field)
    }

    /// Answers who wants to start what was good when it was drafted.
    pub(super) fn not_any_more(self) -> Problem {
        let detail = format!("{} Cancel the rollout, and draft another one.", self.detail);
        Problem::conflict(self.code, detail).field(self.field)
    }
}

impl From<BadPlan> for Unfit {
    fn from(BadPlan { field, detail }: BadPlan) -> Self {
        Self::plan(field, detail)
    }
}

/// Checks a rollout that has not started.
pub(super) fn check(app: &App, draft: &Rollout, now_ms: u64) -> Result<(), Unfit> {
    draft.plan.check()?;
    draft.plan.check_at(now_ms)?;
    check_release(app, draft)?;
    if !is_group_of(app, &draft.group, draft) {
        return Err(unknown_group("group"));
    }
    check_stones(app, draft)?;
    check_switched_by(app, draft)?;
    check_canaries(app, draft)?;
    // Who switched may have left the group by that, and others may switch later.
    if draft.plan.switched_by.is_some() { Ok(()) } else { check_sizes(app, draft) }
}

/// The release is listed.
fn check_release(app: &App, draft: &Rollout) -> Result<(), Unfit> {
    let release = app.fleet.release(&draft.product, &draft.channel, &draft.version);
    match release {
        None => {
            let detail = "There is no such release. Publish it with `waxwing-keys publish`.";
            Err(Unfit::new("unknown_release", "version", detail))
        }
        Some(release) if !release.listed => {
            let detail = "The release is not listed any more: devices would refuse it.";
            Err(Unfit::new("release_not_listed", "version", detail))
        }
        Some(_) => Ok(()),
    }
}

/// The stepping stones are listed releases of the same channel, older than the release.
fn check_stones(app: &App, draft: &Rollout) -> Result<(), Unfit> {
    for stone in &draft.plan.stepping_stones {
        let release = app.fleet.release(&draft.product, &draft.channel, stone);
        if *stone >= draft.version || !release.is_some_and(|release| release.listed) {
            let detail =
                format!("{stone} is no listed release of the channel before {}.", draft.version);
            return Err(Unfit::plan("stepping_stones", detail));
        }
    }
    Ok(())
}

/// The rollout that devices switched in is one of the same product.
fn check_switched_by(app: &App, draft: &Rollout) -> Result<(), Unfit> {
    let Some(from) = &draft.plan.switched_by else { return Ok(()) };
    let is_of = |from: &Rollout| from.product == draft.product && from.id != draft.id;
    if app.fleet.rollout(from).is_some_and(|from| is_of(&from)) {
        return Ok(());
    }
    let detail = format!("There is no other rollout {from} of the product.");
    Err(Unfit::plan("switched_by", detail))
}

/// The canaries are devices of the same product.
fn check_canaries(app: &App, draft: &Rollout) -> Result<(), Unfit> {
    for (number, phase) in draft.plan.phases.iter().enumerate() {
        if let Size::Group(canaries) = &phase.size
            && !is_group_of(app, canaries, draft)
        {
            return Err(unknown_group(format!("plan.phases[{number}].size.group")));
        }
    }
    Ok(())
}

/// There are devices, canaries too, and each gate can be passed by those that its phase adds.
fn check_sizes(app: &App, draft: &Rollout) -> Result<(), Unfit> {
    if app.fleet.member_count(&draft.group) == 0 {
        return Err(Unfit::nobody());
    }
    let phases = || draft.plan.phases.iter().enumerate();
    for (number, phase) in phases() {
        if let Size::Group(canaries) = &phase.size
            && app.fleet.common_count(&draft.group, canaries) == 0
        {
            let detail = "The phase would reach no device that could take part.";
            return Err(Unfit::plan(format_args!("phases[{number}].size"), detail));
        }
    }
    let sizes = app.fleet.sizes_of(draft).unwrap_or_default();
    phases().zip(sizes).try_for_each(|((number, phase), added)| check_size(number, phase, added))
}

fn check_size(number: usize, phase: &PhasePlan, added: u64) -> Result<(), Unfit> {
    if phase.gate.is_small(added) || u64::from(phase.gate.sample_min) <= added {
        return Ok(());
    }
    let detail = format!("The phase adds {added} devices only.");
    Err(Unfit::plan(format_args!("phases[{number}].gate.sample_min"), detail))
}

fn is_group_of(app: &App, group: &GroupId, draft: &Rollout) -> bool {
    app.fleet.group(group).is_some_and(|group| group.product == draft.product)
}

fn unknown_group(field: impl Into<String>) -> Unfit {
    let detail = "There is no such group of this product. Make it with `POST /api/v1/groups`.";
    Unfit::new("unknown_group", field, detail)
}
