//! The places that a poll looks at against all there are.

use proptest::prelude::*;
use waxwing_wire::report;
use waxwing_wire::{DeviceId, Digest};

use super::*;
use crate::domain::decision::{begin, decide};
use crate::domain::device::Tags;
use crate::domain::group::Members;
use crate::domain::group::tests::device;
use crate::domain::release::tests::{product, release};
use crate::domain::rollout::tests::{finish, halt, rollout};
use crate::domain::rollout::{Change, Plan};
use crate::domain::standing::Moment;
use crate::domain::{Deployment, Running};
use crate::fleet::Fleet;

const MOMENT: Moment<'static> =
    Moment { zone: &jiff::tz::TimeZone::UTC, now_ms: 1_795_176_000_000 };

/// A rollout that was started, and the device's part in it.
#[derive(Clone, Copy, Debug)]
struct History {
    state: State,
    priority: u8,
    for_all: bool,
    phases: u8,
    deployment: Option<(report::State, u64)>,
}

fn history() -> impl Strategy<Value = History> {
    let state = prop::sample::select(State::ALL.to_vec());
    let deployment = (prop::sample::select(report::State::ALL.to_vec()), 1_u64..90);
    let deployment = prop::option::weighted(0.6, deployment);
    (state, 0_u8..2, prop::bool::weighted(0.6), 1_u8..3, deployment).prop_map(
        |(state, priority, for_all, phases, deployment)| History {
            state,
            priority,
            for_all,
            phases,
            deployment,
        },
    )
}

fn id() -> DeviceId {
    DeviceId::parse("d-0").unwrap()
}

fn group(name: &str, tags: &[(&str, &str)]) -> Group {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Group {
        id: GroupId::parse(name).unwrap(),
        product: product().id,
        members: Members::Tags(tags.collect::<Tags>()),
        description: String::new(),
        created_at: 0,
    }
}

fn started(number: usize, history: &History) -> Rollout {
    let mut rollout = rollout(&format!("r-{number}"), &[40, 100]);
    rollout.plan = Plan { priority: history.priority, ..rollout.plan };
    rollout.group = GroupId::parse(if history.for_all { "all" } else { "others" }).unwrap();
    rollout.seed = [u8::try_from(number).unwrap(); 32];
    if history.state == State::Draft {
        return rollout;
    }
    let at = 10 + u64::try_from(number).unwrap();
    let others: Vec<_> = (0..20).map(|n| DeviceId::parse(&format!("d-{n}")).unwrap()).collect();
    rollout.start(others.iter(), at).unwrap();
    if history.phases == 2 || history.state == State::Finished {
        rollout.start_next_phase(others.iter(), at);
    }
    match history.state {
        State::Draft | State::Running => {}
        State::Paused => rollout.change(Change::Pause, at).unwrap(),
        State::Halted => halt(&mut rollout, at),
        State::Finished => finish(&mut rollout, at),
        State::Cancelled => rollout.change(Change::Cancel, at).unwrap(),
    }
    rollout
}

fn fleet(histories: &[History], ceiling: Option<u16>) -> Fleet {
    let fleet = Fleet::default();
    fleet.put_product(product());
    let limited = Release { ceiling_permille: ceiling, ..release("1.1.0") };
    fleet.put_releases(&product().id, vec![limited]);
    fleet.put_group(group("all", &[]));
    fleet.put_group(group("others", &[("other", "yes")]));
    fleet.put_device(device("d-0", &[]));
    for (number, history) in histories.iter().enumerate() {
        let rollout = started(number, history);
        let name = rollout.id.clone();
        fleet.put_rollout(rollout);
        if let Some((state, at)) = history.deployment.filter(|_| history.state != State::Draft) {
            let offered = Deployment::waiting().offered(0, at);
            fleet.put_deployment(&id(), &name, Deployment { state, ..offered });
        }
    }
    fleet
}

fn running(has_image: bool) -> Running {
    let sha256 = if has_image { release("1.1.0").sha256 } else { Digest([1; 32]) };
    Running { version: Version::new(1, 0, 0), sha256, security_version: 1, pins: None, out_s: 0 }
}

proptest! {
    #[test]
    fn a_poll_is_answered_as_if_it_had_looked_at_every_rollout(
        histories in prop::collection::vec(history(), 0..8),
        ceiling in prop::option::of(0_u16..1001),
        has_image in any::<bool>(),
    ) {
        let fleet = fleet(&histories, ceiling);
        let catalogue = fleet.shared.catalogue.load_full();
        let packed = fleet.shared.members.get(&id()).unwrap();
        let (member, running) = (packed.member(), running(has_image));
        let (all, few) = (catalogue.seats(&member), catalogue.deciding_seats(&member));
        prop_assert_eq!(
            decide(member.settled_at(), None, &few, MOMENT),
            decide(member.changed_at, None, &all, MOMENT)
        );
        prop_assert_eq!(begin(&few, &running, MOMENT), begin(&all, &running, MOMENT));
        for seat in &all {
            let standing = seat.standing(Some(&running), MOMENT);
            prop_assert_eq!(seat.gives_way(), standing.gives_way(), "{:?}", standing);
        }
    }
}

#[test]
fn what_has_finished_is_not_looked_at_by_a_poll() {
    let over = |state| History {
        state,
        priority: 0,
        for_all: true,
        phases: 2,
        deployment: Some((report::State::Healthy, 9)),
    };
    let now = History { deployment: None, ..over(State::Running) };
    let mut histories = [State::Finished, State::Cancelled].map(over).repeat(50);
    for (running, looked_at) in [(Vec::new(), 0), (vec![now], 1)] {
        histories.extend(running);
        let fleet = fleet(&histories, None);
        let packed = fleet.shared.members.get(&id()).unwrap();
        let catalogue = fleet.shared.catalogue.load_full();
        assert_eq!(catalogue.deciding_seats(&packed.member()).len(), looked_at);
    }
}
