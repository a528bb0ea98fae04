//! Drafts: what is checked against the fleet when they are made, and again when they are started; who did
//! what to a rollout; and where the way back ends.

use std::time::Duration;

use serde_json::{Value, json};
use waxwing_tuf::author::Ed25519Signer;

use crate::support::{Api, image};

fn draft(plan: &Value) -> Value {
    json!({
        "id": "r-1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": plan,
    })
}

fn phases(all: &[Value]) -> Value {
    json!({ "phases": all })
}

fn everybody() -> Value {
    json!({"size": {"percent": 100}})
}

async fn refused(api: &Api, new: Value, code: &str, field: &str) {
    api.post("rollouts", new.clone()).await.refused(422, code, Some(field));
    api.post("rollouts/dry-run", new).await.refused(422, code, Some(field));
    assert_eq!(api.get("rollouts").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_rollout_for_the_devices_of_another_product_is_refused_with_the_field() {
    let (api, mut other) = Api::with_fleet(2).await;
    other.key = Ed25519Signer::from_seed(&[8; 32]).unwrap();
    other.repo = "image/th2".to_owned();
    let mut product = other.product();
    product["id"] = json!("th2");
    api.post("products", product).await.ok();
    api.post("devices", json!({"id": "x-0", "product": "th2"})).await.ok();
    api.post("groups", json!({"id": "others", "product": "th2", "tags": {}})).await.ok();

    let mut theirs = draft(&json!({}));
    theirs["group"] = json!("others");
    refused(&api, theirs, "unknown_group", "group").await;
    let mut ours = draft(&json!({}));
    ours["product"] = json!("th2");
    refused(&api, ours, "unknown_release", "version").await;
    let canaries = phases(&[json!({"size": {"group": "others"}}), everybody()]);
    refused(&api, draft(&canaries), "unknown_group", "plan.phases[0].size.group").await;
    let mut nobodys = draft(&json!({}));
    nobodys["product"] = json!("th3");
    refused(&api, nobodys, "unknown_release", "version").await;
}

#[tokio::test]
async fn a_sample_is_compared_with_what_its_phase_adds_to_those_before() {
    let (api, _) = Api::with_fleet(400).await;
    let sampled =
        |size: Value, sample_min: u64| json!({"size": size, "gate": {"sample_min": sample_min}});
    let half = || json!({"size": {"percent": 50}});
    let field = "plan.phases[1].gate.sample_min";
    // 340 devices in all, 140 of them new.
    let second = |sample| phases(&[half(), sampled(json!({"percent": 85}), sample), everybody()]);
    refused(&api, draft(&second(141)), "invalid_plan", field).await;
    api.post("rollouts/dry-run", draft(&second(140))).await.ok();
    // 50 devices more are too few for statistics: all of them must become healthy (D28).
    let small = phases(&[half(), sampled(json!({"count": 250}), 200), everybody()]);
    api.post("rollouts/dry-run", draft(&small)).await.ok();
    // Some canaries are among the first 160 devices, too.
    let canaries: Vec<_> = (0..100).map(|n| format!("d-{n}")).collect();
    let lab = json!({"id": "lab", "product": "th1", "devices": canaries});
    api.post("groups", lab).await.ok();
    let second = |sample| {
        let lab = json!({"size": {"group": "lab"}});
        phases(&[lab, sampled(json!({"count": 200}), sample), everybody()])
    };
    refused(&api, draft(&second(200)), "invalid_plan", field).await;
    api.post("rollouts/dry-run", draft(&second(120))).await.ok();
}

/// A draft that was good is not started after this has happened, and stays a draft.
async fn not_started(api: &Api, code: &str, field: &str) {
    api.act("rollouts/r-1/start").await.refused(409, code, Some(field));
    assert_eq!(api.get("rollouts/r-1").await.ok()["state"], "draft");
}

#[tokio::test]
async fn a_draft_that_the_fleet_has_become_too_small_for_is_not_started() {
    let (api, _) = Api::with_fleet(130).await;
    let gate = json!({"size": {"percent": 100}, "gate": {"sample_min": 125}});
    api.post("rollouts", draft(&phases(&[gate]))).await.ok();
    for n in 0..6 {
        api.act(&format!("devices/d-{n}/revoke")).await.ok();
    }
    not_started(&api, "invalid_plan", "plan.phases[0].gate.sample_min").await;
    for n in 6..130 {
        api.act(&format!("devices/d-{n}/revoke")).await.ok();
    }
    not_started(&api, "empty_group", "group").await;
}

#[tokio::test]
async fn a_draft_whose_canaries_have_gone_is_not_started() {
    let (api, _) = Api::with_fleet(3).await;
    api.put("devices/d-0/tags", json!({"lab": ""})).await.ok();
    api.post("groups", json!({"id": "lab", "product": "th1", "tags": {"lab": ""}})).await.ok();
    let canaries = phases(&[json!({"size": {"group": "lab"}}), everybody()]);
    api.post("rollouts", draft(&canaries)).await.ok();
    api.put("devices/d-0/tags", json!({})).await.ok();
    not_started(&api, "invalid_plan", "plan.phases[0].size").await;
    api.put("devices/d-1/tags", json!({"lab": ""})).await.ok();
    assert_eq!(api.act("rollouts/r-1/start").await.ok()["state"], "running");
}

#[tokio::test]
async fn a_draft_whose_releases_are_not_listed_any_more_is_not_started() {
    for (version, code, field) in [
        ("1.0.0", "invalid_plan", "plan.stepping_stones"),
        ("1.1.0", "release_not_listed", "version"),
    ] {
        let (api, mut publisher) = Api::with_fleet(1).await;
        api.post("rollouts", draft(&json!({"stepping_stones": ["1.0.0"]}))).await.ok();
        let listed = publisher.roles.get_mut("th1-stable").unwrap();
        listed.remove(&format!("th1/stable/{version}/esp32c3.bin")).unwrap();
        api.publish(&publisher.publication()).await.ok();
        not_started(&api, code, field).await;
    }
}

#[tokio::test]
async fn a_draft_by_which_nobody_could_put_anything_off_any_more_is_not_started() {
    let (api, _) = Api::with_fleet(1).await;
    let until = (api.now_s() + 3600) * 1000;
    let plan = json!({"urgency": {"deferrable": {"times": 1, "until": until}}});
    api.post("rollouts", draft(&plan)).await.ok();
    api.clock.advance(Duration::from_hours(1));
    not_started(&api, "invalid_plan", "plan.urgency.deferrable.until").await;
}

#[tokio::test]
async fn whatever_is_done_to_a_rollout_is_in_the_audit_log_with_who_and_why() {
    let (api, _) = Api::with_fleet(4).await;
    let first = json!({"size": {"count": 1}, "gate": {"approval": true}});
    api.post("rollouts", draft(&phases(&[first, everybody()]))).await.ok();
    for action in ["start", "pause", "resume"] {
        api.act(&format!("rollouts/r-1/{action}")).await.ok();
    }
    for _ in 0..2 {
        api.post("rollouts/r-1/extend", json!({"seconds": 60})).await.ok();
    }
    api.act_as_another("rollouts/r-1/approve").await.ok();
    api.act("rollouts/r-1/cancel").await.ok();
    let log = api.get("audit").await.ok();
    let lines = log["items"].as_array().unwrap().iter();
    let lines = lines.filter(|line| line["subject"] == "rollout/r-1");
    let words = |line: &Value| {
        ["action", "actor", "reason"].map(|it| line[it].as_str().unwrap().to_owned()).join(" ")
    };
    let (said, details): (Vec<_>, Vec<_>) =
        lines.map(|line| (words(line), &line["detail"])).unzip();
    let expected = [
        "rollout_created admin:first ticket 7",
        "rollout_started admin:first ticket 7",
        "rollout_paused admin:first ticket 7",
        "rollout_resumed admin:first ticket 7",
        "rollout_extended admin:first ticket 7",
        "rollout_extended admin:first ticket 7",
        "rollout_approved admin:second ticket 8",
        "rollout_cancelled admin:first ticket 7",
    ];
    assert_eq!(said, expected);
    assert_eq!(details[5], &json!({"seconds": 60, "extended_s": 120}));
    assert_eq!(details[6], &json!({"phase": 0}));
}

#[tokio::test]
async fn the_way_back_ends_at_a_higher_security_version_and_leads_to_listed_releases_only() {
    let (api, mut publisher) = Api::with_fleet(1).await;
    let fixed = image("1.2.0");
    api.upload(&fixed).await;
    let target = publisher.list("stable", "1.2.0", &fixed);
    target["custom"]["match"]["security_version"] = json!(2);
    api.publish(&publisher.publication()).await.ok();
    let mut new = draft(&json!({}));
    (new["id"], new["version"]) = (json!("r-2"), json!("1.2.0"));
    api.post("rollouts", new).await.ok();
    api.act("rollouts/r-2/way-back").await.refused(409, "no_way_back", None);
    api.post("rollouts", draft(&json!({}))).await.ok();
    let listed = publisher.roles.get_mut("th1-stable").unwrap();
    listed.remove("th1/stable/1.0.0/esp32c3.bin").unwrap();
    api.publish(&publisher.publication()).await.ok();
    api.act("rollouts/r-1/way-back").await.refused(409, "no_way_back", None);
}
