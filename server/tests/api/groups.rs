//! `/api/v1/groups`.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn a_group_lists_devices_or_tags_and_survives_a_restart() {
    let (api, _) = Api::with_fleet(3).await;
    let new = json!({"id": "two", "product": "th1", "devices": ["d-1", "d-2"]});
    let made = api.post("groups", new.clone()).await.ok();
    assert_eq!((&made["devices"], &made["tags"]), (&json!(["d-1", "d-2"]), &json!(null)));
    api.post("groups", new).await.refused(409, "group_exists", Some("id"));
    let api = api.restarted().await;
    assert_eq!(api.get("groups/two").await.ok(), made);
    assert_eq!(api.get("groups?after=all").await.ok()["items"], json!([made]));
    assert_eq!(api.app.fleet.members_of(&"two".parse().unwrap()).len(), 2);
    assert_eq!(api.app.fleet.members_of(&"all".parse().unwrap()).len(), 3);
}

#[tokio::test]
async fn groups_that_make_no_sense_are_refused_by_field() {
    let (api, _) = Api::with_fleet(1).await;
    let stranger = json!({"id": "g", "product": "th1", "devices": ["d-9"]});
    api.post("groups", stranger).await.refused(422, "unknown_device", Some("devices"));
    let product = json!({"id": "g", "product": "none", "tags": {}});
    api.post("groups", product).await.refused(422, "unknown_product", Some("product"));
    let both = json!({"id": "g", "product": "th1", "tags": {}, "devices": []});
    api.post("groups", both).await.refused(422, "invalid_group", Some("devices"));
    let neither = json!({"id": "g", "product": "th1"});
    api.post("groups", neither).await.refused(422, "invalid_group", Some("devices"));
    api.get("groups/none").await.refused(404, "unknown_group", None);
}
