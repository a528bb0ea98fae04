//! The world: one clock, one queue of events, and all that happens in a second.
//!
//! Not here: what a device does with an answer, see [`steps`]; whose polls are left out, see [`ring`].

mod ring;
mod steps;

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use waxwing_server::domain::device::zone_named;
use waxwing_server::domain::rollout::{Change, Phase, Rollout, State, window};
use waxwing_wire::report::State as Step;

use self::ring::POLL_S;
use self::steps::Happens;
use super::auditor::Violation;
use super::cast::{self, Cast, Each};
use super::device::{Life, Unit};
use super::disk::Honesty;
use super::scenario::{Nature, Planned, Scenario, Starts};
use super::server::{Accident, Losses, Server};

/// 2026-11-20, a Friday, at noon.
pub(super) const BEGINNING_MS: u64 = 1_795_176_000_000;
pub(super) const SECOND_MS: u64 = 1_000;
pub(super) const HOUR_MS: u64 = 3_600_000;
/// How often the adoption is written down, in virtual milliseconds.
const ADOPTION_MS: u64 = 15 * 60_000;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) devices: u32,
    pub(crate) seed: u64,
    /// Whether its disk lies.
    pub(crate) honesty: Honesty,
    /// How often everything is checked, in virtual seconds.
    pub(crate) audit_s: u64,
}

/// How a broken promise was found.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// Which one, in words.
    pub(crate) promise: String,
    /// After so many virtual milliseconds.
    pub(crate) after_ms: u64,
    /// What happened just then.
    pub(crate) event: String,
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// How each rollout ended.
    pub(crate) ends: Vec<State>,
    /// After so many virtual seconds.
    pub(crate) lasted_s: u64,
    /// Devices that switched and then failed, went back or vanished.
    pub(crate) harmed: u64,
    /// How often the server died.
    pub(crate) restarts: u64,
    /// Rows that were lost with it, and had to come again.
    pub(crate) lost_writes: u64,
    /// Polls and reports that the engine answered.
    pub(crate) polls: u64,
    /// Reports that the engine took in.
    pub(crate) reports: u64,
    /// Polls that were left out elsewhere, and tried for having no effect.
    pub(crate) sampled: u64,
    /// By time: seconds, and of each rollout the devices that are healthy.
    pub(crate) adoption: Vec<(u64, Vec<u64>)>,
}

/// Something that happens to a device: when, in which order, to whom, in which epoch of its life.
type Event = (u64, u64, u32, u8, Happens);

/// What happens just now.
#[derive(Clone, Copy, Debug)]
enum Doing {
    ToDevice(u32, Happens),
    Other(&'static str),
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToDevice(device, happens) => write!(f, "d-{device}: {happens:?}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    run: Run,
    cast: Cast,
    server: Server,
    units: Each<Unit>,
    /// By the second in which they happen.
    queue: BTreeMap<u64, Vec<Event>>,
    events: u64,
    ring: Each<Vec<u32>>,
    rng: Rng,
    now_ms: u64,
    crash_at: u64,
    sampled: u64,
    adoption: Vec<(u64, Vec<u64>)>,
    doing: Doing,
}

/// Runs a scenario. The same seed gives the same run again.
pub(crate) fn run(scenario: &Scenario, run: Run) -> Result<Summary, Broken> {
    let mut world = World::new(scenario, run);
    match world.live() {
        Ok(()) => Ok(world.summary()),
        Err(Violation(promise)) => {
            let after_ms = world.now_ms - BEGINNING_MS;
            Err(Broken { promise, after_ms, event: world.doing.to_string() })
        }
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, run: Run) -> Self {
        let mut rng = Rng::with_seed(run.seed);
        let cast = Cast::new(run.devices, scenario.has_windows());
        let units = Each::new(run.devices, |_| {
            let nature = nature(scenario, rng.u32(0..1000));
            Unit::new(nature, rng.bool())
        });
        let mut world = Self {
            server: Server::new(&cast, run.honesty),
            ring: Each::new(POLL_S, |_| Vec::new()),
            queue: BTreeMap::new(),
            events: 0,
            now_ms: BEGINNING_MS,
            crash_at: 0,
            sampled: 0,
            adoption: Vec::new(),
            doing: Doing::Other("the beginning"),
            scenario,
            run,
            cast,
            units,
            rng,
        };
        world.server.listen(BEGINNING_MS);
        world.populate();
        world.plan_crash();
        world
    }

    fn populate(&mut self) {
        for device in 0..self.cast.devices() {
            let nature = self.units.of(device).nature;
            if self.units.of(device).life == Life::Idle {
                self.join(device);
            }
            if matches!(nature, Nature::Nonsense | Nature::Everywhere) {
                for _ in 0..3 {
                    let at = BEGINNING_MS + self.rng.u64(0..8 * HOUR_MS);
                    self.happens(device, at, Happens::Lie);
                }
            }
        }
    }

    fn live(&mut self) -> Result<(), Violation> {
        while !self.is_over() {
            self.now_ms += SECOND_MS;
            self.second()?;
        }
        self.doing = Doing::Other("the end");
        self.server.audit(&self.cast, &self.units, self.now_ms)?;
        self.check_ends()
    }

    fn second(&mut self) -> Result<(), Violation> {
        let slow = self.scenario.slow.as_ref().filter(|(hours, _)| hours.contains(&self.hours()));
        self.server.slow_ms = slow.map_or(0, |(_, hours)| hours * HOUR_MS);
        self.doing = Doing::Other("an operator");
        if self.now_ms.is_multiple_of(HOUR_MS) {
            self.look_at_windows();
        }
        self.operate();
        self.hear_news(None)?;
        self.meet_accidents();
        while let Some(due) = self.queue.first_entry().filter(|it| *it.key() <= self.now_ms) {
            let mut due = due.remove();
            due.sort_unstable();
            for (_, _, device, epoch, happens) in due {
                self.happen(device, epoch, happens)?;
            }
        }
        self.go_round()?;
        let sample = self.sample()?;
        self.doing = Doing::Other("the jobs of the server");
        self.server.tick(&self.cast, self.now_ms)?;
        self.hear_news(sample)?;
        let passed_ms = self.now_ms - BEGINNING_MS;
        if passed_ms.is_multiple_of(self.run.audit_s * SECOND_MS) {
            self.doing = Doing::Other("the hourly audit");
            self.server.audit(&self.cast, &self.units, self.now_ms)?;
        }
        if passed_ms.is_multiple_of(ADOPTION_MS) {
            self.write_adoption_down();
        }
        Ok(())
    }

    /// Where a window has opened or closed, polls may have another effect. In all plans they do so on the
    /// hour.
    fn look_at_windows(&mut self) {
        for windows in self.scenario.windows() {
            let is_open = |zone: &str, at| window::is_open(windows, &zone_named(Some(zone)), at);
            let has_changed =
                |zone| is_open(zone, self.now_ms) != is_open(zone, self.now_ms - HOUR_MS);
            let zones: Vec<_> = Cast::zones().filter(|zone| has_changed(zone)).collect();
            let devices = 0..self.cast.devices();
            let is_there = |device: &u32| zones.contains(&self.cast.zone_of(*device));
            let there: Vec<_> = devices.filter(is_there).collect();
            for device in there {
                self.unsettle(device);
            }
        }
    }

    fn is_over(&self) -> bool {
        let rollouts = &self.server.disk.rollouts;
        let is_late = self.hours() >= self.scenario.hours_max;
        let all_started = usize::try_from(rollouts.len()) == Ok(self.scenario.rollouts.len());
        let mut states = rollouts.iter().map(|(_, rollout)| rollout.state);
        let all_ended = states.all(|state| state == State::Halted || state.is_final());
        is_late || (all_started && all_ended && self.server.is_up())
    }

    fn hours(&self) -> u64 {
        (self.now_ms - BEGINNING_MS) / HOUR_MS
    }

    fn check_ends(&self) -> Result<(), Violation> {
        let ends = self.scenario.rollouts.iter().map(|planned| planned.ends);
        for (wanted, (number, rollout)) in ends.zip(self.server.disk.rollouts.iter()) {
            if rollout.state != wanted {
                let (is, why) = (rollout.state, &rollout.reason);
                let counts = self.server.fleet().counts(&rollout.id);
                let words = format!(
                    "r-{number} should have ended {wanted}, and is {is} ({why:?}): {counts:?}"
                );
                return Err(Violation(words));
            }
        }
        Ok(())
    }

    /// Operators do what the scenario says, while the server is there.
    fn operate(&mut self) {
        if !self.server.is_up() {
            return;
        }
        let next = self.server.disk.rollouts.len();
        let planned = usize::try_from(next).ok().and_then(|it| self.scenario.rollouts.get(it));
        if let Some(planned) = planned.filter(|planned| self.starts_now(planned)) {
            self.start(next, planned);
        }
        for (hour, number, change) in &self.scenario.deeds {
            if self.now_ms == BEGINNING_MS + hour * HOUR_MS {
                self.change(*number, *change);
            }
        }
    }

    fn starts_now(&self, planned: &Planned) -> bool {
        match planned.starts {
            Starts::At(hour) => self.hours() >= hour,
            Starts::BackFrom(number) => {
                let from = self.server.disk.rollouts.of(number);
                from.state == State::Halted && self.now_ms >= from.changed_at + HOUR_MS
            }
        }
    }

    fn start(&mut self, number: u32, planned: &Planned) {
        let members = self.server.fleet().members_of(&cast::group());
        let mut rollout = draft(number, planned, self.now_ms);
        rollout.seed = std::array::from_fn(|_| self.rng.u8(..));
        self.server.put_rollout(rollout.clone(), self.now_ms);
        let at = self.server.fleet().stamp(self.now_ms);
        let started = rollout.start(members.iter(), at);
        debug_assert!(started.is_ok(), "it was a draft");
        self.server.put_rollout(rollout, self.now_ms);
    }

    fn change(&mut self, number: u32, change: Change) {
        let mut rollout = self.server.disk.rollouts.of(number).clone();
        let at = self.server.fleet().stamp(self.now_ms);
        if rollout.change(change, at).is_ok() {
            self.server.put_rollout(rollout, self.now_ms);
        }
    }

    fn meet_accidents(&mut self) {
        if !self.server.is_up() {
            return;
        }
        if self.now_ms >= self.crash_at {
            let dies = [Accident::DiesBefore, Accident::DiesAfter];
            self.server.accident = dies.get(self.rng.usize(0..2)).copied();
            self.plan_crash();
        } else if self.rng.u32(0..1000) < self.scenario.disk_full_permille {
            self.server.accident = Some(Accident::DiskFull);
        }
    }

    /// Once in each span, at a time that nobody can foresee.
    fn plan_crash(&mut self) {
        let span_ms = self.scenario.crash_every_h * HOUR_MS;
        let spans = (self.now_ms - BEGINNING_MS) / span_ms + u64::from(self.crash_at > 0);
        self.crash_at = BEGINNING_MS + spans * span_ms + self.rng.u64(0..span_ms) + 1;
    }

    fn write_adoption_down(&mut self) {
        let rollouts = self.server.disk.rollouts.iter();
        let healthy = rollouts.map(|(_, rollout)| {
            let counts = self.server.fleet().counts(&rollout.id);
            counts.iter().map(|phase| phase.of(Step::Healthy)).sum()
        });
        let seconds = (self.now_ms - BEGINNING_MS) / SECOND_MS;
        let healthy = healthy.collect();
        self.adoption.push((seconds, healthy));
    }

    fn summary(mut self) -> Summary {
        self.write_adoption_down();
        let harmed = self.units.iter().filter(|(_, unit)| unit.harmed_by.is_some()).count();
        let Losses { restarts, writes } = self.server.losses;
        Summary {
            ends: self.server.disk.rollouts.iter().map(|(_, rollout)| rollout.state).collect(),
            lasted_s: (self.now_ms - BEGINNING_MS) / SECOND_MS,
            harmed: u64::try_from(harmed).unwrap_or(u64::MAX),
            restarts,
            lost_writes: writes,
            polls: self.server.polls,
            reports: self.server.reports,
            sampled: self.sampled,
            adoption: self.adoption,
        }
    }
}

/// Returns how a device behaves, by its place among a thousand.
fn nature(scenario: &Scenario, mut place: u32) -> Nature {
    for (nature, permille) in &scenario.crowd {
        if place < *permille {
            return *nature;
        }
        place -= permille;
    }
    Nature::Ordinary
}

fn draft(number: u32, planned: &Planned, now_ms: u64) -> Rollout {
    Rollout {
        id: cast::rollout_id(number),
        product: cast::product(),
        channel: cast::channel(),
        version: cast::version(planned.image),
        group: cast::group(),
        phases: vec![Phase::default(); planned.plan.phases.len()],
        plan: planned.plan.clone(),
        seed: [0; 32],
        state: State::Draft,
        reason: None,
        created_by: "admin:simulation".to_owned(),
        created_at: now_ms,
        started_at: None,
        finished_at: None,
        changed_at: now_ms,
        extended_s: 0,
        generation: 0,
    }
}
