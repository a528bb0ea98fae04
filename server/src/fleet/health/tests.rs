//! Who counts when devices with an image are compared with those without it.

use std::iter;

use serde_json::json;
use waxwing_wire::report::State;
use waxwing_wire::{Digest, ErrorCode, GroupId};

use super::*;
use crate::domain::device::{Status, Tags};
use crate::domain::group::Members;
use crate::domain::group::tests::device;
use crate::domain::release::tests::{product, release};
use crate::domain::rollout::bounds::Outcomes;
use crate::domain::rollout::contact::Unreachable;
use crate::domain::rollout::tests::{finish, rollout};
use crate::domain::{Deployment, Device, Group, Release, Rollout, Running};

const NOW_MS: u64 = 1_795_176_000_000;
const HOUR_MS: u64 = 3_600_000;

const OUTSIDE: u32 = 4;
const REVOKED: u32 = 5;

fn id(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

/// Four devices that a rollout with a rule about telemetry is for, one of another group, and one revoked.
fn fleet() -> (Fleet, RolloutId) {
    let fleet = Fleet::default();
    fleet.put_product(product());
    fleet.put_releases(&product().id, vec![release("1.1.0")]);
    fleet.put_group(Group {
        id: GroupId::parse("all").unwrap(),
        product: product().id,
        description: String::new(),
        members: Members::Tags(Tags::from([("in".to_owned(), "yes".to_owned())])),
        created_at: 0,
    });
    for n in 0..=REVOKED {
        let tags = if n == OUTSIDE { [("in", "no")] } else { [("in", "yes")] };
        let status = if n == REVOKED { Status::Revoked } else { Status::Active };
        fleet.put_device(Device { status, ..device(id(n).as_str(), &tags) });
    }
    let mut rollout = rollout("r-1", &[100]);
    let rules = json!([{"metric": "heap_low", "ails": {"below": 16000}}]);
    rollout.plan.health = serde_json::from_value(rules).unwrap();
    rollout.start(fleet.members_of(&rollout.group).iter(), NOW_MS).unwrap();
    let id = rollout.id.clone();
    fleet.put_rollout(rollout);
    (fleet, id)
}

fn in_state(state: State, changed_at: u64) -> Deployment {
    Deployment { state, ..Deployment::waiting().offered(0, changed_at) }
}

/// A device says that it is well, now and after a soak.
fn hear_well(fleet: &Fleet, n: u32) {
    for at in [NOW_MS, NOW_MS + 1_800_000] {
        fleet.hear(&id(n), r#"{"heap_low":30000}"#, at);
    }
}

fn end(fleet: &Fleet, id: &RolloutId) {
    let mut rollout = Rollout::clone(&fleet.rollout(id).unwrap());
    finish(&mut rollout, NOW_MS);
    fleet.put_rollout(rollout);
}

#[test]
fn only_members_of_a_rollout_that_is_not_over_are_compared() {
    let (fleet, rollout) = fleet();
    fleet.put_deployment(&id(0), &rollout, in_state(State::Confirmed, NOW_MS));
    (0..=REVOKED).for_each(|n| fleet.hear(&id(n), r#"{"heap_low":30000}"#, NOW_MS));
    let well = |well| Outcomes { broken: 0, well };
    assert_eq!(fleet.health(&rollout), [Comparison::default()], "nobody was watched for a soak");
    (0..=REVOKED).for_each(|n| hear_well(&fleet, n));
    let compared = [Comparison { with: well(1), without: well(3) }];
    assert_eq!(fleet.health(&rollout), compared);
    end(&fleet, &rollout);
    fleet.put_device(device("d-9", &[("in", "yes")]));
    hear_well(&fleet, 9);
    assert_eq!(fleet.health(&rollout), compared, "it is over");
}

fn out(n: u32, out_s: u32) -> (DeviceId, Sighting) {
    let running = Running {
        version: semver::Version::new(1, 0, 0),
        sha256: Digest([1; 32]),
        security_version: 1,
        pins: None,
        out_s,
    };
    (id(n), Sighting { at: NOW_MS, running, begins: None })
}

#[test]
fn only_members_without_the_image_that_were_out_for_long_count_as_lost() {
    let (fleet, rollout) = fleet();
    fleet.put_deployment(&id(0), &rollout, in_state(State::Confirmed, NOW_MS));
    let polls: Vec<_> = (0..=REVOKED).map(|n| out(n, LOST_S)).collect();
    let lost = |polls: &[_]| fleet.lost(polls).iter().map(|it| it.devices).collect::<Vec<_>>();
    assert_eq!(lost(&polls), [3]);
    assert_eq!(lost(&[out(1, LOST_S - 1)]), [0; 0], "not for long");
    end(&fleet, &rollout);
    assert_eq!(lost(&polls), [0; 0], "it is over");
}

/// One device went back for want of contact, one became healthy hours before.
fn gone_back() -> (Fleet, RolloutId) {
    let (fleet, rollout) = fleet();
    let back = in_state(State::RolledBack, NOW_MS);
    let back = Deployment { code: ErrorCode::NO_CONTACT, ..back };
    fleet.put_deployment(&id(0), &rollout, back);
    fleet.put_deployment(&id(1), &rollout, in_state(State::Healthy, NOW_MS - 9 * HOUR_MS));
    fleet.look(NOW_MS);
    (fleet, rollout)
}

#[test]
fn those_that_went_back_are_compared_with_those_that_have_not_switched() {
    let (fleet, rollout) = gone_back();
    // One of two: as large a share of the one that came to an end is one, rounded.
    let lost = Lost { rollout: rollout.clone(), hour: hour_of(NOW_MS), devices: 1, who: vec![2] };
    fleet.put_lost(&lost);
    fleet.look(NOW_MS + 3 * HOUR_MS);
    let found = fleet.evidence(&rollout)[0].unreachable;
    assert_eq!(found, Unreachable { doubtful: 0, excused: 1 });
}

#[test]
fn who_went_back_counts_once_however_often_the_rollout_is_counted_anew() {
    let (fleet, rollout) = gone_back();
    let doubtful = || fleet.evidence(&rollout)[0].unreachable.doubtful;
    assert_eq!(doubtful(), 1);
    fleet.put_device(device("d-0", &[("in", "yes"), ("site", "b")]));
    fleet.put_device(device("d-0", &[("in", "no")]));
    assert_eq!(doubtful(), 1, "after a change of the device");
    for permille in iter::successors(Some(1000), |it| Some(it - 1)).take(2) {
        let limited = Release { ceiling_permille: Some(permille), ..release("1.1.0") };
        fleet.put_releases(&product().id, vec![limited]);
    }
    assert_eq!(doubtful(), 1, "after a change of the release");
}
