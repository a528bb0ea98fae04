//! `/api/v1/devices`.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use waxwing_server::clock::Clock as _;
use waxwing_server::jobs::keep_clock_mark;
use waxwing_server::revocation;
use waxwing_wire::DeviceId;

use crate::support::Api;

#[tokio::test]
async fn a_device_is_registered_once_and_survives_a_restart() {
    let (api, _) = Api::with_fleet(0).await;
    let new = json!({"id": "d-7", "product": "th1", "tags": {"site": "berlin"}});
    let made = api.post("devices", new.clone()).await.ok();
    assert_eq!((&made["status"], &made["last_seen_at"]), (&json!("registered"), &json!(null)));
    api.post("devices", new).await.refused(409, "device_exists", Some("id"));
    let api = api.restarted().await;
    let shown = api.get("devices/d-7").await.ok();
    assert_eq!((&shown["tags"], &shown["connected"]), (&made["tags"], &json!(false)));
}

#[tokio::test]
async fn devices_that_make_no_sense_are_refused_by_field() {
    let (api, _) = Api::with_fleet(0).await;
    let unknown = json!({"id": "d", "product": "none"});
    api.post("devices", unknown).await.refused(422, "unknown_product", Some("product"));
    let bad_id = json!({"id": "../d", "product": "th1"});
    assert_eq!(api.post("devices", bad_id).await.status, 400);
    let long = json!({"id": "d", "product": "th1", "tags": {"k": "v".repeat(65)}});
    api.post("devices", long).await.refused(422, "invalid_tags", Some("tags"));
    let extra = json!({"id": "d", "product": "th1", "owner": "me"});
    api.post("devices", extra).await.refused(400, "invalid_json", Some("owner"));
}

#[tokio::test]
async fn devices_are_listed_page_by_page_and_by_product() {
    let (api, _) = Api::with_fleet(5).await;
    let first = api.get("devices?limit=3").await.ok();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (3, &json!("d-2")));
    let second = api.get("devices?limit=3&after=d-2&product=th1").await.ok();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next"]), (2, &json!(null)));
    assert_eq!(api.get("devices?product=other").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn unknown_devices_are_not_found_whatever_is_asked() {
    let (api, _) = Api::with_fleet(0).await;
    api.get("devices/none").await.refused(404, "unknown_device", None);
    api.put("devices/none/tags", json!({})).await.refused(404, "unknown_device", None);
    for action in ["tokens", "revoke"] {
        let path = format!("devices/none/{action}");
        api.act(&path).await.refused(404, "unknown_device", None);
    }
    let command = json!({"command": "poll"});
    api.post("devices/none/commands", command).await.refused(404, "unknown_device", None);
}

#[tokio::test]
async fn tags_move_a_device_between_groups() {
    let (api, _) = Api::with_fleet(2).await;
    api.post("groups", json!({"id": "b", "product": "th1", "tags": {"site": "b"}})).await.ok();
    let members = || api.app.fleet.members_of(&"b".parse().unwrap());
    assert_eq!(members(), []);
    api.put("devices/d-1/tags", json!({"site": "b"})).await.ok();
    assert_eq!(members(), [DeviceId::parse("d-1").unwrap()]);
    api.put("devices/d-1/tags", json!(["b"])).await;
    assert_eq!(members().len(), 1, "what is refused changes nothing");
}

#[tokio::test]
async fn a_token_is_random_and_ends() {
    let (api, _) = Api::with_fleet(1).await;
    let one = api.act("devices/d-0/tokens").await.ok();
    let other = api.act("devices/d-0/tokens").await.ok();
    assert_ne!(one["token"], other["token"]);
    assert_eq!(one["token"].as_str().unwrap().len(), 43);
    assert!(one["expires_at"].as_str().unwrap().starts_with("2026-11-27T"), "{one}");
}

#[tokio::test]
async fn a_revoked_device_is_out_for_good() {
    let (api, _) = Api::with_fleet(1).await;
    assert_eq!(api.act("devices/d-0/revoke").await.ok()["status"], "revoked");
    assert_eq!(api.act("devices/d-0/revoke").await.ok()["status"], "revoked", "twice is no error");
    api.act("devices/d-0/tokens").await.refused(409, "device_revoked", None);
    let command = json!({"command": "poll"});
    api.post("devices/d-0/commands", command).await.refused(409, "device_revoked", None);
    let api = api.restarted().await;
    assert_eq!(api.get("devices/d-0").await.ok()["status"], "revoked");
}

#[tokio::test]
async fn a_clock_gone_wrong_changes_nothing_and_leaves_no_time_behind() {
    let (api, _) = Api::with_fleet(1).await;
    let before = api.get("audit").await.ok();
    api.clock.set_ahead(Duration::from_hours(24));
    let answer = api.put("devices/d-0/tags", json!({"site": "b"})).await;
    answer.refused(503, "director_clock", None);
    api.act("devices/d-0/revoke").await.refused(503, "director_clock", None);
    // A list from before would be due now, and its number would come from the wrong clock.
    revocation::keep_current(&api.app).await.unwrap();
    api.clock.set_ahead(Duration::ZERO);
    assert_eq!(api.get("audit").await.ok(), before);
    api.put("devices/d-0/tags", json!({"site": "b"})).await.ok();
    let decision = api.app.fleet.decide(&"d-0".parse().unwrap(), 1).unwrap();
    assert!(decision.decided_at_ms <= api.clock.now_ms(), "{decision:?}");
}

#[tokio::test]
async fn after_a_restore_from_a_backup_everything_is_decided_anew_and_only_then() {
    let (api, _) = Api::with_fleet(1).await;
    let decided_at = |api: &Api| {
        let decision = api.app.fleet.decide(&"d-0".parse().unwrap(), 1);
        decision.unwrap().decided_at_ms
    };
    keep_clock_mark(&api.app.store, api.app.director.guard()).await.unwrap();
    let api = api.restarted_after(|database| copy(database, "backup")).await;
    let backed_up = decided_at(&api);
    api.put("devices/d-0/tags", json!({"site": "b"})).await.ok();
    let lost = decided_at(&api);
    api.clock.advance(Duration::from_hours(24));
    keep_clock_mark(&api.app.store, api.app.director.guard()).await.unwrap();
    let api = api.restarted().await;
    assert_eq!(decided_at(&api), lost, "an ordinary restart decides nothing");
    let signed = api.clock.now_ms();
    let api = api.restarted_after(restore).await;
    assert!(backed_up < lost && lost < signed && signed < decided_at(&api));
    let renewed = decided_at(&api);
    assert_eq!(decided_at(&api.restarted().await), renewed);
}

fn copy(database: &Path, extension: &str) {
    std::fs::copy(database, database.with_extension(extension)).unwrap();
}

fn restore(database: &Path) {
    std::fs::copy(database.with_extension("backup"), database).unwrap();
}

#[tokio::test]
async fn a_time_zone_that_nobody_knows_is_refused_when_it_is_set() {
    let (api, _) = Api::with_fleet(2).await;
    let refused = |answer: crate::support::Answer| {
        answer.refused(422, "unknown_time_zone", Some("tags.timezone"));
    };
    for name in ["Europe/Berln", "", "CEST+2", "+02:00", "../../etc/passwd"] {
        refused(api.put("devices/d-0/tags/timezone", json!({"value": name})).await);
    }
    refused(api.put("devices/d-0/tags", json!({"timezone": "Mars/Olympus"})).await);
    let new = json!({"id": "d-9", "product": "th1", "tags": {"timezone": "Mars/Olympus"}});
    refused(api.post("devices", new).await);
    let many = |zone: &str| json!({"query": "device==*", "set_tags": {"timezone": zone}});
    refused(api.post("labels", many("Mars/Olympus")).await);
    assert_eq!(api.get("devices/d-0").await.ok()["tags"], json!({"n": "0"}));
    api.post("labels", many("Europe/Berlin")).await.ok();
    api.put("devices/d-1/tags/timezone", json!({"value": "UTC"})).await.ok();
    assert_eq!(api.get("devices/d-0").await.ok()["tags"]["timezone"], "Europe/Berlin");
    api.delete("devices/d-1/tags/timezone").await.ok();
}

#[tokio::test]
async fn a_wrong_time_zone_of_long_ago_keeps_nobody_from_changing_other_tags() {
    let (api, _) = Api::with_fleet(1).await;
    let mut device = waxwing_server::domain::Device::clone(
        &api.app.fleet.device(&"d-0".parse().unwrap()).unwrap(),
    );
    device.tags.insert("timezone".to_owned(), "Mars/Olympus".to_owned());
    api.app.fleet.put_device(device);
    api.put("devices/d-0/tags/site", json!({"value": "lab"})).await.ok();
    let other = api.put("devices/d-0/tags/timezone", json!({"value": "Mars/Tharsis"})).await;
    other.refused(422, "unknown_time_zone", Some("tags.timezone"));
}
