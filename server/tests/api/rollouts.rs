//! `/api/v1/rollouts`.

use crate::support::Api;
use serde_json::{Value, json};

pub(crate) fn rollout(id: &str) -> Value {
    json!({
        "id": id, "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": {
            "phases": [{"size": {"percent": 10}}, {"size": {"percent": 50}}, {"size": {"percent": 100}}],
            "risk": 100,
        },
    })
}

async fn started(devices: u32) -> Api {
    let (api, _) = Api::with_fleet(devices).await;
    api.post("rollouts", rollout("r-1")).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api
}

fn with_phases(phases: &Value) -> Value {
    json!({ "phases": phases })
}

fn offered(api: &Api, devices: u32) -> usize {
    (0..devices).filter(|n| api.offered(&format!("d-{n}")).is_some()).count()
}

#[tokio::test]
async fn a_rollout_is_drafted_started_paused_resumed_and_cancelled() {
    let (api, _) = Api::with_fleet(20).await;
    let draft = api.post("rollouts", rollout("r-1")).await.ok();
    assert_eq!((&draft["state"], &draft["members"]), (&json!("draft"), &json!(0)));
    assert_eq!(offered(&api, 20), 0);
    let running = api.act("rollouts/r-1/start").await.ok();
    assert_eq!((&running["state"], &running["members"]), (&json!("running"), &json!(2)));
    assert_eq!(running["counts"]["waiting"], 2);
    assert_eq!(running["phases"][0]["members"], 2);
    assert_eq!(running["phases"][1]["members"], json!(null));
    assert_eq!(offered(&api, 20), 0, "nobody has polled");
    api.poll_all(20).await;
    assert_eq!(offered(&api, 20), 2);
    for (action, state, offers) in
        [("pause", "paused", 0), ("resume", "running", 2), ("cancel", "cancelled", 0)]
    {
        let answer = api.act(&format!("rollouts/r-1/{action}")).await.ok();
        assert_eq!(answer["state"], state);
        assert_eq!(offered(&api, 20), offers, "after {action}");
    }
    let after = api.get("rollouts/r-1").await.ok();
    assert!(after["finished_at"].is_string(), "{after}");
    let api = api.restarted().await;
    assert_eq!(api.get("rollouts/r-1").await.ok(), after);
    assert_eq!(api.get("rollouts").await.ok()["items"], json!([after]));
}

#[tokio::test]
async fn illegal_changes_are_refused_and_change_nothing() {
    let (api, _) = Api::with_fleet(1).await;
    api.post("rollouts", rollout("r-1")).await.ok();
    for action in ["pause", "resume"] {
        let answer = api.act(&format!("rollouts/r-1/{action}")).await;
        answer.refused(409, "illegal_state_change", None);
    }
    api.act("rollouts/r-1/start").await.ok();
    api.act("rollouts/r-1/start").await.refused(409, "illegal_state_change", None);
    api.act("rollouts/r-1/cancel").await.ok();
    for action in ["start", "pause", "resume", "cancel"] {
        let answer = api.act(&format!("rollouts/r-1/{action}")).await;
        answer.refused(409, "illegal_state_change", None);
    }
    assert_eq!(api.get("rollouts/r-1").await.ok()["state"], "cancelled");
}

async fn refused_with(field: &str, value: Value, code: &str, named: &str) {
    let (api, _) = Api::with_fleet(1).await;
    let mut new = rollout("r-1");
    new[field] = value;
    api.post("rollouts", new).await.refused(422, code, Some(named));
    assert_eq!(api.get("rollouts").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn rollouts_that_make_no_sense_are_refused_by_field() {
    let plan = async |plan, field| refused_with("plan", plan, "invalid_plan", field).await;
    plan(with_phases(&json!([])), "plan.phases").await;
    plan(with_phases(&json!([{"size": {"percent": 50}}])), "plan.phases").await;
    let gated = |gate| with_phases(&json!([{"size": {"percent": 100}, "gate": gate}]));
    plan(gated(json!({"soak_s": 10_000_000})), "plan.phases[0].gate.soak_s").await;
    plan(gated(json!({"sample_min": 0})), "plan.phases[0].gate.sample_min").await;
    plan(json!({"risk": 0}), "plan.risk").await;
    plan(json!({"stepping_stones": ["1.0.5"]}), "plan.stepping_stones").await;
    plan(json!({"stepping_stones": ["1.1.0"]}), "plan.stepping_stones").await;
    refused_with("version", json!("9.9.9"), "unknown_release", "version").await;
    refused_with("channel", json!("beta"), "unknown_release", "version").await;
    refused_with("group", json!("none"), "unknown_group", "group").await;
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_by_the_path_of_its_field() {
    let (api, _) = Api::with_fleet(1).await;
    for (field, value, named) in [
        ("plan", json!({"risk": 1.5}), Some("plan.risk")),
        ("plan", json!({"risk": "a `quoted` word"}), Some("plan.risk")),
        ("plan", with_phases(&json!([{}])), Some("plan.phases[0].size")),
        ("plan", json!({"happiness": 1}), Some("plan.happiness")),
        ("owner", json!("me"), Some("owner")),
    ] {
        let mut new = rollout("r-1");
        new[field] = value;
        api.post("rollouts", new).await.refused(400, "invalid_json", named);
    }
    let mut nothing = rollout("r-1");
    nothing.as_object_mut().unwrap().remove("group");
    api.post("rollouts", nothing).await.refused(400, "invalid_json", Some("group"));
    api.post("rollouts", json!(null)).await.refused(400, "invalid_json", None);
    let twice = format!("{0}{0}", rollout("r-1")).into_bytes();
    let answer = api.call(axum::http::Method::POST, "rollouts", twice).await;
    answer.refused(400, "invalid_json", None);
}

#[tokio::test]
async fn a_rollout_id_is_used_once_and_made_up_if_there_is_none() {
    let (api, _) = Api::with_fleet(1).await;
    api.post("rollouts", rollout("r-1")).await.ok();
    api.post("rollouts", rollout("r-1")).await.refused(409, "rollout_exists", Some("id"));
    let mut nameless = rollout("");
    nameless.as_object_mut().unwrap().remove("id");
    let made = api.post("rollouts", nameless).await.ok();
    assert!(made["id"].as_str().unwrap().starts_with("r-"), "{made}");
    for path in ["rollouts/none", "rollouts/none/deployments", "rollouts/none/recount"] {
        api.get(path).await.refused(404, "unknown_rollout", None);
    }
}

#[tokio::test]
async fn a_group_without_devices_has_no_rollout() {
    let (api, _) = Api::with_fleet(0).await;
    api.post("rollouts", rollout("r-1")).await.refused(422, "empty_group", Some("group"));
}

#[tokio::test]
async fn offers_show_up_in_counts_deployments_and_recount() {
    let api = started(20).await;
    api.poll_all(20).await;
    let shown = api.get("rollouts/r-1").await.ok();
    assert_eq!((&shown["counts"]["offered"], &shown["counts"]["waiting"]), (&json!(2), &json!(0)));
    let deployments = api.get("rollouts/r-1/deployments").await.ok();
    assert_eq!(deployments["items"].as_array().unwrap().len(), 2);
    assert_eq!(deployments["items"][0]["state"], "offered");
    let recount = api.get("rollouts/r-1/recount").await.ok();
    assert_eq!((&recount["equal"], &recount["reports"]), (&json!(true), &json!(0)));
    let seen = api.get("devices/d-0").await.ok();
    assert_eq!((&seen["version"], &seen["security_version"]), (&json!("1.0.0"), &json!(1)));
}

#[tokio::test]
async fn a_revoked_device_takes_no_part_any_more() {
    let api = started(1).await;
    api.act("devices/d-0/revoke").await.ok();
    let shown = api.get("rollouts/r-1").await.ok();
    assert_eq!((&shown["members"], &shown["counts"]["waiting"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_device_that_leaves_the_group_takes_what_it_has_begun_to_its_end() {
    let (api, _) = Api::with_fleet(3).await;
    for device in ["d-0", "d-1", "d-2"] {
        api.put(&format!("devices/{device}/tags"), json!({"site": "b"})).await.ok();
    }
    api.post("groups", json!({"id": "b", "product": "th1", "tags": {"site": "b"}})).await.ok();
    let mut new = rollout("r-1");
    (new["group"], new["plan"]) = (json!("b"), json!({}));
    api.post("rollouts", new).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.poll_all(2).await;
    for device in ["d-0", "d-2"] {
        api.put(&format!("devices/{device}/tags"), json!({"site": "c"})).await.ok();
    }
    let counts = async |api: &Api| {
        let counts = api.get("rollouts/r-1").await.ok()["counts"].clone();
        ["skipped", "offered", "waiting"].map(|state| counts[state].clone())
    };
    // One that had not begun is not waited for any more.
    assert_eq!(counts(&api).await, [json!(0), json!(2), json!(0)]);
    assert_eq!(
        ["d-0", "d-1", "d-2"].map(|device| api.offered(device).is_some()),
        [true, true, false]
    );
    let api = api.restarted().await;
    assert_eq!(counts(&api).await, [json!(0), json!(2), json!(0)]);
    assert!(api.offered("d-0").is_some());
}
