//! Plans: what is refused, what is rehearsed, who approves, who is asked why, and the way back.

use std::time::Duration;

use semver::Version;
use serde_json::{Value, json};
use waxwing_server::clock::Clock as _;
use waxwing_server::domain::{Deployment, Running};
use waxwing_server::jobs::{advance_rollouts, flush_sightings};
use waxwing_server::store::effects;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Digest, ErrorCode, Report};

use crate::support::{Api, image};

fn rollout(id: &str, plan: &Value) -> Value {
    json!({
        "id": id, "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": plan,
    })
}

fn phases(all: &[Value]) -> Value {
    json!({ "phases": all })
}

#[tokio::test]
async fn plans_that_cannot_finish_are_refused_with_the_field() {
    let (api, _) = Api::with_fleet(3).await;
    api.post("groups", json!({"id": "none", "product": "th1", "tags": {"no": "body"}})).await.ok();
    let everybody = json!({"size": {"percent": 100}});
    for (plan, field) in [
        (phases(&[json!({"size": {"percent": 50}})]), "plan.phases"),
        (phases(&[everybody.clone(), everybody.clone()]), "plan.phases[1].size"),
        (
            phases(&[json!({"size": {"group": "ghosts"}}), everybody.clone()]),
            "plan.phases[0].size.group",
        ),
        (phases(&[json!({"size": {"group": "none"}}), everybody.clone()]), "plan.phases[0].size"),
        (json!({"windows": ["Mon 10:00-10:00"]}), "plan.windows[0]"),
        (json!({"not_before": u64::MAX}), "plan.not_before"),
        (json!({"switched_by": "r-0"}), "plan.switched_by"),
        (json!({"switched_by": "r-1"}), "plan.switched_by"),
        (json!({"stepping_stones": ["0.9.0"]}), "plan.stepping_stones"),
        (json!({"timeouts": {"booted_s": 0}}), "plan.timeouts.booted_s"),
        (json!({"urgency": {"deferrable": {"times": 0}}}), "plan.urgency.deferrable.times"),
        (json!({"urgency": {"deferrable": {"times": 31}}}), "plan.urgency.deferrable.times"),
        (
            json!({"urgency": {"deferrable": {"times": 1, "until": 1_000}}}),
            "plan.urgency.deferrable.until",
        ),
    ] {
        let answer = api.post("rollouts", rollout("r-1", &plan)).await;
        let code = if field.ends_with("group") { "unknown_group" } else { "invalid_plan" };
        answer.refused(422, code, Some(field));
        api.post("rollouts/dry-run", rollout("r-1", &plan)).await.refused(422, code, Some(field));
    }
    for (plan, field) in [
        (json!({"windows": ["whenever"]}), "plan.windows[0]"),
        (
            phases(&[json!({"size": {"percent": 100}, "gate": {"healthy_permille": 1001}})]),
            "plan.phases[0].gate.healthy_permille",
        ),
    ] {
        let answer = api.post("rollouts", rollout("r-1", &plan)).await;
        answer.refused(400, "invalid_json", Some(field));
    }
    let (large, _) = Api::with_fleet(300).await;
    let gate = json!({"size": {"percent": 100}, "gate": {"sample_min": 301}});
    let answer = large.post("rollouts", rollout("r-1", &phases(&[gate]))).await;
    answer.refused(422, "invalid_plan", Some("plan.phases[0].gate.sample_min"));
    assert_eq!(api.get("rollouts").await.ok()["items"], json!([]));
    assert_eq!(api.restarted().await.get("rollouts").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_dry_run_tells_who_would_get_what_and_drafts_nothing() {
    let (api, _) = Api::with_fleet(10).await;
    api.poll_all(9).await;
    api.act("devices/d-0/revoke").await.ok();
    let plan = json!({
        "phases": [{"size": {"count": 2}}, {"size": {"percent": 100}}], "risk": 4,
        "windows": ["Mon 00:00-00:01"],
    });
    let answer = api.post("rollouts/dry-run", rollout("r-1", &plan)).await.ok();
    assert_eq!(
        (&answer["members"], &answer["reached"], &answer["first"]),
        (&json!(9), &json!(9), &json!(4))
    );
    assert_eq!(answer["phases"][0]["members"], 2);
    assert_eq!(answer["phases"][0]["small"], true, "too few for statistics (D28)");
    assert_eq!(
        (&answer["sorts"][0]["standing"], &answer["sorts"][0]["devices"]),
        (&json!("closed"), &json!(9))
    );
    assert!(answer["sorts"][0]["why"].as_str().unwrap().contains("window"), "{answer:#}");
    assert_eq!(api.get("rollouts").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn the_next_phase_needs_somebody_else_where_the_plan_asks_for_it() {
    let (api, _) = Api::with_fleet(4).await;
    let first = json!({"size": {"count": 1}, "gate": {"approval": true}});
    let plan = phases(&[first, json!({"size": {"percent": 100}})]);
    api.post("rollouts", rollout("r-1", &plan)).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.act("rollouts/r-1/approve").await.refused(403, "approval_by_author", None);
    let approved = api.act_as_another("rollouts/r-1/approve").await.ok();
    assert_eq!(approved["phases"][0]["approved_by"], "admin:second");
    let again = api.act_as_another("rollouts/r-1/approve").await;
    again.refused(409, "no_approval_asked", None);
    let audit = api.get("audit").await.ok();
    assert!(audit.to_string().contains("rollout_approved"), "{audit:#}");
}

#[tokio::test]
async fn an_operator_is_told_in_words_why_a_device_has_no_update() {
    let (api, _) = Api::with_fleet(3).await;
    let asked = async |api: &Api| api.get("devices/d-0/standing").await.ok();
    assert_eq!(asked(&api).await["summary"], "It has never polled.");
    api.poll_all(3).await;
    assert_eq!(asked(&api).await["summary"], "No rollout is for it.");
    api.post("rollouts", rollout("r-1", &json!({"risk": 3}))).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    let waits = asked(&api).await;
    assert_eq!(waits["rollouts"][0]["standing"], "waits");
    api.poll_all(3).await;
    let offered = asked(&api).await;
    assert_eq!(offered["rollouts"][0]["standing"], "offered", "{offered:#}");
    api.act("rollouts/r-1/pause").await.ok();
    assert_eq!(
        asked(&api).await["rollouts"][0]["why"],
        "The rollout is paused: it offers nothing."
    );
    api.get("devices/none/standing").await.refused(404, "unknown_device", None);
}

#[tokio::test]
async fn an_operator_is_told_who_put_it_off_and_what_is_tried_again() {
    let (api, _) = Api::with_fleet(2).await;
    api.poll_all(2).await;
    let plan = json!({"risk": 3, "urgency": {"deferrable": {"times": 3}}});
    api.post("rollouts", rollout("r-1", &plan)).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    // 2100-01-01
    let waiting = Deployment { not_before: 4_102_444_800_000, ..Deployment::waiting() };
    let code = ErrorCode::DOWNLOAD_STALLED;
    for (deployment, standing, why) in [
        (
            Deployment { deferred: 2, ..waiting },
            "put_off",
            "Its user put it off 2 of 3 times, until 2100-01-01T00:00:00Z.",
        ),
        (
            Deployment { code, tries: 1, ..waiting },
            "tries_again",
            "Its download failed, code 302 download_stalled, in try 1 of 3; \
             it is offered again after 2100-01-01T00:00:00Z.",
        ),
    ] {
        let (device, id) = ("d-0".parse().unwrap(), "r-1".parse().unwrap());
        api.app.fleet.put_deployment(&device, &id, deployment);
        let told = api.get("devices/d-0/standing").await.ok();
        let it = &told["rollouts"][0];
        assert_eq!((&it["standing"], &it["why"]), (&json!(standing), &json!(why)));
    }
}

#[tokio::test]
async fn a_rollout_can_be_given_more_time_until_it_is_over() {
    let (api, _) = Api::with_fleet(1).await;
    api.post("rollouts", rollout("r-1", &json!({}))).await.ok();
    api.post("rollouts/r-1/extend", json!({"seconds": 0})).await.refused(
        422,
        "invalid_extension",
        Some("seconds"),
    );
    api.post("rollouts/r-1/extend", json!({"seconds": 3600})).await.ok();
    let api = api.restarted().await;
    assert_eq!(api.get("rollouts/r-1").await.ok()["extended_s"], 3600);
    api.act("rollouts/r-1/cancel").await.ok();
    let late = api.post("rollouts/r-1/extend", json!({"seconds": 3600})).await;
    late.refused(409, "illegal_state_change", None);
}

#[tokio::test]
async fn the_way_back_is_for_those_who_switched_and_within_one_security_version() {
    let (api, _) = Api::with_fleet(3).await;
    let mut first = rollout("r-0", &json!({}));
    first["version"] = json!("1.0.0");
    api.post("rollouts", first).await.ok();
    api.act("rollouts/r-0/way-back").await.refused(409, "no_way_back", None);
    api.post("rollouts", rollout("r-1", &json!({"risk": 3}))).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.poll_all(3).await;
    for (device, state) in [("d-0", State::Healthy), ("d-1", State::Failed)] {
        let deployment = Deployment { state, ..Deployment::waiting().offered(0, 1) };
        api.app.fleet.put_deployment(&device.parse().unwrap(), &"r-1".parse().unwrap(), deployment);
    }
    let back = api.act("rollouts/r-1/way-back").await.ok();
    assert_eq!((&back["id"], &back["version"]), (&json!("r-1-back"), &json!("1.0.0")));
    let back = api.act("rollouts/r-1-back/start").await.ok();
    assert_eq!(back["members"], 1, "{back:#}");
    let late = Deployment { state: State::Booted, ..Deployment::waiting().offered(0, 1) };
    api.app.fleet.put_deployment(&"d-2".parse().unwrap(), &"r-1".parse().unwrap(), late);
    assert_eq!(api.get("rollouts/r-1-back").await.ok()["members"], 2, "who switches later too");
}

/// Every device polls that runs a version, and what that began is written; returns how many are asked to
/// poll again soon.
async fn polled(api: &Api, devices: u32, version: &str) -> usize {
    let running = Running {
        version: version.parse().unwrap(),
        sha256: Digest([1; 32]),
        security_version: 1,
        pins: None,
        out_s: 0,
    };
    let now_ms = api.clock.now_ms();
    advance_rollouts(&api.app.store, &api.app.fleet, now_ms).await.unwrap();
    let poll = |n: u32| api.app.fleet.poll(&device(n), &running, now_ms).unwrap();
    let soon = (0..devices).filter(|n| poll(*n).soon).count();
    flush_sightings(&api.app.store, &api.app.fleet).await.unwrap();
    soon
}

fn device(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

#[tokio::test]
async fn a_byte_budget_calls_back_only_as_its_bytes_come_together() {
    let (api, _) = Api::with_fleet(10).await;
    // An image in ten seconds.
    let bytes_per_s = image("1.1.0").len() / 10;
    api.post("rollouts", rollout("r-1", &json!({"risk": 100, "bytes_per_s": bytes_per_s})))
        .await
        .ok();
    api.act("rollouts/r-1/start").await.ok();
    let turn = async |after_s: u64| {
        api.clock.advance(Duration::from_secs(after_s));
        let soon = polled(&api, 10, "1.0.0").await;
        (soon, (0..10).filter(|n| api.offered(&format!("d-{n}")).is_some()).count())
    };
    assert_eq!(turn(0).await, (0, 0), "it begins empty");
    assert_eq!(turn(11).await, (1, 1), "whoever comes first");
    assert_eq!(turn(1).await, (0, 1), "nobody is called back for nothing");
    assert_eq!(turn(20).await, (2, 3));
    assert_eq!(turn(10_000).await, (5, 8), "a minute is saved up, and no more");
}

#[tokio::test]
async fn a_device_that_is_too_old_gets_the_required_release_in_between() {
    let (api, _) = Api::with_fleet(2).await;
    let plan = json!({"risk": 9, "stepping_stones": ["1.0.0"]});
    api.post("rollouts", rollout("r-1", &plan)).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    let offered = |n: u32| {
        let decision = api.app.fleet.decide(&device(n), api.clock.now_ms()).unwrap();
        decision.offer.map(|offer| offer.release.version.to_string())
    };
    polled(&api, 1, "0.9.0").await;
    assert_eq!(offered(0).as_deref(), Some("1.0.0"), "too old");
    let route = api.app.fleet.route_of(&"r-1".parse().unwrap()).unwrap();
    let report = Report {
        rollout: "r-1".parse().unwrap(),
        release: Version::new(1, 0, 0),
        state: State::Healthy,
        code: ErrorCode::NONE,
        fw_sha256: route.1[0].sha256,
        attempt: 1,
        measured_at: 0,
        deferred: None,
    };
    let (_, effect) = api.app.fleet.on_report(&device(0), &report, api.clock.now_ms()).unwrap();
    let mut change = api.app.store.begin().await.unwrap();
    effects::write(change.connection(), &effect).await.unwrap();
    let turn = change.commit().await.unwrap();
    api.app.fleet.show(effect);
    drop(turn);
    polled(&api, 2, "1.0.0").await;
    polled(&api, 2, "1.0.0").await;
    assert_eq!(offered(0).as_deref(), Some("1.1.0"), "from the stone to the end");
    assert_eq!(offered(1).as_deref(), Some("1.1.0"), "who is new enough goes straight there");
}
