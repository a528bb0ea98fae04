//! Operating characteristics: what a plan does to a large fleet, over many seeds.
//!
//! The rollout, its plan, its evidence and every decision are those of the server; only the devices
//! are modelled, and of a device only what the decisions look at: when it is let in, and when it is
//! heard of how it ended. Not here: offers, restarts, several rollouts; that is the simulation of whole fleets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter;

use fastrand::Rng;
use semver::Version;
use serde::Serialize;
use waxwing_server::domain::Deployment;
use waxwing_server::domain::rollout::patience::Listening;
use waxwing_server::domain::rollout::{
    Action, Change, Counts, Evidence, Phase, Plan, Rollout, State as RolloutState,
};
use waxwing_wire::report::State;
use waxwing_wire::{Channel, GroupId, ProductId, RolloutId};

/// How often the server looks at everything, in virtual milliseconds. The real one does so each
/// second; this is slower, so nothing here is faster than it would be.
const TICK_MS: u64 = 10_000;
/// How often devices poll, in virtual milliseconds.
const POLL_MS: u64 = 15 * 60_000;
/// A device that is about to be offered a release asks again after its shortest wait.
const ASKS_AGAIN_MS: u64 = 60_000;
/// A download takes a minute to ten.
const DOWNLOAD_MS: std::ops::Range<u64> = 60_000..600_000;
/// From the switch to the end of the self-test.
const SELF_TEST_MS: u64 = 90_000;
/// After this a rollout that has not ended is given up on; the longest patience of the default plan
/// is two weeks.
const LONGEST_MS: u64 = 60 * 24 * 3_600_000;

/// What is tried.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// How many devices.
    pub(crate) devices: u64,
    /// The share of devices that the release breaks, from 0 to 1: a third fails its self-test, a third
    /// crashes in the soak, a third falls silent.
    pub(crate) broken: f64,
    /// The plan.
    pub(crate) plan: Plan,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The rollout stopped itself.
    Halted,
    /// Everybody came to an end.
    Finished,
    /// Neither within two months.
    Unended,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// Devices that switched to the image and then failed, went back or vanished.
    pub(crate) harmed: u64,
    /// Devices that became healthy.
    pub(crate) healthy: u64,
    /// How long it took, in virtual seconds.
    pub(crate) lasted_s: u64,
    /// When nine in ten devices were healthy, in virtual seconds.
    pub(crate) nine_in_ten_s: Option<u64>,
}

/// What becomes of a device that is let in.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Healthy,
    FailsSelfTest,
    CrashesInSoak,
    FallsSilent,
}

/// Something is heard of a device, or the server notices that nothing is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    /// It switches to the image, if it is still offered it, and is harmed by that.
    Switches,
    /// It is heard that it switched.
    Tries,
    Reports(Heard),
    IsOverdue,
    TimesOut(Heard),
}

/// How far a device is known to be; a deployment state with an order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Heard {
    Activated,
    Verified,
    Healthy,
    RolledBack,
}

struct Run<'a> {
    trial: &'a Trial,
    rng: Rng,
    rollout: Rollout,
    evidence: Evidence,
    /// By time, in virtual milliseconds, with the fate of the device.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events_made: u64,
    /// Devices that poll and have not been let in.
    waiting: u64,
    harmed: u64,
    now_ms: u64,
    nine_in_ten_at: Option<u64>,
}

/// Runs a trial with a seed. The same seed gives the same outcome.
pub(crate) fn run(trial: &Trial, seed: u64) -> Outcome {
    let mut run = Run::new(trial, seed);
    while run.rollout.state == RolloutState::Running && run.now_ms < LONGEST_MS {
        run.tick();
    }
    let end = match run.rollout.state {
        RolloutState::Halted => End::Halted,
        RolloutState::Finished => End::Finished,
        RolloutState::Draft
        | RolloutState::Running
        | RolloutState::Paused
        | RolloutState::Cancelled => End::Unended,
    };
    Outcome {
        end,
        harmed: run.harmed,
        healthy: run.evidence.counts.of(State::Healthy),
        lasted_s: run.now_ms / 1000,
        nine_in_ten_s: run.nine_in_ten_at.map(|at| at / 1000),
    }
}

impl<'a> Run<'a> {
    fn new(trial: &'a Trial, seed: u64) -> Self {
        let mut evidence = Evidence::default();
        evidence.counts.add_many(State::Waiting, trial.devices);
        Self {
            trial,
            rng: Rng::with_seed(seed),
            rollout: started(trial.plan.clone()),
            evidence,
            events: BinaryHeap::new(),
            events_made: 0,
            waiting: trial.devices,
            harmed: 0,
            now_ms: 0,
            nine_in_ten_at: None,
        }
    }

    /// Lets time go on: what is heard by then is taken in, then devices are let in.
    fn tick(&mut self) {
        self.now_ms = self.next_tick();
        while let Some(Reverse((at, _, event))) = self.events.peek().copied()
            && at <= self.now_ms
            && self.rollout.state == RolloutState::Running
        {
            self.events.pop();
            self.take_in(at, event);
        }
        self.decide(self.now_ms);
        self.let_in();
    }

    /// Nothing happens while nobody can be let in and nothing is heard: that time is skipped.
    fn next_tick(&self) -> u64 {
        let next = self.now_ms + TICK_MS;
        let is_idle = self.waiting == 0 || self.trial.plan.places(&self.evidence) == 0;
        let event = self.events.peek().map(|Reverse((at, ..))| *at);
        match event {
            Some(at) if is_idle => next.max(at.next_multiple_of(TICK_MS)),
            None if is_idle => next + 24 * 3_600_000,
            Some(_) | None => next,
        }
    }

    fn take_in(&mut self, at: u64, event: Event) {
        match event {
            Event::Switches => self.harmed += 1,
            Event::Tries => self.move_one(State::Offered, State::Activated),
            Event::Reports(heard @ (Heard::Activated | Heard::Verified)) => {
                self.move_one(State::Offered, heard.state());
                self.watch(at, heard);
            }
            Event::Reports(heard @ (Heard::Healthy | Heard::RolledBack)) => {
                self.move_one(State::Activated, heard.state());
                self.decide(at);
            }
            Event::IsOverdue => self.evidence.overdue += 1,
            Event::TimesOut(heard) => {
                self.evidence.overdue -= 1;
                self.move_one(heard.state(), State::TimedOut);
            }
        }
        let healthy = self.evidence.counts.of(State::Healthy);
        if self.nine_in_ten_at.is_none() && healthy * 10 >= self.trial.devices * 9 {
            self.nine_in_ten_at = Some(at);
        }
    }

    /// Sets the alarms of a device that will not be heard of again.
    fn watch(&mut self, at: u64, heard: Heard) {
        let deployment =
            Deployment { state: heard.state(), changed_at: at, ..Deployment::waiting() };
        let always = Listening::default();
        if let Some(overdue_at) = self.trial.plan.overdue_at(&deployment, always) {
            self.push(overdue_at, Event::IsOverdue);
        }
        if let Some(times_out_at) = self.trial.plan.times_out_at(&deployment, always) {
            self.push(times_out_at, Event::TimesOut(heard));
        }
    }

    fn let_in(&mut self) {
        let places = self.trial.plan.places(&self.evidence);
        // Those who poll in this tick, at least as often as one in so many ticks.
        let polls = self.waiting * TICK_MS;
        let more = u64::from(self.rng.u64(0..POLL_MS) < polls % POLL_MS);
        let let_in = places.min(polls / POLL_MS + more).min(self.waiting);
        for _ in 0..let_in {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.waiting -= 1;
        self.move_one(State::Waiting, State::Offered);
        let soak_ms = self.trial.plan.phases.first().map_or(0, |phase| phase.gate.soak_s);
        let soak_ms = u64::from(soak_ms) * 1000;
        let switches = self.now_ms + ASKS_AGAIN_MS + self.rng.u64(DOWNLOAD_MS);
        // Over MQTT at once, or with the next poll.
        let word = if self.rng.bool() { self.rng.u64(0..5_000) } else { self.rng.u64(0..POLL_MS) };
        let tested = switches + SELF_TEST_MS;
        // The poll of the self-test says so at the latest, if that is passed.
        let known = tested.min(switches + word);
        match self.fate() {
            Fate::Healthy => {
                self.push(known, Event::Tries);
                self.push(tested + soak_ms + word, Event::Reports(Heard::Healthy));
            }
            Fate::FailsSelfTest => {
                self.push(switches, Event::Switches);
                self.push(switches + word, Event::Tries);
                self.push(tested + word, Event::Reports(Heard::RolledBack));
            }
            Fate::CrashesInSoak => {
                self.push(switches, Event::Switches);
                self.push(known, Event::Tries);
                let back = tested + self.rng.u64(0..soak_ms.max(1)) + SELF_TEST_MS;
                self.push(back + word, Event::Reports(Heard::RolledBack));
            }
            Fate::FallsSilent => self.fall_silent(switches),
        }
    }

    /// Half of those that fall silent are heard of when they switch; of the others the last word is that
    /// they have the image, in the poll before (D17).
    fn fall_silent(&mut self, switches: u64) {
        self.push(switches, Event::Switches);
        let last = if self.rng.bool() { Heard::Activated } else { Heard::Verified };
        self.push(switches, Event::Reports(last));
    }

    fn fate(&mut self) -> Fate {
        if self.rng.f64() >= self.trial.broken {
            return Fate::Healthy;
        }
        match self.rng.u8(0..3) {
            0 => Fate::FailsSelfTest,
            1 => Fate::CrashesInSoak,
            _ => Fate::FallsSilent,
        }
    }

    fn decide(&mut self, now_ms: u64) {
        let decision = self.rollout.decide(&[self.evidence], &[], now_ms);
        let Some(decision) = decision else { return };
        let is_step = decision.action != Action::Advance;
        let done = self.rollout.carry_out(decision, iter::empty(), now_ms);
        debug_assert!(is_step && done.is_ok(), "one phase, and nobody else decides");
    }

    fn move_one(&mut self, from: State, to: State) {
        let counts: &mut Counts = &mut self.evidence.counts;
        counts.remove(from);
        counts.add(to);
    }

    fn push(&mut self, at: u64, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((at, self.events_made, event)));
    }
}

impl Heard {
    const fn state(self) -> State {
        match self {
            Self::Activated => State::Activated,
            Self::Verified => State::Verified,
            Self::Healthy => State::Healthy,
            Self::RolledBack => State::RolledBack,
        }
    }
}

/// Returns a rollout that has just started.
fn started(plan: Plan) -> Rollout {
    let name = |text: &str| text.to_owned();
    let mut rollout = Rollout {
        id: RolloutId::parse("r-1").expect("is a name"),
        product: ProductId::parse("th1").expect("is a name"),
        channel: Channel::parse("stable").expect("is a name"),
        version: Version::new(2, 0, 0),
        group: GroupId::parse("all").expect("is a name"),
        phases: vec![Phase::default(); plan.phases.len()],
        plan,
        seed: [0; 32],
        state: RolloutState::Draft,
        reason: None,
        created_by: name("admin:simulation"),
        created_at: 0,
        started_at: None,
        finished_at: None,
        changed_at: 0,
        extended_s: 0,
        generation: 0,
    };
    rollout.start(iter::empty(), 0).expect("a draft can be started");
    debug_assert!(rollout.state.on_change(Change::Pause).is_ok());
    rollout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(broken: f64) -> Trial {
        Trial { devices: 10_000, broken, plan: Plan::default() }
    }

    #[test]
    fn a_seed_gives_the_same_outcome_again() {
        let [one, again] = [run(&trial(0.05), 7), run(&trial(0.05), 7)];
        assert_eq!(format!("{one:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_release_that_breaks_a_fifth_of_the_devices_is_halted_with_fewer_than_thirty_harmed() {
        for seed in 0..40 {
            let outcome = run(&trial(0.2), seed);
            assert_eq!(outcome.end, End::Halted, "seed {seed}: {outcome:?}");
            assert!(outcome.harmed < 30, "seed {seed}: {outcome:?}");
        }
    }

    /// Of two hundred that are let in at once more than three break, and are heard of first.
    #[test]
    fn a_good_enough_release_is_not_halted_for_what_is_heard_first() {
        let plan = Plan { risk: 200, ..Plan::default() };
        let trial = Trial { devices: 600, broken: 0.02, plan };
        let halted = (0..20).filter(|seed| run(&trial, *seed).end == End::Halted).count();
        assert_eq!(halted, 0);
    }

    #[test]
    fn a_good_release_reaches_everybody_within_a_day() {
        let outcome = run(&trial(0.0), 1);
        assert_eq!((outcome.end, outcome.healthy), (End::Finished, 10_000));
        assert!(outcome.lasted_s < 24 * 3600, "{outcome:?}");
    }
}
