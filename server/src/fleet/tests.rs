//! Counting as changes come against counting everything anew.

use std::iter;

use proptest::prelude::*;
use waxwing_wire::report::State;
use waxwing_wire::{ErrorCode, Report};

use super::*;
use crate::domain::Query;
use crate::domain::deployment::{Contradiction, Step};
use crate::domain::device::{Status, Tags};
use crate::domain::group::Members;
use crate::domain::group::tests::device;
use crate::domain::release::tests::{product, release};
use crate::domain::rollout;
use crate::domain::rollout::patience::Listening;
use crate::domain::rollout::tests::{plan, rollout};
use crate::domain::rollout::{PhasePlan, Size};
use crate::fleet::packed::Packed;

const DEVICES: u32 = 12;
const NOW_MS: u64 = 1_795_176_000_000;
const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
enum Event {
    NextPhase,
    Report(u32, State),
    Revoke(u32),
    Tag(u32, bool, bool),
    Hours(u64),
    Poll(u32),
    Ceiling(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0..DEVICES;
    prop_oneof![
        1 => Just(Event::NextPhase),
        6 => (device(), prop::sample::select(&State::ALL[..])).prop_map(|(n, s)| Event::Report(n, s)),
        1 => device().prop_map(Event::Revoke),
        3 => (device(), any::<bool>(), any::<bool>()).prop_map(|(n, a, b)| Event::Tag(n, a, b)),
        2 => (0_u64..4).prop_map(Event::Hours),
        2 => device().prop_map(Event::Poll),
        1 => (500_u16..=1000).prop_map(Event::Ceiling),
    ]
}

fn id(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

fn group(name: &str, tag: &str) -> Group {
    Group {
        id: GroupId::parse(name).unwrap(),
        product: product().id,
        description: String::new(),
        members: Members::Tags(Tags::from([(tag.to_owned(), "yes".to_owned())])),
        created_at: 0,
    }
}

fn fleet() -> Fleet {
    let fleet = Fleet::default();
    fleet.put_product(product());
    fleet.put_releases(&product().id, vec![release("1.1.0")]);
    fleet.put_group(group("all", "in"));
    fleet.put_group(group("canaries", "canary"));
    let canaries = Size::Group(GroupId::parse("canaries").unwrap());
    let mut rollout = rollout("r-1", &[30, 60, 100]);
    rollout.plan.phases[0] = PhasePlan { size: canaries, ..rollout.plan.phases[0].clone() };
    fleet.put_rollout(rollout);
    fleet
}

fn campaign(fleet: &Fleet) -> Arc<Campaign> {
    Arc::clone(fleet.shared.catalogue.load().campaigns.values().next().unwrap())
}

fn apply(fleet: &Fleet, now_ms: &mut u64, event: &Event) {
    let campaign = campaign(fleet);
    match event {
        Event::NextPhase => {
            let members = fleet.members_of(&campaign.rollout.group);
            let mut rollout = Rollout::clone(&campaign.rollout);
            rollout.start_next_phase(members.iter(), 9);
            fleet.put_rollout(rollout);
        }
        Event::Report(n, state) => {
            let member = fleet.shared.members.get(&id(*n));
            if let Some(phase) = member.and_then(|member| campaign.counts_in(&member.member())) {
                let phase = u8::try_from(phase).unwrap();
                let offered = Deployment::in_phase(phase).offered(0, *now_ms);
                let deployment = Deployment { state: *state, ..offered };
                fleet.put_deployment(&id(*n), &campaign.rollout.id, deployment);
            }
        }
        Event::Revoke(n) => {
            let Some(device) = fleet.device(&id(*n)) else { return };
            fleet.put_device(Device { status: Status::Revoked, ..device });
        }
        Event::Tag(n, is_in, is_canary) => {
            let tags = [("in", is_in), ("canary", is_canary)];
            let tags: Vec<_> =
                tags.iter().filter(|(_, on)| **on).map(|(t, _)| (*t, "yes")).collect();
            fleet.put_device(device(id(*n).as_str(), &tags));
        }
        Event::Hours(hours) => {
            *now_ms += hours * HOUR_MS;
            fleet.look(*now_ms);
        }
        Event::Poll(n) => {
            let sighting = Sighting { at: *now_ms, running: running(), begins: None };
            fleet.saw(&[(id(*n), sighting)]);
        }
        Event::Ceiling(permille) => {
            let limited = Release { ceiling_permille: Some(*permille), ..release("1.1.0") };
            fleet.put_releases(&product().id, vec![limited]);
        }
    }
}

/// Counts every device by itself, with nothing remembered.
fn counted_anew(fleet: &Fleet, now_ms: u64) -> Vec<Evidence> {
    let campaign = campaign(fleet);
    let mut phases = vec![Evidence::default(); campaign.rollout.started().count()];
    let mut moved_at = 0;
    fleet.shared.members.for_each(|member| {
        let deployment = member.deployment(campaign.number);
        moved_at = deployment.map_or(0, |it| it.changed_at).max(moved_at);
        let Some(phase) = campaign.counts_in(member) else { return };
        phases[phase].counts.add(deployment.map_or(State::Waiting, |it| it.state));
        let plan = &campaign.rollout.plan;
        let listening = Listening { seen_at: member.seen_at, ..Listening::default() };
        let overdue_at = deployment.and_then(|it| plan.overdue_at(&it, listening));
        phases[phase].overdue += u64::from(overdue_at.is_some_and(|at| at <= now_ms));
    });
    for phase in &mut phases {
        phase.moved_at = moved_at;
    }
    phases
}

/// Asks every device by itself whether its time has run out.
fn given_up_anew(fleet: &Fleet, now_ms: u64) -> Vec<DeviceId> {
    let campaign = campaign(fleet);
    let mut due = Vec::new();
    let ledger = fleet.ledger();
    fleet.shared.members.for_each(|member| {
        if ledger.given_up(&campaign, member, now_ms).is_some() {
            due.push(member.id());
        }
    });
    due.sort_unstable();
    due
}

proptest! {
    #[test]
    fn counts_kept_up_to_date_equal_counts_made_anew(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let (fleet, mut now_ms) = (fleet(), NOW_MS);
        fleet.look(now_ms);
        for event in events {
            apply(&fleet, &mut now_ms, &event);
            let kept = fleet.evidence(&RolloutId::parse("r-1").unwrap());
            prop_assert_eq!(kept, counted_anew(&fleet, now_ms), "after {:?}", event);
            let timed_out = fleet.timed_out(now_ms, usize::MAX);
            let mut due: Vec<_> = timed_out.into_iter().map(|(_, device, _)| device).collect();
            due.sort_unstable();
            prop_assert_eq!(due, given_up_anew(&fleet, now_ms), "after {:?}", event);
        }
    }
}

#[test]
fn who_leaves_the_group_when_its_offer_was_taken_back_is_waited_for_no_longer() {
    let (fleet, mut now_ms) = (fleet(), NOW_MS);
    let canary = |n| fleet.put_device(device(id(n).as_str(), &[("in", "yes"), ("canary", "yes")]));
    let leaves = |n| fleet.put_device(device(id(n).as_str(), &[]));
    canary(0);
    canary(1);
    apply(&fleet, &mut now_ms, &Event::NextPhase);
    let rollout = RolloutId::parse("r-1").unwrap();
    let waiting = || fleet.evidence(&rollout)[0].counts.of(State::Waiting);
    let offered = Deployment::in_phase(0).offered(0, now_ms);
    fleet.put_deployment(&id(0), &rollout, offered.withdrawn(now_ms));
    assert_eq!(waiting(), 2);
    leaves(0);
    assert_eq!(waiting(), 1);
    canary(0);
    assert_eq!(waiting(), 2, "it may be offered again");
    // It keeps what it began, until that is taken back.
    fleet.put_deployment(&id(1), &rollout, offered);
    leaves(1);
    let counts = || fleet.evidence(&rollout)[0].counts;
    assert_eq!((counts().of(State::Offered), counts().total()), (1, 2));
    fleet.put_deployment(&id(1), &rollout, offered.withdrawn(now_ms));
    assert_eq!((waiting(), counts().total()), (1, 1));
}

fn running() -> Running {
    Running {
        version: semver::Version::new(1, 0, 0),
        sha256: Digest([1; 32]),
        security_version: 1,
        pins: None,
        out_s: 0,
    }
}

/// Two rollouts to everybody, the second one started later.
fn two_rollouts(change: impl Fn(&mut Rollout)) -> Fleet {
    let fleet = Fleet::default();
    fleet.put_product(product());
    fleet.put_releases(&product().id, vec![release("1.1.0")]);
    fleet.put_group(Group { members: Members::Tags(Tags::new()), ..group("all", "in") });
    (0..DEVICES).for_each(|n| fleet.put_device(device(id(n).as_str(), &[])));
    for (name, started_at) in [("old", 10), ("new", 20)] {
        let mut rollout = rollout(name, &[100]);
        rollout.plan = plan(&[100]);
        change(&mut rollout);
        let members = fleet.members_of(&rollout.group);
        rollout.start(members.iter(), started_at).unwrap();
        fleet.put_rollout(rollout);
    }
    fleet
}

/// Everybody polls; what begins is written. Returns what began.
fn round(fleet: &Fleet, now_ms: u64) -> Vec<NewDeployment> {
    (0..DEVICES).for_each(|n| drop(fleet.poll(&id(n), &running(), now_ms).unwrap()));
    let begun = fleet.beginnings(&fleet.sightings().take());
    for (rollout, device, deployment) in begun.clone() {
        fleet.put_deployment(&device, &rollout, deployment);
    }
    begun
}

#[test]
fn no_more_devices_are_let_in_than_the_plan_is_ready_to_lose() {
    let fleet = two_rollouts(|rollout| rollout.plan.risk = 5);
    assert_eq!(round(&fleet, NOW_MS).len(), 5);
    fleet.look(NOW_MS);
    assert_eq!(round(&fleet, NOW_MS), [], "the others wait");
    assert!(!fleet.poll(&id(0), &running(), NOW_MS).unwrap().soon);
}

#[test]
fn a_device_is_told_to_come_back_soon_and_is_offered_the_release_then() {
    let fleet = two_rollouts(|_| {});
    let told = fleet.poll(&id(0), &running(), NOW_MS).unwrap();
    assert!(told.soon && told.decision.offer.is_none(), "not before it is written");
    round(&fleet, NOW_MS);
    let told = fleet.poll(&id(0), &running(), NOW_MS).unwrap();
    assert!(!told.soon);
    assert_eq!(told.decision.offer.unwrap().rollout.id.as_str(), "new");
}

#[test]
fn the_way_back_reaches_who_left_the_group_by_switching() {
    let fleet = Fleet::default();
    fleet.put_product(product());
    let back_to = Release { sha256: running().sha256, ..release("1.0.0") };
    fleet.put_releases(&product().id, vec![back_to, release("1.1.0")]);
    let older = Members::Query(Query::parse("version=lt=1.1.0").unwrap());
    fleet.put_group(Group { members: older, ..group("all", "in") });
    let seen = |n, version: &str| {
        let version = Some(Arc::new(version.parse().unwrap()));
        fleet.put_device(Device { version, ..device(id(n).as_str(), &[]) });
    };
    (0..2).for_each(|n| seen(n, "1.0.0"));
    let mut bad = rollout("bad", &[100]);
    bad.start(fleet.meant_by(&bad).iter(), 10).unwrap();
    fleet.put_rollout(bad.clone());
    let healthy = Deployment { state: State::Healthy, ..Deployment::waiting().offered(0, 30) };
    fleet.put_deployment(&id(0), &bad.id, healthy);
    seen(0, "1.1.0");
    let plan = bad.plan.way_back(bad.id);
    let version = "1.0.0".parse().unwrap();
    let mut back = Rollout { plan, version, created_at: 2, ..rollout("back", &[100]) };
    assert_eq!(fleet.meant_by(&back), [id(0)]);
    back.start(fleet.meant_by(&back).iter(), 20).unwrap();
    fleet.put_rollout(back.clone());
    assert_eq!(fleet.counts(&back.id)[0].total(), 1);
    let version = "1.1.0".parse().unwrap();
    let new = Running { version, sha256: release("1.1.0").sha256, ..running() };
    assert!(fleet.poll(&id(0), &new, NOW_MS).unwrap().soon);
    assert!(fleet.poll(&id(1), &running(), NOW_MS).unwrap().soon, "for the bad one");
    let begun = fleet.beginnings(&fleet.sightings().take());
    let begins = |device| begun.iter().any(|(to, it, _)| *to == back.id && *it == id(device));
    assert_eq!([0, 1].map(begins), [true, false]);
}

#[test]
fn a_rollout_of_higher_priority_takes_over_who_has_not_switched() {
    let fleet = two_rollouts(|rollout| {
        rollout.plan.risk = 100;
        rollout.plan.priority = u8::from(rollout.id.as_str() == "new");
    });
    let old = RolloutId::parse("old").unwrap();
    let offered = Deployment::waiting().offered(0, 30);
    fleet.put_deployment(&id(0), &old, offered);
    let switched = Deployment { state: State::Booted, ..offered };
    fleet.put_deployment(&id(1), &old, switched);
    round(&fleet, NOW_MS);
    assert_eq!(fleet.deployment(&old, &id(0)).unwrap().state, State::Skipped);
    assert_eq!(fleet.deployment(&old, &id(1)), Some(switched));
    let new = RolloutId::parse("new").unwrap();
    assert_eq!(fleet.deployment(&new, &id(0)).unwrap().state, State::Offered);
    assert_eq!(fleet.deployment(&new, &id(1)), None, "one rollout at a time");
}

#[test]
fn no_more_devices_are_told_to_come_back_soon_than_there_are_places() {
    let fleet = two_rollouts(|rollout| rollout.plan.risk = 5);
    fleet.look(NOW_MS);
    let told = (0..DEVICES).map(|n| fleet.poll(&id(n), &running(), NOW_MS).unwrap());
    assert_eq!(told.filter(|told| told.soon).count(), 5);
}

#[test]
fn who_switched_before_it_was_taken_over_is_in_one_deployment_only() {
    let fleet = two_rollouts(|rollout| {
        rollout.plan.risk = 100;
        rollout.plan.priority = u8::from(rollout.id.as_str() == "new");
    });
    let [old, new] = ["old", "new"].map(|id| RolloutId::parse(id).unwrap());
    let verified = Deployment { state: State::Verified, ..Deployment::waiting().offered(0, 30) };
    fleet.put_deployment(&id(0), &old, verified);
    round(&fleet, NOW_MS);
    let say = |state| Report {
        rollout: old.clone(),
        release: release("1.1.0").version,
        state,
        code: ErrorCode::NONE,
        fw_sha256: running().sha256,
        attempt: 1,
        measured_at: 0,
        deferred: None,
    };
    let (step, _) = fleet.on_report(&id(0), &say(State::Verified), NOW_MS).unwrap();
    assert_eq!(step, Step::Contradicts(Contradiction::Elsewhere));
    let (_, effect) = fleet.on_report(&id(0), &say(State::Activated), NOW_MS).unwrap();
    fleet.show(effect);
    let state = |rollout| fleet.deployment(rollout, &id(0)).unwrap().state;
    assert_eq!((state(&old), state(&new)), (State::Activated, State::Waiting));
}

#[test]
fn nobody_is_told_to_come_back_soon_while_there_are_no_bytes_to_send() {
    let fleet = two_rollouts(|rollout| rollout.plan.bytes_per_s = Some(1));
    fleet.look(NOW_MS);
    assert!(!fleet.poll(&id(0), &running(), NOW_MS).unwrap().soon);
    let week_later = NOW_MS + 7 * 24 * HOUR_MS;
    fleet.look(week_later);
    assert!(fleet.poll(&id(0), &running(), week_later).unwrap().soon);
}

#[test]
fn changes_are_later_than_all_before_even_when_the_clock_goes_back() {
    let fleet = fleet();
    let changed = Device { changed_at: 500, ..device("d-1", &[]) };
    fleet.enter(Packed::new(&changed, iter::empty()));
    assert_eq!([fleet.stamp(400), fleet.stamp(400), fleet.stamp(900)], [501, 502, 900]);
}

#[test]
fn who_runs_what_another_rollout_brought_or_may_have_brought_has_not_gone_back() {
    let [old, new] = ["old", "new"].map(|id| RolloutId::parse(id).unwrap());
    let in_old = |state| Deployment { state, ..Deployment::waiting().offered(0, 30) };
    let healthy = in_old(State::Healthy);
    let later = |state| Deployment { state, changed_at: 40, ..in_old(state) };
    let earlier = |state| Deployment { state, changed_at: 20, ..in_old(state) };
    for (in_new, has_gone) in [
        (None, true),
        (Some(earlier(State::Healthy)), true),
        (Some(earlier(State::Waiting)), true),
        (Some(earlier(State::Verified)), false),
        (Some(later(State::Waiting)), false),
        (Some(later(State::Booted)), false),
        (Some(later(State::TimedOut)), false),
    ] {
        let fleet = two_rollouts(|_| {});
        fleet.put_deployment(&id(0), &old, healthy);
        if let Some(in_new) = in_new {
            fleet.put_deployment(&id(0), &new, in_new);
        }
        let polls = [(id(0), Sighting { at: NOW_MS, running: running(), begins: None })];
        let gone = fleet.on_polls(&polls).deployments;
        let gone: Vec<_> = gone.iter().map(|(rollout, _, it)| (rollout, it.code)).collect();
        let expected = [(&old, ErrorCode::GONE_BACK)];
        assert_eq!(gone, if has_gone { &expected[..] } else { &[] }, "{in_new:?}");
    }
}

proptest! {
    #[test]
    fn a_draft_adds_as_many_devices_in_each_phase_as_it_does_once_it_is_started(
        devices in prop::collection::vec(any::<bool>(), 0..40),
        sizes in prop::collection::vec((0_u8..3, 1_u8..100), 0..4),
        ceiling in prop::option::of(0_u16..=1000),
        seed in any::<u8>(),
    ) {
        let fleet = fleet();
        let limited = Release { ceiling_permille: ceiling, ..release("1.1.0") };
        fleet.put_releases(&product().id, vec![limited]);
        for (n, is_canary) in (0..).zip(devices) {
            let tags = [("in", "yes"), ("canary", "yes")];
            fleet.put_device(device(id(n).as_str(), &tags[..=usize::from(is_canary)]));
        }
        let size = |(kind, number): (u8, u8)| match kind {
            0 => Size::Count(number.into()),
            1 => Size::Percent(number),
            _ => Size::Group(GroupId::parse("canaries").unwrap()),
        };
        let sizes = sizes.into_iter().map(size).chain([Size::Percent(100)]);
        let mut draft = rollout("r-2", &[100]);
        draft.plan.phases =
            sizes.map(|size| PhasePlan { size, ..draft.plan.phases[0].clone() }).collect();
        draft.phases = vec![rollout::Phase::default(); draft.plan.phases.len()];
        draft.seed = [seed; 32];
        let foreseen = fleet.sizes_of(&draft).unwrap();
        let members = fleet.members_of(&draft.group);
        draft.start(members.iter(), NOW_MS).unwrap();
        (1..draft.phases.len()).for_each(|_| draft.start_next_phase(members.iter(), NOW_MS));
        fleet.put_rollout(draft.clone());
        let reached: Vec<_> = fleet.counts(&draft.id).iter().map(Counts::total).collect();
        prop_assert_eq!(foreseen, reached);
    }
}
