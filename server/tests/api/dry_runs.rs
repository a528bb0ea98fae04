//! `POST /api/v1/rollouts/dry-run`: every reason why a device would get nothing, or not yet.

use serde_json::{Value, json};
use waxwing_server::domain::{Deployment, Running};
use waxwing_server::jobs::flush_sightings;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Digest};

use crate::support::{Api, image, sha256};

fn id(n: u32) -> DeviceId {
    format!("d-{n}").parse().unwrap()
}

async fn polls(api: &Api, n: u32, (version, sha256, security_version): (&str, Digest, u32)) {
    let version = version.parse().unwrap();
    let running = Running { version, sha256, security_version, pins: None, out_s: 0 };
    api.app.fleet.poll(&id(n), &running, api.now_s() * 1000).unwrap();
    flush_sightings(&api.app.store, &api.app.fleet).await.unwrap();
}

fn rollout(id: &str, version: &str, plan: &Value) -> Value {
    json!({
        "id": id, "product": "th1", "channel": "stable", "version": version, "group": "all",
        "plan": plan,
    })
}

#[tokio::test]
async fn each_device_is_told_of_with_its_own_reason() {
    let (api, _) = Api::with_fleet(6).await;
    let old = Digest([1; 32]);
    polls(&api, 0, ("1.1.0", sha256(&image("1.1.0")), 1)).await;
    polls(&api, 1, ("1.0.0", old, 2)).await;
    polls(&api, 2, ("0.9.0", old, 1)).await;
    polls(&api, 3, ("1.0.0", old, 1)).await;
    // It is Friday, half past nine in the morning; in Tokyo it is evening.
    api.put("devices/d-3/tags", json!({"timezone": "Asia/Tokyo"})).await.ok();
    api.post("rollouts", rollout("r-0", "1.0.0", &json!({}))).await.ok();
    api.act("rollouts/r-0/start").await.ok();
    let switched = Deployment { state: State::Booted, ..Deployment::waiting().offered(0, 1) };
    api.app.fleet.put_deployment(&id(4), &"r-0".parse().unwrap(), switched);
    api.act("devices/d-5/revoke").await.ok();

    let plan = json!({"stepping_stones": ["1.0.0"], "windows": ["Fri 09:00-17:00"]});
    let told = api.post("rollouts/dry-run", rollout("r-1", "1.1.0", &plan)).await.ok();
    assert_eq!((&told["members"], &told["reached"]), (&json!(5), &json!(2)), "{told:#}");
    let sorts = told["sorts"].as_array().unwrap();
    let of = |n: u32| {
        let has = |sort: &&Value| sort["named"] == json!([format!("d-{n}")]);
        let sort = sorts.iter().find(has).unwrap_or_else(|| panic!("d-{n}: {told:#}"));
        (sort["standing"].as_str().unwrap(), &sort["release"], sort["why"].as_str().unwrap())
    };
    let nothing = &Value::Null;
    assert_eq!(of(0), ("has_image", nothing, "It runs the image already."));
    let refuses = "It would refuse: its security version is higher than the release's.";
    assert_eq!(of(1), ("below_floor", nothing, refuses));
    let waits = "It waits for a place among the devices in flight.";
    assert_eq!(of(2), ("waits", &json!("1.0.0"), waits), "the stepping stone first");
    let closed = "No maintenance window is open; the next one opens at 2026-11-27T00:00:00Z.";
    assert_eq!(of(3), ("closed", &json!("1.1.0"), closed), "in the time of the device");
    let above = "Rollout r-0 decides about it until it has come to an end there.";
    assert_eq!(of(4), ("overruled", nothing, above));
    let rollouts = api.get("rollouts").await.ok();
    assert_eq!(rollouts["items"].as_array().unwrap().len(), 1, "nothing was drafted");
}

#[tokio::test]
async fn a_dry_run_names_twenty_of_many_and_counts_them_all() {
    let (api, _) = Api::with_fleet(25).await;
    let told = api.post("rollouts/dry-run", rollout("r-1", "1.1.0", &json!({}))).await.ok();
    let sort = &told["sorts"][0];
    assert_eq!((&sort["standing"], &sort["devices"]), (&json!("waits"), &json!(25)));
    assert_eq!(sort["named"].as_array().unwrap().len(), 20);
    assert_eq!(told["first"], 15, "as many as the plan is ready to lose");
}
