//! Counting as changes come against counting everything anew.

use proptest::prelude::*;

use super::*;
use crate::domain::device::Tags;
use crate::domain::group::Members;
use crate::domain::group::tests::device;
use crate::domain::release::tests::{product, release};
use crate::domain::rollout::tests::rollout;

const DEVICES: u32 = 12;

#[derive(Clone, Debug)]
enum Event {
    NextPhase,
    Report(u32, State),
    Revoke(u32),
    Tag(u32, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0..DEVICES;
    let states = vec![State::Offered, State::Booted, State::Healthy, State::Failed];
    prop_oneof![
        1 => Just(Event::NextPhase),
        4 => (device(), prop::sample::select(states)).prop_map(|(n, s)| Event::Report(n, s)),
        1 => device().prop_map(Event::Revoke),
        3 => (device(), any::<bool>()).prop_map(|(n, tagged)| Event::Tag(n, tagged)),
    ]
}

fn id(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

fn tables() -> Tables {
    let mut tables = Tables::default();
    tables.put_product(product());
    tables.put_releases(&product().id, vec![release("1.1.0")]);
    let tags = Tags::from([("in".to_owned(), "yes".to_owned())]);
    tables.put_group(Group {
        id: GroupId::parse("all").unwrap(),
        product: product().id,
        members: Members::Tags(tags),
        created_at: 0,
    });
    tables.put_rollout(rollout("r-1", &[30, 60, 100]));
    tables
}

fn apply(tables: &mut Tables, event: &Event) {
    let rollout_id = RolloutId::parse("r-1").unwrap();
    let campaign = &tables.campaigns[&rollout_id];
    match event {
        Event::NextPhase => {
            let members: Vec<_> = tables
                .members
                .values()
                .filter(|member| campaign.group.contains(&member.device))
                .map(|member| member.device.id.clone())
                .collect();
            let mut rollout = Rollout::clone(&campaign.rollout);
            rollout.start_next_phase(members.iter(), 9);
            tables.put_rollout(rollout);
        }
        Event::Report(n, state) => {
            let reached = tables
                .members
                .get(&id(*n))
                .is_some_and(|member| campaign.counts_in(member).is_some());
            if reached {
                let deployment = Deployment { state: *state, ..Deployment::waiting() };
                tables.put_deployment(&id(*n), &rollout_id, deployment);
            }
        }
        Event::Revoke(n) => {
            let Some(member) = tables.members.get(&id(*n)) else { return };
            let revoked = Device { status: Status::Revoked, ..Device::clone(&member.device) };
            tables.put_device(revoked);
        }
        Event::Tag(n, tagged) => {
            let tags: &[_] = if *tagged { &[("in", "yes")] } else { &[] };
            tables.put_device(device(id(*n).as_str(), tags));
        }
    }
}

/// Counts every device by itself, with nothing remembered.
fn counted_anew(tables: &Tables) -> Vec<Counts> {
    let campaign = tables.campaigns.values().next().unwrap();
    let mut phases = vec![Counts::default(); campaign.rollout.started().count()];
    for member in tables.members.values() {
        let state = member.deployment(&campaign.rollout.id).map_or(State::Waiting, |d| d.state);
        if let Some(phase) = campaign.counts_in(member) {
            phases[phase].add(state);
        }
    }
    phases
}

proptest! {
    #[test]
    fn counts_kept_up_to_date_equal_counts_made_anew(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut tables = tables();
        for event in events {
            apply(&mut tables, &event);
            let kept = tables.counts(&RolloutId::parse("r-1").unwrap());
            prop_assert_eq!(kept, counted_anew(&tables), "after {:?}", event);
        }
    }
}

#[test]
fn changes_are_later_than_all_before_even_when_the_clock_goes_back() {
    let mut tables = tables();
    tables.put_device(Device { changed_at: 500, ..device("d-1", &[]) });
    let fleet = crate::fleet::Fleet::new(tables);
    assert_eq!([fleet.stamp(400), fleet.stamp(400), fleet.stamp(900)], [501, 502, 900]);
}
