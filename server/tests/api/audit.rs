//! `/api/v1/audit`.

use axum::http::Method;
use serde_json::json;

use crate::support::{Answer, Api};

#[tokio::test]
async fn every_change_says_who_what_when_and_why() {
    let (api, _) = Api::with_fleet(1).await;
    let lines = api.get("audit").await.ok()["items"].as_array().unwrap().clone();
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    let expected = [
        "product_created",
        "image_stored",
        "image_stored",
        "metadata_stored",
        "device_created",
        "group_created",
    ];
    assert_eq!(actions[actions.len() - 6..], expected);
    let last = lines.last().unwrap();
    assert_eq!(last["actor"], "admin:first");
    assert_eq!(last["subject"], "group/all");
    assert_eq!(last["reason"], "ticket 7");
    assert!(last["at"].as_str().unwrap().starts_with("2026-11-20T"), "{last}");
}

#[tokio::test]
async fn a_reason_is_kept_in_any_language_or_refused() {
    let (api, _) = Api::with_fleet(2).await;
    let revoke = async |device: &str, reason: &[u8]| {
        let path = format!("devices/{device}/revoke");
        api.call_because(reason, Method::POST, &path, Vec::new()).await
    };
    revoke("d-0", "Gerät gestohlen, 盗難".as_bytes()).await.ok();
    let refused = |answer: Answer| answer.refused(400, "invalid_reason", Some("Waxwing-Reason"));
    refused(revoke("d-1", b"Ger\xe4t gestohlen").await);
    refused(revoke("d-1", &[b'x'; 501]).await);
    let lines = api.get("audit").await.ok()["items"].as_array().unwrap().clone();
    assert_eq!(lines.last().unwrap()["reason"], "Gerät gestohlen, 盗難");
}

#[tokio::test]
async fn what_was_refused_leaves_no_line_and_no_change() {
    let (api, _) = Api::with_fleet(1).await;
    let before = api.get("audit").await.ok();
    api.post("devices", json!({"id": "d-0", "product": "th1"})).await;
    api.post("groups", json!({"id": "all", "product": "th1", "tags": {}})).await;
    api.act("rollouts/none/start").await;
    assert_eq!(api.get("audit").await.ok(), before);
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let (api, _) = Api::with_fleet(3).await;
    let all = api.get("audit").await.ok();
    let all = all["items"].as_array().unwrap();
    let (mut read, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("audit?limit=2{after}")).await.ok();
        read.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(&read, all);
}
