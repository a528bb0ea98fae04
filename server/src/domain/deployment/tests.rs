//! What reports do to a deployment.

use std::sync::Arc;

use waxwing_wire::{Digest, RolloutId};

use super::*;
use crate::domain::Running;
use crate::domain::release::tests::release;
use crate::domain::rollout::Urgency;
use crate::domain::rollout::tests::plan;

fn report(state: State) -> Report {
    Report {
        rollout: RolloutId::parse("r-1").unwrap(),
        release: release("1.1.0").version,
        state,
        code: ErrorCode::NONE,
        fw_sha256: release("1.1.0").sha256,
        attempt: 1,
        measured_at: 0,
        deferred: None,
    }
}

fn after(states: &[State]) -> (Deployment, Vec<Step>) {
    let mut deployment = Deployment::waiting();
    let mut steps = Vec::new();
    for state in states {
        let step = deployment.on_report(
            &report(*state),
            &plan(&[100]),
            &Route::to(&Arc::new(release("1.1.0"))),
            7,
        );
        if let Step::Applied(next) = step {
            deployment = next;
        }
        steps.push(step);
    }
    (deployment, steps)
}

#[test]
fn a_deployment_never_goes_backwards() {
    let said = State::ALL;
    for first in said {
        for second in said {
            let (once, _) = after(&[first]);
            let (twice, _) = after(&[first, second]);
            assert!(twice.state >= once.state || twice.state.is_final(), "{first} {second}");
            assert!(!once.state.is_final() || twice == once, "{first} then {second}");
        }
    }
}

#[test]
fn reports_out_of_order_are_late_and_lost_ones_are_jumped_over() {
    let (end, steps) = after(&[State::Healthy, State::Downloading, State::Confirmed]);
    assert_eq!(end.state, State::Healthy);
    assert_eq!(steps[1..], [Step::Late, Step::Late]);
}

#[test]
fn another_ending_contradicts() {
    let (end, steps) = after(&[State::RolledBack, State::Healthy, State::RolledBack]);
    assert_eq!(end.state, State::RolledBack);
    assert_eq!(steps[1..], [Step::Contradicts(Contradiction::Ended), Step::Late]);
}

#[test]
fn the_word_of_the_device_overrules_a_skip_by_the_server() {
    let step = Deployment::waiting().skipped(3).on_report(
        &report(State::Booted),
        &plan(&[100]),
        &Route::to(&Arc::new(release("1.1.0"))),
        7,
    );
    assert!(matches!(step, Step::Applied(Deployment { state: State::Booted, .. })), "{step:?}");
    let (end, steps) = after(&[State::Skipped, State::Booted]);
    assert_eq!((end.state, steps[1]), (State::Skipped, Step::Late));
}

#[test]
fn a_device_that_runs_another_image_is_not_healthy() {
    let mut lie = report(State::Healthy);
    lie.fw_sha256 = Digest([9; 32]);
    let step = Deployment::waiting().on_report(
        &lie,
        &plan(&[100]),
        &Route::to(&Arc::new(release("1.1.0"))),
        7,
    );
    assert_eq!(step, Step::Contradicts(Contradiction::Image));
}

#[test]
fn another_release_and_states_of_the_server_contradict() {
    let step = Deployment::waiting().on_report(
        &report(State::Healthy),
        &plan(&[100]),
        &Route::to(&Arc::new(release("2.0.0"))),
        7,
    );
    assert_eq!(step, Step::Contradicts(Contradiction::Release));
    for state in [State::Waiting, State::Offered, State::TimedOut] {
        let step = Deployment::waiting().on_report(
            &report(state),
            &plan(&[100]),
            &Route::to(&Arc::new(release("1.1.0"))),
            7,
        );
        assert_eq!(step, Step::Contradicts(Contradiction::State), "{state}");
    }
}

#[test]
fn nobody_is_in_two_deployments_and_a_switch_counts_wherever_it_happened() {
    let here = |state| Deployment { state, ..Deployment::waiting().offered(0, 3) };
    let beside = |state, other| here(state).beside(&here(other), 9).map(|it| it.state);
    for recallable in [State::Offered, State::Downloading, State::Verified] {
        assert_eq!(beside(recallable, State::Downloading), None, "{recallable}");
        assert_eq!(beside(recallable, State::Activated), Some(State::Waiting), "{recallable}");
        assert_eq!(beside(recallable, State::Healthy), Some(recallable));
        assert_eq!(beside(State::Healthy, recallable), Some(State::Healthy));
    }
    assert_eq!(beside(State::Booted, State::Activated), None);
}

#[test]
fn a_device_that_was_given_up_and_is_heard_of_counts_again() {
    let lost = Deployment { state: State::Booted, ..Deployment::waiting() }.timed_out(3);
    let step = lost.on_report(
        &report(State::Healthy),
        &plan(&[100]),
        &Route::to(&Arc::new(release("1.1.0"))),
        7,
    );
    assert!(matches!(step, Step::Applied(Deployment { state: State::Healthy, .. })), "{step:?}");
}

#[test]
fn a_stepping_stone_that_is_healthy_leads_on_and_one_that_failed_ends() {
    let (stones, end) = ([Arc::new(release("1.1.0"))], Arc::new(release("2.0.0")));
    let route = Route { stones: &stones, end: &end };
    let offered = Deployment::waiting().offered(0, 3);
    let Step::Applied(next) = offered.on_report(&report(State::Healthy), &plan(&[100]), &route, 7)
    else {
        panic!("the report is true")
    };
    assert_eq!((next.state, next.hop, next.tries), (State::Waiting, 1, 0));
    assert_eq!(next.on_report(&report(State::Healthy), &plan(&[100]), &route, 8), Step::Late);
    let failed = offered.on_report(&report(State::RolledBack), &plan(&[100]), &route, 7);
    assert!(matches!(failed, Step::Applied(Deployment { state: State::RolledBack, hop: 0, .. })));
}

/// Reports to a deployment that was offered, by a plan that users may put off once.
fn told(deployment: Deployment, reports: &[Report]) -> Deployment {
    let urgency = Urgency::Deferrable { times: 1, until: None };
    let plan = Plan { tries_max: 2, urgency, ..plan(&[100]) };
    let release = Arc::new(release("1.1.0"));
    reports.iter().fold(deployment, |before, report| {
        match before.on_report(report, &plan, &Route::to(&release), 7_000) {
            Step::Applied(after) => after,
            Step::Contradicts(_) | Step::Late => before,
        }
    })
}

fn put_off(times: u8) -> Report {
    let deferred = Some(waxwing_wire::report::Deferral { times, until: 67 });
    Report { deferred, ..report(State::Verified) }
}

#[test]
fn who_puts_it_off_gives_its_place_away_and_is_offered_it_later_without_a_try_less() {
    let offered = Deployment::waiting().offered(0, 3);
    let waiting = told(offered, &[report(State::Verified), put_off(1)]);
    assert_eq!((waiting.state, waiting.tries, waiting.deferred), (State::Waiting, 0, 1));
    assert_eq!((waiting.not_before, waiting.decided_at), (67_000, 7_000));
    let again = waiting.offered(0, 70_000);
    assert_eq!((again.tries, again.deferred, again.not_before), (1, 1, 0));
    let verified = told(again, &[put_off(1)]);
    assert_eq!(verified.state, State::Verified, "heard before: it only has the image again");
    assert_eq!(told(verified, &[put_off(2)]), verified, "once too often");
    let switched = told(again, &[report(State::Activated)]);
    assert_eq!(told(switched, &[put_off(1)]), switched, "too late");
    assert_eq!(again.offered(1, 80_000).deferred, 0, "another release");
}

#[test]
fn a_failed_download_is_tried_again_until_it_was_tried_often_enough() {
    let failed = Report { code: ErrorCode::DOWNLOAD_STALLED, ..report(State::Failed) };
    let first = told(Deployment::waiting().offered(0, 3), std::slice::from_ref(&failed));
    assert_eq!((first.state, first.code, first.tries), (State::Waiting, failed.code, 1));
    assert_eq!(first.not_before, 7_000 + 3_600_000);
    let second = told(first.offered(0, 9), std::slice::from_ref(&failed));
    assert_eq!((second.state, second.code, second.tries), (State::Failed, failed.code, 2));
    let unasked = told(first, &[report(State::Downloading), failed]);
    assert_eq!(unasked.state, State::Failed, "who begins without an offer has tried too");
}

#[test]
fn who_has_switched_cannot_make_that_a_failed_download() {
    let failed = Report { code: ErrorCode::DOWNLOAD_STALLED, ..report(State::Failed) };
    let switched = told(Deployment::waiting().offered(0, 3), &[report(State::Activated), failed]);
    assert_eq!((switched.state, switched.not_before), (State::Failed, 0));
}

#[test]
fn what_the_image_or_the_device_did_is_never_tried_again() {
    for (state, code) in [
        (State::Failed, ErrorCode::DOWNLOAD_HASH),
        (State::Failed, ErrorCode::FLASH_WRITE),
        (State::Failed, ErrorCode::TRUST_MISMATCH),
        (State::RolledBack, ErrorCode::SELF_TEST),
        (State::RolledBack, ErrorCode::DOWNLOAD_STALLED),
    ] {
        let ended = told(Deployment::waiting().offered(0, 3), &[Report { code, ..report(state) }]);
        assert_eq!(ended.state, state, "{code}");
    }
}

#[test]
fn only_a_later_poll_with_another_image_contradicts_the_word_of_a_healthy_device() {
    let release = release("1.1.0");
    let running = |sha256| Running {
        version: release.version.clone(),
        sha256,
        security_version: 1,
        pins: None,
        out_s: 0,
    };
    let poll = |at, sha256| Sighting { at, running: running(sha256), begins: None };
    let other = Digest([9; 32]);
    for state in State::ALL {
        let deployment = Deployment { state, changed_at: 5, ..Deployment::waiting() };
        let contradicts = |at, sha256| deployment.is_contradicted_by(&poll(at, sha256), &release);
        assert_eq!(contradicts(6, other), state == State::Healthy, "{state}");
        assert!(!contradicts(5, other), "{state}: the poll may have come first");
        assert!(!contradicts(6, release.sha256), "{state}");
    }
    let healthy = Deployment { state: State::Healthy, changed_at: 5, ..Deployment::waiting() };
    let gone = healthy.gone_back(6);
    assert_eq!((gone.state, gone.code), (State::TimedOut, ErrorCode::GONE_BACK));
    assert_eq!((gone.changed_at, gone.is_guess()), (6, true));
}
