//! The auditor: keeps books of its own on what was written and what devices were told, and says which
//! promise was broken.
//!
//! It is the reference that the engine is checked against, so it counts with additions only, and learns
//! nothing from the engine. Statistics are asked of the domain, which has tests of its own.

use waxwing_server::domain::effect::{Effect, Moved};
use waxwing_server::domain::rollout::patience::Listening;
use waxwing_server::domain::rollout::{Action, Counts, Evidence, State};
use waxwing_server::domain::{Deployment, Rollout};
use waxwing_server::fleet::{Fleet, Told};
use waxwing_wire::report::State as Step;

use super::cast::{self, Cast, Each, IMAGE_BYTES};
use super::device::{Known, Unit};
use super::disk::Disk;

/// A promise that was broken, in words.
#[derive(Clone, Debug)]
pub(crate) struct Violation(pub(super) String);

/// Why something is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    Decision,
    Polls,
    Report,
    Silence,
}

/// The books of a rollout.
#[derive(Debug, Default)]
struct Book {
    /// Devices that have been heard of, by phase and state.
    known: Vec<Counts>,
    /// For each device the phase that its rank puts it into, as of so many started phases.
    ranks: (usize, Vec<Option<u8>>),
    is_halted: bool,
    bytes_offered: u64,
}

/// The books.
#[derive(Debug)]
pub(super) struct Auditor {
    books: Each<Book>,
    /// When each device was last seen with a whole image; forgotten when the server restarts.
    seen_at: Each<u64>,
    listening: Listening,
    /// The latest time by the server's clock since it started.
    looked_at: u64,
}

/// Breaks a promise, unless it is kept.
macro_rules! promise {
    ($kept:expr, $($words:tt)+) => {
        if !$kept {
            return Err(Violation(format!($($words)+)));
        }
    };
}

impl Auditor {
    pub(super) fn new(devices: u32) -> Self {
        Self {
            books: Each::new(0, |_| Book::default()),
            seen_at: Each::new(devices, |_| 0),
            listening: Listening::default(),
            looked_at: 0,
        }
    }

    pub(super) fn open_book(&mut self) {
        self.books.push(Book::default());
    }

    /// The server listens anew.
    pub(super) fn listens_from(&mut self, now_ms: u64, away_ms: u64) {
        self.listening = Listening { since: now_ms, away_ms, seen_at: 0 };
        self.looked_at = now_ms;
        self.seen_at.iter_mut().for_each(|(_, at)| *at = 0);
    }

    /// The server looks at its clock, which may have been set back.
    pub(super) fn looks_at(&mut self, now_ms: u64) {
        self.looked_at = self.looked_at.max(now_ms);
    }

    /// Checks an effect before it is written, and books it.
    pub(super) fn book(
        &mut self,
        disk: &Disk,
        fleet: &Fleet,
        cause: Cause,
        effect: &Effect<'_>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        self.check_offers(disk, fleet, effect, now_ms)?;
        for (rollout, device, after) in &effect.deployments {
            let (rollout, number) = (cast::rollout_number(rollout), cast::number(device));
            let before = disk.deployment(rollout, number);
            promise!(
                is_legal(cause, before, after),
                "a deployment of {device} in r-{rollout} goes from {before:?} to {after:?} by {cause:?}"
            );
            let is_early = before.is_some_and(|it| it.not_before > now_ms);
            promise!(
                after.state != Step::Offered || !is_early,
                "{device} is offered r-{rollout} again too early: {before:?}"
            );
            self.books.of_mut(rollout).move_one(before, after);
        }
        effect.moved.iter().try_for_each(|moved| self.book_move(disk, moved))
    }

    /// No more devices are let in than the plan allows at this moment.
    fn check_offers(
        &mut self,
        disk: &Disk,
        fleet: &Fleet,
        effect: &Effect<'_>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        for (number, rollout) in disk.rollouts.iter() {
            let is_offer =
                |(id, _, it): &&(_, _, Deployment)| *id == rollout.id && it.state == Step::Offered;
            let offers = effect.deployments.iter().filter(is_offer).count();
            let Ok(offers @ 1..) = u64::try_from(offers) else { continue };
            promise!(rollout.state == State::Running, "an offer in r-{number}, which does not run");
            let book = self.books.of_mut(number);
            let counts = Counts::sum(&book.known);
            let overdue = Evidence::sum(&fleet.evidence(&rollout.id)).overdue;
            let allowance =
                rollout.plan.allowance(&Evidence { counts, overdue, ..Evidence::default() });
            let feared = counts.in_flight();
            promise!(
                feared + offers <= allowance,
                "r-{number}: {offers} offers with {feared} in flight, where {allowance} are allowed"
            );
            book.bytes_offered += offers * IMAGE_BYTES;
            let passed_s = now_ms.saturating_sub(rollout.started_at.unwrap_or(0)) / 1000;
            let budget = rollout.plan.bytes_per_s.map(|bytes| bytes * (passed_s + 1));
            promise!(
                budget.is_none_or(|budget| book.bytes_offered <= budget),
                "r-{number}: more bytes than the budget: {} of {budget:?}",
                book.bytes_offered
            );
        }
        Ok(())
    }

    fn book_move(&mut self, disk: &Disk, moved: &Moved) -> Result<(), Violation> {
        let after = &moved.rollout;
        let number = cast::rollout_number(&after.id);
        let before = disk.rollouts.of(number);
        let is_legal = match (before.state, &moved.action) {
            (State::Running, Action::Advance) => after.state == State::Running,
            (State::Running, Action::Finish) => after.state == State::Finished,
            (State::Running | State::Paused, Action::Halt(_)) => after.state == State::Halted,
            _ => false,
        };
        let rises = after.generation > before.generation;
        promise!(is_legal && rises, "r-{number} goes from {:?} to {:?}", before.state, after.state);
        let book = self.books.of_mut(number);
        promise!(!book.is_halted, "r-{number} goes on after it was halted");
        book.is_halted = after.state == State::Halted;
        Ok(())
    }

    /// After something was written: nobody is in two deployments, and clocks go on.
    pub(super) fn booked(&mut self, disk: &Disk, effect: &Effect<'_>) -> Result<(), Violation> {
        for (_, device, _) in &effect.deployments {
            let in_flight = disk.in_flight(cast::number(device)).count();
            promise!(in_flight <= 1, "{device} is in {in_flight} deployments at once");
        }
        for (device, sighting) in effect.sightings {
            let device = cast::number(device);
            if disk.in_flight(device).any(|(_, it)| it.state == Step::Verified) {
                *self.seen_at.of_mut(device) = sighting.at;
            }
        }
        Ok(())
    }

    /// Checks what a device was told against what it was told before, and against what is written.
    pub(super) fn told(
        &self,
        disk: &Disk,
        cast: &Cast,
        device: u32,
        (told, known): (&Told, Known),
        now_ms: u64,
    ) -> Result<Known, Violation> {
        let offer = told.decision.offer.as_ref().map(|offer| {
            (cast::rollout_number(&offer.rollout.id), cast::image_of(&offer.release.version))
        });
        let heard = Known { decided_at: told.decision.decided_at_ms, offer };
        let is_later = heard.decided_at > known.decided_at;
        let is_same = heard.decided_at == known.decided_at && heard.offer == known.offer;
        promise!(
            is_later || is_same || known.decided_at == 0,
            "d-{device} was told {known:?} and then {heard:?}: decisions are versions and must rise"
        );
        let Some((rollout, _)) = offer else { return Ok(heard) };
        let stored = disk.deployment(rollout, device);
        let is_written = stored.is_some_and(|it| it.is_in_flight());
        promise!(
            is_written,
            "d-{device} was offered r-{rollout}, and what is stored is {stored:?}"
        );
        let book = self.books.of(rollout);
        promise!(!book.is_halted, "d-{device} was offered r-{rollout}, which was halted");
        let plan = &disk.rollouts.of(rollout).plan;
        let hour = cast.hour_at(device, now_ms);
        let is_open = plan.windows.is_empty() || !(4..22).contains(&hour);
        let is_past_recall = stored.is_some_and(|it| it.is_past_recall());
        promise!(is_open || is_past_recall, "d-{device} was offered r-{rollout} at {hour} o'clock");
        Ok(heard)
    }

    /// Checks everything: the engine against the tables, and the tables against the books.
    pub(super) fn audit(
        &mut self,
        (disk, cast): (&Disk, &Cast),
        fleet: &Fleet,
        units: &Each<Unit>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        for (number, rollout) in disk.rollouts.iter() {
            self.audit_rollout((disk, cast), fleet, (number, rollout), now_ms)?;
        }
        for (device, unit) in units.iter() {
            let in_flight = disk.in_flight(device).count();
            promise!(in_flight <= 1, "d-{device} is in {in_flight} deployments at once");
            promise!(
                disk.has_heard_all(device, unit.acknowledged),
                "a report of d-{device} was acknowledged, and is not stored"
            );
            let Some(rollout) = unit.harmed_by.filter(|_| !unit.nature.lies()) else { continue };
            promise!(
                Unit::is_accounted_for(disk.deployment(rollout, device)),
                "d-{device} was harmed by r-{rollout}, and is neither feared for nor counted"
            );
        }
        Ok(())
    }

    fn audit_rollout(
        &mut self,
        (disk, cast): (&Disk, &Cast),
        fleet: &Fleet,
        (number, rollout): (u32, &Rollout),
        now_ms: u64,
    ) -> Result<(), Violation> {
        let phases = rollout.started().count();
        let changes = disk.deployments_in(number).map(|(_, it)| it.changed_at);
        let moved_at = changes.max().unwrap_or_default();
        let mut recount = vec![Evidence { moved_at, ..Evidence::default() }; phases];
        for (device, deployment) in disk.deployments_in(number) {
            let Some(phase) = recount.get_mut(usize::from(deployment.phase)) else { continue };
            phase.counts.add(deployment.state);
            let listening = Listening { seen_at: *self.seen_at.of(device), ..self.listening };
            let overdue_at = rollout.plan.overdue_at(&deployment, listening);
            phase.overdue += u64::from(overdue_at.is_some_and(|at| at <= self.looked_at));
        }
        let book = self.books.of_mut(number);
        book.known.resize(phases.max(book.known.len()), Counts::default());
        let counted: Vec<_> = recount.iter().map(|phase| phase.counts).collect();
        promise!(counted == book.known, "r-{number}: stored {counted:?}, booked {:?}", book.known);
        // Who was offered something, gave it back and is not meant any more: nobody waits for it.
        for (device, it) in disk.deployments_in(number) {
            if it.state == Step::Waiting
                && it.hop == 0
                && !is_meant(disk, rollout, device)
                && let Some(phase) = recount.get_mut(usize::from(it.phase))
            {
                phase.counts.remove(Step::Waiting);
            }
        }
        for device in 0..cast.devices() {
            if disk.deployment(number, device).is_none()
                && let Some(phase) = book.would_count(disk, cast, rollout, device)
                && let Some(phase) = recount.get_mut(usize::from(phase))
            {
                phase.counts.add(Step::Waiting);
            }
        }
        let kept = fleet.evidence(&rollout.id);
        promise!(
            kept == recount,
            "r-{number}: the engine counts {kept:?}, the auditor {recount:?}"
        );
        let shown = fleet.rollout(&rollout.id);
        promise!(
            shown.as_deref() == Some(rollout),
            "r-{number} is shown as {shown:?}, and stored as {rollout:?}"
        );
        promise!(
            !book.is_halted || matches!(rollout.state, State::Halted | State::Cancelled),
            "r-{number} was halted, and is {:?}",
            rollout.state
        );
        let decision = rollout.decide(&recount, &[], now_ms);
        promise!(
            !decision.is_some_and(|it| matches!(it.action, Action::Halt(_))),
            "r-{number} should have halted: {recount:?}"
        );
        Ok(())
    }
}

impl Book {
    fn move_one(&mut self, before: Option<Deployment>, after: &Deployment) {
        let phases = usize::from(after.phase) + 1;
        self.known.resize(phases.max(self.known.len()), Counts::default());
        if let Some(before) = before
            && let Some(phase) = self.known.get_mut(usize::from(before.phase))
        {
            phase.remove(before.state);
        }
        if let Some(phase) = self.known.get_mut(usize::from(after.phase)) {
            phase.add(after.state);
        }
    }

    /// Returns the phase in which a device counts of which nothing was heard.
    fn would_count(
        &mut self,
        disk: &Disk,
        cast: &Cast,
        rollout: &Rollout,
        device: u32,
    ) -> Option<u8> {
        let started = rollout.started().count();
        if self.ranks.0 != started {
            let phase = |device| {
                let phase = rollout.phase_of(cast.id(device), |_| false)?;
                u8::try_from(phase).ok()
            };
            self.ranks = (started, (0..cast.devices()).map(phase).collect());
        }
        let place = usize::try_from(device).ok()?;
        self.ranks.1.get(place).copied().flatten().filter(|_| is_meant(disk, rollout, device))
    }
}

/// Tells whether a rollout is for a device: the way back is for whoever has switched.
fn is_meant(disk: &Disk, rollout: &Rollout, device: u32) -> bool {
    rollout.plan.switched_by.as_ref().is_none_or(|from| {
        let deployment = disk.deployment(cast::rollout_number(from), device);
        deployment.is_some_and(|it| keeps_image(it.state))
    })
}

/// Who has the image, as far as anybody can know.
fn keeps_image(state: Step) -> bool {
    use Step::{Activated, Booted, Confirmed, Healthy, TimedOut};
    [Activated, Booted, Confirmed, Healthy, TimedOut].contains(&state)
}

/// Tells whether a deployment may go from one state to another for this reason.
fn is_legal(cause: Cause, before: Option<Deployment>, after: &Deployment) -> bool {
    use Step::{
        Activated, Booted, Confirmed, Downloading, Healthy, Offered, Skipped, TimedOut, Verified,
        Waiting,
    };
    let from = before.map_or(Waiting, |it| it.state);
    let same_phase = before.is_none_or(|it| it.phase == after.phase);
    let recallable = [Offered, Downloading, Verified].contains(&from);
    let switched = [Activated, Booted, Confirmed].contains(&from);
    let is_legal = match (cause, after.state) {
        (Cause::Polls, Offered) => from == Waiting,
        (Cause::Polls, Skipped) => from == Waiting || recallable,
        (Cause::Silence, Waiting) => recallable,
        // Put off, or to be fetched once more.
        (Cause::Report, Waiting) => recallable || [Waiting, Skipped, TimedOut].contains(&from),
        (Cause::Polls, TimedOut) => from == Healthy,
        (Cause::Silence, TimedOut) => recallable || switched,
        (Cause::Report, Offered | TimedOut) => false,
        (Cause::Report, to) => {
            let was_guess = [Skipped, TimedOut].contains(&from);
            was_guess || (!from.is_final() && to > from)
        }
        _ => false,
    };
    is_legal && same_phase
}
