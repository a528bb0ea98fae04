//! The state machine against a small reference model: random fleets, random events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use waxwing_wire::report;

use super::*;

pub(crate) fn device(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

pub(crate) fn rollout(id: &str, percents: &[u8]) -> Rollout {
    Rollout {
        id: RolloutId::parse(id).unwrap(),
        product: ProductId::parse("th1").unwrap(),
        channel: Channel::parse("stable").unwrap(),
        version: Version::new(1, 1, 0),
        group: GroupId::parse("all").unwrap(),
        gate: Gate::default(),
        soak_s: 60,
        seed: [3; 32],
        state: State::Draft,
        reason: None,
        phases: percents.iter().map(|&percent| Phase { percent, started: None }).collect(),
        created_at: 1,
        started_at: None,
        finished_at: None,
        changed_at: 1,
    }
}

pub(crate) fn reason() -> Reason {
    Reason { phase: 0, failed: 1, allowed: 0, members: 2 }
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
        "draft start running",
        "running cancel cancelled",
        "running pause paused",
        "paused cancel cancelled",
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
        let members = all.iter().filter(|d| rollout.phase_of(d) == Some(0)).count();
        assert_eq!(members, expected, "{percent}% of {devices}");
    }
}

#[test]
fn a_later_joiner_is_compared_with_the_cutoff_and_moves_nobody() {
    let all: Vec<_> = (0..100).map(device).collect();
    let mut rollout = rollout("r", &[10, 100]);
    rollout.start(all.iter(), 5).unwrap();
    let members = |n: std::ops::Range<u32>| n.map(device).filter(|d| rollout.phase_of(d).is_some());
    assert_eq!(members(0..100).count(), 10);
    let joined = members(100..1100).count();
    assert!((50..200).contains(&joined), "about one in ten, not {joined}");
}

#[test]
fn another_seed_gives_another_order() {
    assert_ne!(rank(&[1; 32], &device(1)), rank(&[2; 32], &device(1)));
}

#[test]
fn phases_must_rise_to_everybody() {
    for bad in [&[][..], &[50], &[0, 100], &[100, 100], &[50, 10, 100], &[10, 101], &[1; 17]] {
        assert_eq!(check_phases(bad), Err(InvalidPhases), "{bad:?}");
    }
    for good in [&[100][..], &[10, 50, 100]] {
        assert_eq!(check_phases(good), Ok(()), "{good:?}");
    }
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
    fn counts(&self) -> Vec<Counts> {
        let mut phases = vec![Counts::default(); self.rollout.started().count()];
        for device in &self.devices {
            let Some(phase) = self.rollout.phase_of(device) else { continue };
            let state = self.states.get(device).copied().unwrap_or(report::State::Waiting);
            phases[phase].add(state);
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
        if !self.devices.contains(device) || self.rollout.phase_of(device).is_none() {
            return;
        }
        let current = self.states.entry(device.clone()).or_insert(report::State::Waiting);
        if !current.is_final() && state > *current {
            *current = state;
        }
    }

    fn tick(&mut self) {
        match self.rollout.judge(&self.counts()) {
            Verdict::Halt(reason) => self.rollout.halt(&reason, self.now_ms),
            Verdict::Advance => {
                self.rollout.start_next_phase(self.devices.iter(), self.now_ms);
            }
            Verdict::Finish => self.rollout.finish(self.now_ms),
            Verdict::Wait => {}
        }
    }
}

/// The same in other words: sets of devices, no counters, no cut-offs, no percentages but one.
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
        let tolerates = |n: usize| if n < 10 { 0 } else { n / 10 };
        let too_bad = (0..self.started).any(|n| {
            let phase = self.phase(n);
            phase.iter().filter(|d| self.bad.contains(d)).count() > tolerates(phase.len())
        });
        if too_bad {
            self.state = State::Halted;
        } else if self.state == State::Running {
            self.go_on(tolerates);
        }
    }

    fn go_on(&mut self, tolerates: impl Fn(usize) -> usize) {
        let current = self.phase(self.started - 1);
        let healthy = current.iter().filter(|d| self.healthy.contains(d)).count();
        if self.started < self.sizes.len() {
            let enough = healthy >= current.len() - tolerates(current.len());
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
