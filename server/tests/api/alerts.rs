//! Alerts: what fires, what is told of it, the rules for it, and who is silent about it.

mod evidence;
mod texts;

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use waxwing_server::clock::Clock as _;
use waxwing_server::domain::Deployment;
use waxwing_server::domain::alert::silence::SILENCES_MAX;
use waxwing_server::jobs::{advance_rollouts, forget, watch_alerts};
use waxwing_wire::report::State;

use crate::support::{Answer, Api};

/// Looks at the evidence once.
async fn look(api: &Api) {
    watch_alerts(&api.app, api.clock.now_ms()).await.unwrap();
}

/// The alerts as a list of rule, subject and state, oldest first.
async fn alerts(api: &Api) -> Vec<[String; 3]> {
    let answer = api.get("alerts").await.ok();
    let items = answer["items"].as_array().unwrap().iter().rev();
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    items.map(|item| ["rule", "subject", "state"].map(|field| text(item, field))).collect()
}

/// What a webhook was told, oldest first.
async fn told(api: &Api, webhook: &str) -> Vec<Value> {
    let answer = api.get(&format!("webhooks/{webhook}/deliveries")).await.ok();
    let items = answer["items"].as_array().unwrap().iter().rev();
    items.map(|item| item["body"].clone()).collect()
}

async fn subscribe(api: &Api) -> String {
    let events = json!(["alert.fired", "alert.resolved"]);
    let hook = json!({"url": "https://hooks.example/w", "events": events});
    api.post("webhooks", hook).await.ok()["id"].as_str().unwrap().to_owned()
}

/// Starts a rollout that halts, as nothing may fail.
pub(crate) async fn halt(api: &Api, id: &str) {
    let rollout = json!({
        "id": id, "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": {"risk": 3},
    });
    api.post("rollouts", rollout).await.ok();
    api.act(&format!("rollouts/{id}/start")).await.ok();
    for n in 0..3 {
        let failed = Deployment { state: State::Failed, ..Deployment::waiting().offered(0, 1) };
        let device = format!("d-{n}").parse().unwrap();
        api.app.fleet.put_deployment(&device, &id.parse().unwrap(), failed);
    }
    advance_rollouts(&api.app.store, &api.app.fleet, api.clock.now_ms()).await.unwrap();
}

/// Changes a rule that was seen with this entity tag.
async fn edit(api: &Api, rule: &str, etag: Option<&str>, edit: Value) -> Answer {
    let path = format!("alert-rules/{rule}");
    let mut request = Api::request(Method::PATCH, &path, Body::from(edit.to_string()));
    if let Some(etag) = etag {
        request.headers_mut().insert("if-match", etag.try_into().unwrap());
    }
    api.send(request).await
}

#[tokio::test]
async fn a_halted_rollout_is_told_once_and_its_end_once_and_a_restart_repeats_nothing() {
    let (api, _) = Api::with_fleet(3).await;
    let webhook = subscribe(&api).await;
    look(&api).await;
    assert_eq!(alerts(&api).await, [[""; 3]; 0]);
    halt(&api, "r-1").await;
    look(&api).await;
    look(&api).await;
    assert_eq!(alerts(&api).await, [["rollout_halted", "rollout/r-1", "firing"]]);
    let api = api.restarted().await;
    look(&api).await;
    api.act("rollouts/r-1/cancel").await.ok();
    look(&api).await;
    look(&api).await;
    assert_eq!(alerts(&api).await, [["rollout_halted", "rollout/r-1", "resolved"]]);
    let told = told(&api, &webhook).await;
    let kinds: Vec<_> = told.iter().map(|message| &message["type"]).collect();
    assert_eq!(kinds, ["alert.fired", "alert.resolved"]);
    let data = &told[0]["data"];
    assert_eq!(data["summary"], "critical rollout/r-1: the rollout stopped itself");
    assert_eq!((&data["value"], &data["state"]), (&json!(1), &json!("firing")));
    let shown = api.get(&format!("alerts/{}", data["alert"].as_str().unwrap())).await.ok();
    assert_eq!(shown["told_at"], told[0]["timestamp"]);
    assert_eq!(shown["resolved_at"], told[1]["timestamp"]);
}

#[tokio::test]
async fn every_rule_is_on_until_somebody_says_otherwise() {
    let api = Api::open().await;
    let rules = api.get("alert-rules").await.ok()["items"].clone();
    let rules = rules.as_array().unwrap();
    assert!(!rules.is_empty());
    assert!(rules.iter().all(|rule| rule["enabled"] == true && rule["revision"] == 0), "{rules:?}");
}

#[tokio::test]
async fn a_rule_is_changed_by_whoever_saw_it_as_it_is_and_the_audit_log_knows() {
    let (api, _) = Api::with_fleet(3).await;
    halt(&api, "r-1").await;
    look(&api).await;
    let rule = "rollout_halted";
    let off = json!({"enabled": false});
    edit(&api, rule, None, off.clone()).await.refused(428, "if_match_required", Some("If-Match"));
    let stale = edit(&api, rule, Some("\"7\""), off.clone()).await;
    stale.refused(412, "changed_meanwhile", Some("If-Match"));
    let changed = edit(&api, rule, Some("\"0\""), off).await.ok();
    assert_eq!((&changed["enabled"], &changed["revision"]), (&json!(false), &json!(1)));
    assert_eq!(changed["changed_by"], "admin:first");
    look(&api).await;
    assert_eq!(alerts(&api).await, [["rollout_halted", "rollout/r-1", "resolved"]]);
    let again = edit(&api, rule, Some("\"0\""), json!({"enabled": true})).await;
    again.refused(412, "changed_meanwhile", Some("If-Match"));
    let audit = api.get("audit?limit=1000").await.ok().to_string();
    assert!(audit.contains("alert_rule_changed") && audit.contains("ticket 7"), "{audit}");
    let api = api.restarted().await;
    let shown = api.get("alert-rules/rollout_halted").await.ok();
    assert_eq!((&shown["enabled"], &shown["revision"]), (&json!(false), &json!(1)));
}

#[tokio::test]
async fn a_product_may_have_a_rule_of_its_own_in_the_place_of_that_for_all() {
    let (api, _) = Api::with_fleet(3).await;
    halt(&api, "r-1").await;
    let own = "rollout_halted@th1";
    let made = edit(&api, own, Some("\"0\""), json!({"severity": "warning"})).await.ok();
    assert_eq!((&made["name"], &made["revision"]), (&json!(own), &json!(1)));
    look(&api).await;
    assert_eq!(alerts(&api).await, [[own, "rollout/r-1", "firing"]]);
    let mut reset = Api::request(Method::DELETE, &format!("alert-rules/{own}"), Body::empty());
    reset.headers_mut().insert("if-match", "\"1\"".try_into().unwrap());
    api.send(reset).await.ok();
    look(&api).await;
    let general = ["rollout_halted", "rollout/r-1", "firing"];
    assert_eq!(alerts(&api).await, [[own, "rollout/r-1", "resolved"], general]);
    edit(&api, "rollout_halted@th9", Some("*"), json!({})).await.refused(
        404,
        "unknown_alert_rule",
        None,
    );
}

#[tokio::test]
async fn who_is_silent_says_until_when_and_why_and_is_told_what_still_fires_after() {
    let (api, _) = Api::with_fleet(3).await;
    let webhook = subscribe(&api).await;
    let quiet = json!({"rule": "rollout_halted", "for_s": 3600});
    let without_reason =
        api.call_because(b"", Method::POST, "alert-silences", quiet.to_string().into());
    without_reason.await.refused(422, "invalid_silence", Some("Waxwing-Reason"));
    let silence = api.post("alert-silences", quiet).await.ok();
    assert_eq!(
        (&silence["created_by"], &silence["reason"]),
        (&json!("admin:first"), &json!("ticket 7"))
    );
    halt(&api, "r-1").await;
    look(&api).await;
    assert_eq!(alerts(&api).await, [["rollout_halted", "rollout/r-1", "firing"]]);
    let shown = api.get("alerts").await.ok()["items"][0].clone();
    assert_eq!((&shown["silenced_until"], &shown["told_at"]), (&silence["until"], &Value::Null));
    assert_eq!(told(&api, &webhook).await, [json!(null); 0]);
    let api = api.restarted().await;
    api.clock.advance(Duration::from_hours(1));
    look(&api).await;
    let told = told(&api, &webhook).await;
    assert_eq!((told.len(), &told[0]["type"]), (1, &json!("alert.fired")));
    assert_eq!(api.get("alert-silences").await.ok()["items"], json!([]), "it is over");
    let audit = api.get("audit?limit=1000").await.ok().to_string();
    assert!(audit.contains("alerts_silenced"), "{audit}");
}

#[tokio::test]
async fn a_silence_that_is_taken_back_hides_nothing_more() {
    let (api, _) = Api::with_fleet(3).await;
    let webhook = subscribe(&api).await;
    let silence = json!({"subject": "rollout/r-1", "for_s": 3600});
    let silence = api.post("alert-silences", silence).await.ok();
    halt(&api, "r-1").await;
    look(&api).await;
    let path = format!("alert-silences/{}", silence["id"].as_str().unwrap());
    api.delete(&path).await.ok();
    api.delete(&path).await.refused(404, "unknown_silence", None);
    look(&api).await;
    assert_eq!(told(&api, &webhook).await.len(), 1);
}

#[tokio::test]
async fn nobody_is_silent_about_everything_or_for_ever() {
    let api = Api::open().await;
    for (wrong, field) in [
        (json!({"for_s": 60}), "rule"),
        (json!({"rule": "nonsense", "for_s": 60}), "rule"),
        (json!({"rule": "device_lost", "for_s": 0}), "for_s"),
        (json!({"rule": "device_lost", "for_s": 2_592_001}), "for_s"),
        (json!({"subject": "", "for_s": 60}), "subject"),
        (json!({"subject": "a\nb", "for_s": 60}), "subject"),
        (json!({"subject": "x".repeat(201), "for_s": 60}), "subject"),
    ] {
        api.post("alert-silences", wrong).await.refused(422, "invalid_silence", Some(field));
    }
    for n in 0..SILENCES_MAX {
        let silence = json!({"subject": format!("product/{n}"), "for_s": 60_000});
        api.post("alert-silences", silence).await.ok();
    }
    let one_more = api.post("alert-silences", json!({"subject": "x", "for_s": 60})).await;
    one_more.refused(409, "too_many_silences", None);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_their_field() {
    let api = Api::open().await;
    for (wrong, field) in [
        (json!({"threshold": 0}), "threshold"),
        (json!({"clear_below": 2}), "clear_below"),
        (json!({"window_s": 60}), "window_s"),
        (json!({"for_s": 86_401}), "for_s"),
        (json!({"clear_for_s": 604_801}), "clear_for_s"),
    ] {
        let answer = edit(&api, "rollout_halted", Some("*"), wrong).await;
        answer.refused(422, "invalid_alert_rule", Some(field));
    }
    let unknown = edit(&api, "rollout_halted", Some("*"), json!({"treshold": 1})).await;
    unknown.refused(400, "invalid_json", Some("treshold"));
    edit(&api, "nonsense", Some("*"), json!({})).await.refused(404, "unknown_alert_rule", None);
    api.get("alerts/al-1").await.refused(404, "unknown_alert", None);
    api.get("alerts?state=nonsense").await.refused(400, "invalid_query", None);
}

#[tokio::test]
async fn alerts_that_are_over_are_shown_for_a_month_and_not_all_of_them() {
    let api = Api::open().await;
    let at = i64::try_from(api.clock.now_ms()).unwrap();
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050) \
         INSERT INTO alerts (id, rule, subject, severity, began_at, state, since, resolved_at, \
         value, peak, examples, written_at) SELECT printf('al-%06d', i), 'device_lost', 'x', \
         'warning', $1, CASE i WHEN 1 THEN 'firing' ELSE 'resolved' END, $1, \
         CASE i WHEN 1 THEN NULL ELSE $1 END, 1, 1, '[]', $1 FROM n",
    )
    .bind(at)
    .execute(change.connection())
    .await
    .unwrap();
    drop(change.commit().await.unwrap());
    let count = async || {
        let mut reader = api.app.store.reader().await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM alerts").fetch_one(&mut *reader);
        count.await.unwrap()
    };
    forget(&api.app, api.clock.now_ms()).await.unwrap();
    let left: i64 = count().await;
    assert_eq!(left, 10_001, "and the one that fires");
    assert_eq!(api.get("alerts?state=resolved&limit=1").await.ok()["items"][0]["id"], "al-010050");
    api.clock.advance(Duration::from_hours(31 * 24));
    forget(&api.app, api.clock.now_ms()).await.unwrap();
    let left: i64 = count().await;
    assert_eq!(left, 1);
}
