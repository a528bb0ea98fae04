//! `/api/v1/audit`.

use std::path::Path;

use axum::http::Method;
use serde_json::json;
use waxwing_audit::{Audit, Finding, Head, Note};
use waxwing_server::jobs::{check_audit, sign_audit_if_due};
use waxwing_tuf::key::PublicKey;

use crate::support::{Answer, Api, Publisher};

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

/// Reads the log as somebody does who trusts nothing but these keys.
async fn follow(api: &Api, keys: &[PublicKey]) -> Result<Head, Finding> {
    let list = async |path: &str| {
        let page = api.get(&format!("{path}?limit=1000")).await.ok();
        page["items"].as_array().unwrap().clone()
    };
    let notes = list("audit/checkpoints").await;
    let parse = |item: &serde_json::Value| Note::parse(item["note"].as_str().unwrap()).unwrap();
    let notes: Vec<_> = notes.iter().map(parse).collect();
    let newest = notes.last().unwrap().verify(keys).unwrap();
    let mut audit = Audit::new(&newest.origin);
    for note in &notes {
        audit.expect(note.verify(keys).unwrap().head)?;
    }
    for row in list("audit/rows").await {
        audit.follow(&serde_json::from_value(row).unwrap())?;
    }
    audit.finish()
}

async fn tamper(api: &Api, statement: &'static str) {
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query(statement).execute(change.connection()).await.unwrap();
    drop(change.commit().await.unwrap());
}

#[tokio::test]
async fn whoever_knows_the_directors_key_can_check_the_whole_log() {
    let (api, _) = Api::with_fleet(2).await;
    api.get("audit/checkpoint").await.refused(404, "no_checkpoint", None);
    let first = api.act("audit/checkpoints").await.ok();
    assert_eq!(api.act("audit/checkpoints").await.ok(), first, "nothing new, nothing signed");
    api.act("devices/d-0/revoke").await.ok();
    let second = api.act("audit/checkpoints").await.ok();
    assert_ne!(second, first);
    assert_eq!(api.get("audit/checkpoint").await.ok(), second);
    let keys = [api.app.director.public().clone()];
    let head = follow(&api, &keys).await.unwrap();
    let lines = api.get("audit?limit=1000").await.ok()["items"].as_array().unwrap().len();
    assert_eq!(usize::try_from(head.size), Ok(lines));
    assert_eq!(follow(&api.restarted().await, &keys).await, Ok(head));
}

#[tokio::test]
async fn a_server_notices_by_itself_what_was_done_to_its_log_and_goes_on() {
    let (api, _) = Api::with_fleet(1).await;
    api.act("audit/checkpoints").await.ok();
    let readiness = async |api: &Api| {
        check_audit::run(&api.app).await.unwrap();
        api.get("readiness").await.ok()["warnings"].clone()
    };
    let metric = |api: &Api| {
        let text = api.app.metrics.to_text().unwrap();
        text.lines().any(|line| line == "waxwing_audit_broken 1")
    };
    assert_eq!((readiness(&api).await, metric(&api)), (json!([]), false));
    tamper(&api, "UPDATE audit SET reason = 'nothing to see' WHERE id = 4").await;
    let warnings = readiness(&api).await;
    assert!(warnings[0].as_str().unwrap().contains("row 4 "), "{warnings}");
    assert!(metric(&api));
    let before = follow(&api, &[api.app.director.public().clone()]).await;
    assert_eq!(before, Err(Finding::Changed { row: 4 }));
    api.act("devices/d-0/revoke").await.ok();
    let api = api.restarted().await;
    let rows = api.get("audit/rows?limit=1000").await.ok();
    let last = rows["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["action"], "device_revoked");
    assert!(last["hash"].is_string());
    assert_eq!(readiness(&api).await, warnings);
}

#[tokio::test]
async fn history_rewritten_with_all_its_hashes_does_not_fit_what_was_signed() {
    let (api, _) = Api::with_fleet(1).await;
    api.act("audit/checkpoints").await.ok();
    let unchain = "UPDATE audit SET actor = 'admin:other' WHERE id = 2; \
                   UPDATE audit_log SET hash = ''";
    tamper(&api, unchain).await;
    // The server itself makes all hashes anew.
    let api = api.restarted().await;
    let signed = api.get("audit/rows?limit=1000").await.ok()["items"].as_array().unwrap().len();
    let last = i64::try_from(signed).unwrap();
    let keys = [api.app.director.public().clone()];
    assert_eq!(follow(&api, &keys).await, Err(Finding::Rewritten { first: 1, last }));
    assert!(check_audit(&api.app.store).await.unwrap().is_err());
}

#[tokio::test]
async fn a_new_key_of_the_director_signs_the_log_at_once() {
    let (api, _) = Api::with_fleet(1).await;
    let (store, director) = (&api.app.store, &api.app.director);
    assert_eq!(sign_audit_if_due(store, director).await.unwrap(), Some(1));
    assert_eq!(sign_audit_if_due(store, director).await.unwrap(), None);
    let old = director.public().clone();
    let key = |database: &Path| database.with_file_name("secrets").join("director.key");
    let api = api.restarted_after(|database| std::fs::write(key(database), [8; 32]).unwrap()).await;
    let (store, director) = (&api.app.store, &api.app.director);
    assert_ne!(director.public(), &old);
    assert_eq!(sign_audit_if_due(store, director).await.unwrap(), Some(2));
    assert_eq!(sign_audit_if_due(store, director).await.unwrap(), None);
    follow(&api, &[old, director.public().clone()]).await.unwrap();
}

#[tokio::test]
async fn every_root_of_the_director_is_shown_as_it_was_imported() {
    let api = Api::open().await;
    let mut ceremony = Publisher::new(&api);
    ceremony.repo = "director".to_owned();
    api.get("director/roots/1").await.refused(404, "unknown_root", None);
    let roots = [1, 2].map(|version| ceremony.root_of(version, api.app.director.public()));
    for (version, root) in (1..).zip(roots) {
        api.put_bytes("director/root", root.clone()).await.ok();
        let shown = api.get(&format!("director/roots/{version}")).await.ok();
        assert_eq!(shown, serde_json::from_slice::<serde_json::Value>(&root).unwrap());
    }
    for unknown in ["0", "3", "-1", "x", "1.root.json", "18446744073709551616"] {
        let path = format!("director/roots/{unknown}");
        api.get(&path).await.refused(404, "unknown_root", None);
    }
}
