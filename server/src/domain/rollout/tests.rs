//! The state machine against a small reference model: random fleets, random events.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use proptest::prelude::*;
use waxwing_wire::report;

use super::gate::Failures;
use super::*;

pub(crate) fn device(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

pub(crate) fn plan(percents: &[u8]) -> Plan {
    let phase = |percent: &u8| PhasePlan { size: Size::Percent(*percent), gate: Gate::default() };
    Plan { phases: percents.iter().map(phase).collect(), ..Plan::default() }
}

pub(crate) fn rollout(id: &str, percents: &[u8]) -> Rollout {
    Rollout {
        id: RolloutId::parse(id).unwrap(),
        product: ProductId::parse("th1").unwrap(),
        channel: Channel::parse("stable").unwrap(),
        version: Version::new(1, 1, 0),
        group: GroupId::parse("all").unwrap(),
        plan: plan(percents),
        seed: [3; 32],
        state: State::Draft,
        reason: None,
        phases: vec![Phase::default(); percents.len()],
        created_by: "admin:ada".to_owned(),
        created_at: 1,
        started_at: None,
        finished_at: None,
        changed_at: 1,
        extended_s: 0,
        generation: 0,
    }
}

/// Ends a rollout, as evidence would.
pub(crate) fn finish(rollout: &mut Rollout, now_ms: u64) {
    let decision = Decision { generation: rollout.generation, action: Action::Finish };
    rollout.carry_out(decision, iter::empty(), now_ms).unwrap();
}

/// Halts a rollout, as evidence would.
pub(crate) fn halt(rollout: &mut Rollout, now_ms: u64) {
    let allowed = rollout.plan.phases[0].gate.failures_max();
    let failures = Failures { phase: Some(0), failed: 3, tried: 3, allowed };
    let reason = Reason::Failures(failures);
    let decision = Decision { generation: rollout.generation, action: Action::Halt(reason) };
    rollout.carry_out(decision, iter::empty(), now_ms).unwrap();
}

fn nowhere(_: &GroupId) -> bool {
    false
}

/// Every change in every state, so that a new one has to be thought about.
#[test]
fn operators_can_do_what_the_picture_shows() {
    let allowed: Vec<_> = State::ALL
        .iter()
        .flat_map(|state| Change::ALL.iter().map(move |change| (*state, *change)))
        .filter_map(|(from, change)| {
            let to = from.on_change(change).ok()?;
            Some(format!("{from} {change} {to}"))
        })
        .collect();
    let expected = [
        "draft cancel cancelled",
        "draft extend draft",
        "draft start running",
        "running cancel cancelled",
        "running extend running",
        "running pause paused",
        "paused cancel cancelled",
        "paused extend paused",
        "paused resume running",
        "halted cancel cancelled",
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn an_illegal_change_changes_nothing() {
    let mut rollout = rollout("r", &[100]);
    let before = rollout.clone();
    let error = rollout.change(Change::Pause, 9).unwrap_err();
    assert_eq!(error.to_string(), "cannot pause a rollout that is draft");
    assert_eq!(rollout, before);
}

#[test]
fn a_phase_is_the_first_share_in_the_order_of_ranks_rounded_up() {
    for (percent, devices, expected) in
        [(10, 20, 2), (10, 1, 1), (1, 5, 1), (33, 10, 4), (50, 3, 2), (99, 3, 3), (100, 7, 7)]
    {
        let all: Vec<_> = (0..devices).map(device).collect();
        let mut rollout = rollout("r", &[percent, 100]);
        rollout.start(all.iter(), 5).unwrap();
        let members = all.iter().filter(|d| rollout.phase_of(d, nowhere) == Some(0)).count();
        assert_eq!(members, expected, "{percent}% of {devices}");
    }
}

#[test]
fn a_later_joiner_is_compared_with_the_cutoff_and_moves_nobody() {
    let all: Vec<_> = (0..100).map(device).collect();
    let mut rollout = rollout("r", &[10, 100]);
    rollout.start(all.iter(), 5).unwrap();
    let members =
        |n: std::ops::Range<u32>| n.map(device).filter(|d| rollout.phase_of(d, nowhere).is_some());
    assert_eq!(members(0..100).count(), 10);
    let joined = members(100..1100).count();
    assert!((50..200).contains(&joined), "about one in ten, not {joined}");
}

#[test]
fn another_seed_gives_another_order() {
    assert_ne!(rank(&[1; 32], &device(1)), rank(&[2; 32], &device(1)));
}

#[test]
fn a_phase_of_a_number_or_of_another_group_reaches_just_these() {
    let all: Vec<_> = (0..100).map(device).collect();
    let mut rollout = rollout("r", &[100, 100, 100]);
    rollout.plan.phases[0].size = Size::Group(GroupId::parse("canaries").unwrap());
    rollout.plan.phases[1].size = Size::Count(7);
    rollout.start(all.iter(), 5).unwrap();
    let canaries = |group: &GroupId| group.as_str() == "canaries";
    assert_eq!(rollout.phase_of(&all[0], canaries), Some(0));
    assert_eq!(rollout.phase_of(&all[0], nowhere), None);
    rollout.start_next_phase(all.iter(), 6);
    let reached = all.iter().filter(|it| rollout.phase_of(it, nowhere) == Some(1)).count();
    assert_eq!(reached, 7);
}

#[test]
fn a_decision_that_something_happened_after_is_never_carried_out() {
    let all: Vec<_> = (0..3).map(device).collect();
    let mut rollout = rollout("r", &[50, 100]);
    rollout.start(all.iter(), 5).unwrap();
    let mut evidence = Evidence::default();
    evidence.counts.add_many(report::State::Healthy, 2);
    let decision = rollout.decide(&[evidence], &[], 6).unwrap();
    assert_eq!(decision.action, Action::Advance);
    rollout.change(Change::Pause, 7).unwrap();
    rollout.change(Change::Resume, 8).unwrap();
    let before = rollout.clone();
    assert_eq!(rollout.carry_out(decision, all.iter(), 9), Err(Stale));
    assert_eq!(rollout, before);
    let anew = rollout.decide(&[evidence], &[], 9).unwrap();
    rollout.carry_out(anew.clone(), all.iter(), 9).unwrap();
    assert!(rollout.is_in_last_phase());
    assert_eq!(rollout.carry_out(anew, all.iter(), 9), Err(Stale), "never twice");
}

#[test]
fn a_phase_that_asks_for_it_waits_for_somebody_elses_approval() {
    let all: Vec<_> = (0..4).map(device).collect();
    let mut rollout = rollout("r", &[50, 100]);
    rollout.plan.phases[0].gate.approval = true;
    rollout.start(all.iter(), 5).unwrap();
    let mut evidence = Evidence::default();
    evidence.counts.add_many(report::State::Waiting, 2);
    assert!(!rollout.awaits_approval(&[evidence]), "there is nothing to approve yet");
    evidence.counts = Counts::default();
    evidence.counts.add_many(report::State::Healthy, 2);
    let asked = rollout.decide(&[evidence], &[], 6).unwrap();
    assert_eq!(asked.action, Action::AskApproval);
    rollout.carry_out(asked, all.iter(), 6).unwrap();
    assert_eq!(rollout.decide(&[evidence], &[], 7), None, "asked once");
    assert!(rollout.awaits_approval(&[evidence]));
    assert_eq!(rollout.approve("admin:ada", 7), Err(NoApproval::SamePerson));
    assert_eq!(rollout.decide(&[evidence], &[], 8), None);
    rollout.approve("admin:bo", 9).unwrap();
    assert_eq!(rollout.approve("admin:cy", 9), Err(NoApproval::NotAsked));
    let decision = rollout.decide(&[evidence], &[], 10).unwrap();
    assert_eq!(decision.action, Action::Advance);
}

#[test]
fn only_what_goes_on_can_be_approved() {
    let asking = |percents: &[u8]| {
        let mut rollout = rollout("r", percents);
        rollout.plan.phases.iter_mut().for_each(|phase| phase.gate.approval = true);
        rollout.start([device(0), device(1)].iter(), 5).unwrap();
        rollout
    };
    let mut halted = asking(&[50, 100]);
    halt(&mut halted, 6);
    let mut cancelled = asking(&[50, 100]);
    cancelled.change(Change::Cancel, 6).unwrap();
    for mut over in [halted, cancelled, asking(&[100])] {
        assert_eq!(over.approve("admin:bo", 9), Err(NoApproval::NotAsked), "{}", over.state);
    }
    let mut paused = asking(&[50, 100]);
    paused.change(Change::Pause, 6).unwrap();
    assert_eq!(paused.approve("admin:bo", 9), Ok(()));
}

#[test]
fn a_phase_that_cannot_be_passed_halts_unless_it_is_the_last() {
    let all: Vec<_> = (0..400).map(device).collect();
    let mut evidence = Evidence::default();
    evidence.counts.add_many(report::State::Failed, 2);
    evidence.counts.add_many(report::State::Healthy, 198);
    let decided = |percents: &[u8]| {
        let mut rollout = rollout("r", percents);
        rollout.start(all.iter(), 5).unwrap();
        rollout.decide(&[evidence], &[], 6).map(|decision| decision.action)
    };
    assert!(matches!(decided(&[50, 100]), Some(Action::Halt(Reason::Hopeless(_)))));
    assert_eq!(decided(&[100]), Some(Action::Finish));
}

#[test]
fn patience_begins_when_the_plan_lets_devices_begin() {
    let mut rollout = rollout("r", &[100]);
    let waiting_ms = u64::from(rollout.plan.timeouts.waiting_s) * 1000;
    rollout.plan.not_before = Some(2 * waiting_ms);
    rollout.start([device(0)].iter(), 1).unwrap();
    let mut evidence = Evidence::default();
    evidence.counts.add(report::State::Waiting);
    let decided = |now_ms| rollout.decide(&[evidence], &[], now_ms).map(|it| it.action);
    assert_eq!(decided(3 * waiting_ms - 1), None);
    assert_eq!(decided(3 * waiting_ms), Some(Action::Finish));
}

#[test]
fn the_last_phase_waits_for_silent_devices_as_long_as_the_plan_says() {
    let mut rollout = rollout("r", &[100]);
    rollout.start([device(0)].iter(), 0).unwrap();
    let patience_ms = u64::from(rollout.plan.timeouts.waiting_s) * 1000;
    let evidence = |state| {
        let mut evidence = Evidence::default();
        evidence.counts.add_many(report::State::Healthy, 200);
        evidence.counts.add(state);
        [evidence]
    };
    let silent = evidence(report::State::Waiting);
    assert_eq!(rollout.decide(&silent, &[], patience_ms - 1), None);
    let end = rollout.decide(&silent, &[], patience_ms).unwrap();
    assert_eq!(end.action, Action::Finish);
    assert_eq!(rollout.decide(&evidence(report::State::Booted), &[], patience_ms), None);
    assert!(rollout.decide(&evidence(report::State::Failed), &[], 1).is_some(), "all have ended");
}

#[test]
fn devices_that_still_come_and_time_in_which_nothing_was_offered_use_up_no_patience() {
    let mut rollout = rollout("r", &[100]);
    rollout.start([device(0)].iter(), 0).unwrap();
    let patience_ms = u64::from(rollout.plan.timeouts.waiting_s) * 1000;
    let mut evidence = Evidence::default();
    evidence.counts.add_many(report::State::Waiting, 200);
    evidence.moved_at = patience_ms / 2;
    let ends = |rollout: &Rollout, now_ms| rollout.decide(&[evidence], &[], now_ms).is_some();
    let last_came_ms = patience_ms / 2;
    assert!(!ends(&rollout, last_came_ms + patience_ms - 1));
    assert!(ends(&rollout, last_came_ms + patience_ms));
    rollout.change(Change::Pause, patience_ms).unwrap();
    let resumed_ms = 3 * patience_ms;
    rollout.change(Change::Resume, resumed_ms).unwrap();
    assert!(!ends(&rollout, resumed_ms + patience_ms - 1));
    assert!(ends(&rollout, resumed_ms + patience_ms));
}

#[test]
fn silent_devices_are_waited_for_longer_if_operators_say_so_or_users_may_take_days() {
    const DAY_S: u64 = 24 * 3600;
    let patience_s = |change: &dyn Fn(&mut Rollout)| {
        let mut rollout = rollout("r", &[100]);
        rollout.start([device(0)].iter(), 0).unwrap();
        change(&mut rollout);
        let mut evidence = Evidence::default();
        evidence.counts.add(report::State::Healthy);
        evidence.counts.add(report::State::Waiting);
        let ends = |s: u64| rollout.decide(&[evidence], &[], s * 1000).is_some();
        let usual_s = u64::from(rollout.plan.timeouts.waiting_s);
        (0..5).map(|day| day * DAY_S).find(|more_s| ends(usual_s + more_s))
    };
    assert_eq!(patience_s(&|_| {}), Some(0));
    assert_eq!(patience_s(&|it| it.extend(2 * 24 * 3600).unwrap()), Some(2 * DAY_S));
    let three_times = Urgency::Deferrable { times: 3, until: None };
    assert_eq!(patience_s(&|it| it.plan.urgency = three_times), Some(3 * DAY_S));
    assert_eq!(patience_s(&|it| it.plan.open_ended = true), None);
}

#[test]
fn rules_about_telemetry_share_the_error_of_all_bounds() {
    let all = bounds::Outcomes { broken: 5, well: 0 };
    let none = bounds::Outcomes { broken: 0, well: 60 };
    let halts = |rules: usize| {
        let mut rollout = rollout("r", &[100]);
        let rule = r#"{"metric": "m", "ails": {"above": 1}}"#;
        rollout.plan.health = vec![serde_json::from_str(rule).unwrap(); rules];
        rollout.start([device(0)].iter(), 0).unwrap();
        let seen = vec![health::Comparison { with: all, without: none }; rules];
        let mut evidence = Evidence::default();
        evidence.counts.add_many(report::State::Waiting, 200);
        rollout.decide(&[evidence], &seen, 1).is_some()
    };
    assert_eq!((halts(1), halts(8)), (true, false));
}

/// What can happen to a fleet in a rollout.
#[derive(Clone, Debug)]
enum Event {
    Change(Change),
    Report(u32, report::State),
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    use report::State::{Booted, Downloading, Failed, Healthy, RolledBack};
    let states = prop::sample::select(vec![Downloading, Booted, Healthy, Failed, RolledBack]);
    let changes = prop::sample::select(Change::ALL);
    prop_oneof![
        1 => changes.prop_map(Event::Change),
        4 => (0..30_u32, prop_oneof![3 => Just(Healthy), 1 => states])
            .prop_map(|(device, state)| Event::Report(device, state)),
        2 => Just(Event::Tick),
    ]
}

/// The rollout as it is driven by the server.
struct Driven {
    rollout: Rollout,
    devices: Vec<DeviceId>,
    states: BTreeMap<DeviceId, report::State>,
    now_ms: u64,
}

impl Driven {
    fn evidence(&self) -> Vec<Evidence> {
        let mut phases = vec![Evidence::default(); self.rollout.started().count()];
        for device in &self.devices {
            let Some(phase) = self.rollout.phase_of(device, nowhere) else { continue };
            let state = self.states.get(device).copied().unwrap_or(report::State::Waiting);
            phases[phase].counts.add(state);
        }
        phases
    }

    fn on(&mut self, event: &Event) {
        self.now_ms += 1;
        match event {
            Event::Change(Change::Start) => {
                let _ = self.rollout.start(self.devices.iter(), self.now_ms);
            }
            Event::Change(change) => drop(self.rollout.change(*change, self.now_ms)),
            Event::Report(device_no, state) => self.report(&device(*device_no), *state),
            Event::Tick => self.tick(),
        }
    }

    /// Only devices that a phase has reached can report.
    fn report(&mut self, device: &DeviceId, state: report::State) {
        if !self.devices.contains(device) || self.rollout.phase_of(device, nowhere).is_none() {
            return;
        }
        let current = self.states.entry(device.clone()).or_insert(report::State::Waiting);
        if !current.is_final() && state > *current {
            *current = state;
        }
    }

    fn tick(&mut self) {
        if let Some(decision) = self.rollout.decide(&self.evidence(), &[], self.now_ms) {
            self.rollout.carry_out(decision, self.devices.iter(), self.now_ms).unwrap();
        }
    }
}

/// The same in other words: sets of devices, no counters, no cut-offs, no statistics.
struct Model {
    order: Vec<DeviceId>,
    sizes: Vec<usize>,
    started: usize,
    state: State,
    healthy: BTreeSet<DeviceId>,
    bad: BTreeSet<DeviceId>,
}

impl Model {
    fn phase(&self, n: usize) -> &[DeviceId] {
        let from = if n == 0 { 0 } else { self.sizes[n - 1] };
        &self.order[from..self.sizes[n]]
    }

    fn on(&mut self, event: &Event) {
        match event {
            Event::Change(change) => self.change(*change),
            Event::Report(device_no, state) => self.report(&device(*device_no), *state),
            Event::Tick => self.tick(),
        }
    }

    fn change(&mut self, change: Change) {
        self.state = match (change, self.state) {
            (Change::Start, State::Draft) => {
                self.started = 1;
                State::Running
            }
            (Change::Resume, State::Paused) => State::Running,
            (Change::Pause, State::Running) => State::Paused,
            (Change::Cancel, State::Finished) => State::Finished,
            (Change::Cancel, _) => State::Cancelled,
            (_, same) => same,
        };
    }

    fn report(&mut self, device: &DeviceId, state: report::State) {
        let reached = (0..self.started).any(|n| self.phase(n).contains(device));
        if !reached || self.healthy.contains(device) || self.bad.contains(device) {
            return;
        }
        match state {
            report::State::Healthy => drop(self.healthy.insert(device.clone())),
            report::State::Failed | report::State::RolledBack => {
                self.bad.insert(device.clone());
            }
            report::State::Waiting
            | report::State::Offered
            | report::State::Downloading
            | report::State::Verified
            | report::State::Activated
            | report::State::Booted
            | report::State::Confirmed
            | report::State::TimedOut
            | report::State::Skipped => {}
        }
    }

    fn tick(&mut self) {
        if !matches!(self.state, State::Running | State::Paused) {
            return;
        }
        // All phases of so small a fleet are too small for a bound (D28).
        if !self.bad.is_empty() {
            self.state = State::Halted;
        } else if self.state == State::Running {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        let current = self.phase(self.started - 1);
        if self.started < self.sizes.len() {
            let enough = current.iter().all(|device| self.healthy.contains(device));
            self.started += usize::from(enough);
        } else if self.healthy.len() + self.bad.len() == self.order.len() {
            self.state = State::Finished;
        }
    }
}

proptest! {
    #[test]
    fn the_state_machine_agrees_with_the_reference_model(
        fleet in 1..30_u32,
        first in 1..50_u8,
        events in prop::collection::vec(event(), 0..120),
    ) {
        let devices: Vec<_> = (0..fleet).map(device).collect();
        let rollout = rollout("r", &[first, 60, 100]);
        let mut order = devices.clone();
        order.sort_by_key(|device| rank(&rollout.seed, device));
        let share = |percent: u8| (devices.len() * usize::from(percent)).div_ceil(100).max(1);
        let sizes = vec![share(first), share(60), devices.len()];
        let mut driven = Driven { rollout, devices, states: BTreeMap::new(), now_ms: 10 };
        let mut model = Model {
            order, sizes, started: 0, state: State::Draft,
            healthy: BTreeSet::new(), bad: BTreeSet::new(),
        };
        for event in [Event::Change(Change::Start)].iter().chain(&events) {
            let halted = driven.rollout.state == State::Halted;
            driven.on(event);
            model.on(event);
            prop_assert_eq!(driven.rollout.state, model.state, "after {:?}", event);
            prop_assert_eq!(driven.rollout.started().count(), model.started, "after {:?}", event);
            let running = driven.rollout.state == State::Running;
            prop_assert!(!(halted && running), "a halt is never undone");
        }
    }
}
