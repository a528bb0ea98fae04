//! A full disk: said so, and nothing half done.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn a_full_disk_has_its_own_error_and_leaves_no_partial_state() {
    let (api, _) = Api::with_fleet(0).await;
    // SQLite takes this as "no page more than there are".
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query("PRAGMA max_page_count = 1").execute(change.connection()).await.unwrap();
    drop(change);
    let tags = json!({"a": "x".repeat(64), "b": "y".repeat(64), "c": "z".repeat(64)});
    let mut stored = 0;
    let answer = loop {
        let id = format!("d-{stored:04}");
        let device = json!({"id": id, "product": "th1", "tags": tags.clone()});
        let answer = api.post("devices", device).await;
        if !answer.status.is_success() {
            break answer;
        }
        stored += 1;
        assert!(stored < 1000, "the disk never fills");
    };
    answer.refused(507, "disk_full", None);
    let refused = format!("devices/d-{stored:04}");
    api.get(&refused).await.refused(404, "unknown_device", None);
    // There is room again, and the next change needs no restart.
    let late = json!({"id": "d-late", "product": "th1", "tags": {}});
    api.post("devices", late).await.ok();
    stored += 1;
    api.app.store.ping().await.unwrap();
    let api = api.restarted().await;
    api.get(&refused).await.refused(404, "unknown_device", None);
    let listed = api.get("devices?limit=1000").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), stored);
}
