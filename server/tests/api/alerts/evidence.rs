//! What each rule finds. The documents are those that this project was asked to implement.

use std::time::Duration;

use serde_json::{Value, json};
use waxwing_server::clock::Clock as _;
use waxwing_server::domain::{Deployment, Running};
use waxwing_server::jobs::{flush_sightings, write_heard};
use waxwing_server::metrics::{Handshake, Name};
use waxwing_server::store::{clock_mark, deployments};
use waxwing_wire::report::State;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest};

use super::{alerts, edit, halt, look, subscribe, told};
use crate::support::Api;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn device(n: u32) -> DeviceId {
    DeviceId::parse(&format!("d-{n}")).unwrap()
}

/// A device polls now.
async fn poll(api: &Api, n: u32) {
    let running = Running {
        version: "1.0.0".parse().unwrap(),
        sha256: Digest([1; 32]),
        security_version: 1,
        pins: None,
        out_s: 0,
    };
    api.app.fleet.poll(&device(n), &running, api.clock.now_ms()).unwrap();
    flush_sightings(&api.app.store, &api.app.fleet).await.unwrap();
}

/// A server with devices that have a certificate.
async fn with_active(devices: u32) -> Api {
    let (api, _) = Api::with_fleet(devices).await;
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query("UPDATE devices SET status = 'active'").execute(change.connection()).await.unwrap();
    drop(change.commit().await.unwrap());
    api
}

/// The alert of a rule that is not over.
async fn firing(api: &Api, rule: &str) -> Option<Value> {
    let answer = api.get(&format!("alerts?state=firing&rule={rule}")).await.ok();
    answer["items"].as_array().unwrap().first().cloned()
}

#[tokio::test]
async fn document_001_a_device_that_is_not_heard_of_any_more_is_told_of_until_it_is() {
    let api = with_active(3).await;
    poll(&api, 0).await;
    poll(&api, 1).await;
    api.clock.advance(20 * HOUR);
    poll(&api, 1).await;
    look(&api).await;
    assert_eq!(firing(&api, "device_lost").await, None);
    api.clock.advance(5 * HOUR);
    look(&api).await;
    let alert = firing(&api, "device_lost").await.unwrap();
    assert_eq!((&alert["subject"], &alert["value"]), (&json!("product/th1"), &json!(1)));
    assert_eq!(alert["examples"], json!(["d-0"]), "d-2 was never switched on");
    assert_eq!(alert["summary"], "warning product/th1: 1 devices are not heard of any more");
    poll(&api, 0).await;
    api.clock.advance(5 * MINUTE);
    look(&api).await;
    assert_eq!(firing(&api, "device_lost").await, None);
    assert_eq!(alerts(&api).await, [["device_lost", "product/th1", "resolved"]]);
}

#[tokio::test]
async fn document_003_a_device_that_never_polls_lives_as_long_as_its_messages_come() {
    let api = with_active(2).await;
    for _ in 0..3 {
        api.clock.advance(20 * HOUR);
        api.app.take_in(&device(0), Kind::State, b"{}").await.unwrap();
        write_heard(&api.app).await.unwrap();
        look(&api).await;
        assert_eq!(firing(&api, "device_lost").await, None);
    }
    api.clock.advance(25 * HOUR);
    look(&api).await;
    assert_eq!(firing(&api, "device_lost").await.unwrap()["examples"], json!(["d-0"]));
}

/// The server lives until now, is away for a while, and begins again.
async fn away(api: Api, time: Duration) -> Api {
    let mut change = api.app.store.begin().await.unwrap();
    clock_mark::raise(change.connection(), api.clock.now_ms()).await.unwrap();
    drop(change.commit().await.unwrap());
    api.clock.advance(time);
    api.restarted().await
}

#[tokio::test]
async fn time_in_which_the_server_was_away_is_no_silence_also_after_a_second_restart() {
    let api = with_active(1).await;
    poll(&api, 0).await;
    let api = away(api, 2 * DAY).await;
    look(&api).await;
    assert_eq!(firing(&api, "device_lost").await, None);
    api.clock.advance(2 * HOUR);
    let api = away(api, MINUTE).await;
    look(&api).await;
    assert_eq!(firing(&api, "device_lost").await, None);
    api.clock.advance(23 * HOUR);
    look(&api).await;
    assert!(firing(&api, "device_lost").await.is_some());
}

#[tokio::test]
async fn a_lost_device_is_told_by_the_rule_of_its_product_as_soon_as_there_is_one() {
    let api = with_active(1).await;
    poll(&api, 0).await;
    api.clock.advance(25 * HOUR);
    look(&api).await;
    assert_eq!(alerts(&api).await, [["device_lost", "product/th1", "firing"]]);
    let own = "device_lost@th1";
    edit(&api, own, Some("\"0\""), json!({"severity": "critical"})).await.ok();
    look(&api).await;
    let expected = [["device_lost", "product/th1", "resolved"], [own, "product/th1", "firing"]];
    assert_eq!(alerts(&api).await, expected);
}

#[tokio::test]
async fn a_million_lost_devices_are_one_alert_with_a_few_examples() {
    let (api, _) = Api::with_fleet(0).await;
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO devices (id, product, tags, status, created_at, changed_at, attributes, \
         reported_attributes, seen_at) SELECT printf('x-%06d', i), 'th1', '{}', 'active', 0, 0, \
         '{}', '{}', 1 FROM n",
    )
    .execute(change.connection())
    .await
    .unwrap();
    drop(change.commit().await.unwrap());
    let webhook = subscribe(&api).await;
    api.clock.advance(25 * HOUR);
    look(&api).await;
    assert_eq!(alerts(&api).await.len(), 1);
    let alert = firing(&api, "device_lost").await.unwrap();
    assert_eq!(alert["value"], 20_000);
    assert_eq!(alert["examples"].as_array().unwrap().len(), 5);
    let told = told(&api, &webhook).await;
    assert_eq!(told.len(), 1);
    assert!(!told[0].to_string().contains("x-0"), "a message names no device: {}", told[0]);
}

#[tokio::test]
async fn document_001_certificates_that_end_and_were_not_renewed_are_told_of() {
    let (api, publisher) = Api::with_fleet(2).await;
    let ends_ms = (api.now_s() + 20 * DAY.as_secs()) * 1000;
    let mut change = api.app.store.begin().await.unwrap();
    // The second device has fetched its next certificate.
    for (serial, device, status, ends_ms) in [
        ("01", "d-0", "current", ends_ms),
        ("02", "d-1", "current", ends_ms),
        ("03", "d-1", "next", ends_ms + 90 * 24 * 3_600_000),
    ] {
        sqlx::query(
            "INSERT INTO certificates (serial, device, spki, der, status, issued_at, expires_at) \
             VALUES ($1, $2, x'00', x'00', $3, 0, $4)",
        )
        .bind(serial)
        .bind(device)
        .bind(status)
        .bind(i64::try_from(ends_ms).unwrap())
        .execute(change.connection())
        .await
        .unwrap();
    }
    sqlx::query("UPDATE devices SET status = 'active'").execute(change.connection()).await.unwrap();
    drop(change.commit().await.unwrap());
    look(&api).await;
    assert_eq!(alerts(&api).await, [[""; 3]; 0]);
    api.clock.advance(7 * DAY);
    look(&api).await;
    let all = alerts(&api).await;
    assert!(all.contains(&["certificate_expiring", "product/th1", "firing"].map(str::to_owned)));
    let filter = "alerts?rule=certificate_expiring&limit=1000";
    let found = api.get(filter).await.ok()["items"].clone();
    let of = |subject: &str| {
        found.as_array().unwrap().iter().find(|alert| alert["subject"] == subject).cloned()
    };
    assert_eq!(of("product/th1").unwrap()["examples"], json!(["d-0"]));
    assert_eq!(of("image/th1/targets"), None);
    let left = Duration::from_secs(publisher.expires_s - api.now_s());
    api.clock.advance(left.checked_sub(13 * DAY).unwrap());
    look(&api).await;
    let found = api.get(filter).await.ok().to_string();
    assert!(found.contains("image/th1/targets"), "{found}");
}

#[tokio::test]
async fn document_001_a_failed_update_is_told_of_for_a_day_after_the_last() {
    let (api, _) = Api::with_fleet(3).await;
    halt(&api, "r-1").await;
    let at = api.clock.now_ms();
    let mut change = api.app.store.begin().await.unwrap();
    for (n, state) in [(0, State::Failed), (1, State::RolledBack), (2, State::Healthy)] {
        let ended = Deployment { state, changed_at: at, ..Deployment::waiting() };
        let rollout = "r-1".parse().unwrap();
        deployments::put(change.connection(), &rollout, &device(n), &ended).await.unwrap();
    }
    drop(change.commit().await.unwrap());
    look(&api).await;
    let alert = firing(&api, "update_failed").await.unwrap();
    assert_eq!((&alert["subject"], &alert["value"]), (&json!("product/th1"), &json!(2)));
    assert_eq!(alert["summary"], "warning product/th1: an update failed on 2 devices");
    api.clock.advance(DAY);
    look(&api).await;
    assert_eq!(firing(&api, "update_failed").await, None);
}

/// A message on the connection of a device that its key did not sign.
async fn send_forged(api: &Api, n: u32, sent_s: u64) {
    let message = json!({
        "device_id": format!("d-{n}"), "timestamp": sent_s, "message_id": "m-1", "payload": {},
        "signature": "00",
    });
    let bytes = message.to_string();
    api.app.take_in(&device(n), Kind::Telemetry, bytes.as_bytes()).await.unwrap_err();
}

#[tokio::test]
async fn document_003_forged_messages_above_a_rate_are_told_of_and_whose_they_claim_to_be() {
    let (api, _) = Api::with_fleet(2).await;
    look(&api).await;
    for _ in 0..9 {
        send_forged(&api, 1, api.now_s()).await;
    }
    look(&api).await;
    assert_eq!(firing(&api, "signature_failures").await, None, "nine are not ten");
    send_forged(&api, 0, api.now_s()).await;
    look(&api).await;
    let alert = firing(&api, "signature_failures").await.unwrap();
    assert_eq!((&alert["value"], &alert["severity"]), (&json!(10), &json!("critical")));
    assert_eq!(alert["examples"], json!(["d-0", "d-1"]));
    // Ten minutes until none counts any more, and ten of rest.
    for _ in 0..21 {
        api.clock.advance(MINUTE);
        look(&api).await;
    }
    assert_eq!(firing(&api, "signature_failures").await, None);
}

#[tokio::test]
async fn a_rule_that_is_switched_on_counts_from_then_on() {
    for was_on in [true, false] {
        let (api, _) = Api::with_fleet(1).await;
        let rule = "signature_failures";
        if was_on {
            look(&api).await;
        }
        edit(&api, rule, Some("*"), json!({"enabled": false})).await.ok();
        look(&api).await;
        for enabled in [true, false, true] {
            for _ in 0..10 {
                send_forged(&api, 0, api.now_s()).await;
            }
            look(&api).await;
            assert_eq!(firing(&api, rule).await.is_some(), !enabled, "{was_on}");
            edit(&api, rule, Some("*"), json!({ "enabled": enabled })).await.ok();
            look(&api).await;
            assert_eq!(firing(&api, rule).await, None, "{was_on}");
        }
    }
}

#[tokio::test]
async fn document_003_messages_of_another_time_are_a_matter_of_clocks() {
    let (api, _) = Api::with_fleet(1).await;
    look(&api).await;
    for _ in 0..10 {
        send_forged(&api, 0, api.now_s() - 350).await;
    }
    look(&api).await;
    assert!(firing(&api, "clock_skew").await.is_some());
    assert_eq!(firing(&api, "signature_failures").await, None);
}

#[tokio::test]
async fn document_000_attempts_to_get_in_above_a_rate_are_told_of_with_their_listener() {
    let api = Api::open().await;
    let seen = edit(&api, "refused_connections", Some("*"), json!({"threshold": 5})).await.ok();
    assert_eq!((&seen["threshold"], &seen["clear_below"]), (&json!(5), &json!(5)));
    look(&api).await;
    for n in 0..5 {
        assert!(!api.knows(&format!("wrong {n}")).await);
        api.app.metrics.handshake(Name::Mqtt, Handshake::Failed);
        api.app.metrics.handshake(Name::Device, Handshake::Done);
    }
    look(&api).await;
    let found = alerts(&api).await;
    let expected = ["listener/admin", "listener/mqtt"]
        .map(|listener| ["refused_connections", listener, "firing"].map(str::to_owned));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(expected.iter().all(|alert| found.contains(alert)), "{found:?}");
}

#[tokio::test]
async fn a_clock_that_jumps_is_told_of_although_nothing_can_be_signed() {
    let api = Api::open().await;
    let webhook = subscribe(&api).await;
    api.clock.set_ahead(2 * HOUR);
    assert!(api.app.director.now_ms().is_err());
    super::watch_alerts(&api.app, api.app.director.steady_ms()).await.unwrap();
    let alert = firing(&api, "server_clock").await.unwrap();
    assert_eq!(alert["value"], 7200);
    assert_eq!(alert["summary"], "critical server: the clock of the server is 7200 s off");
    api.clock.set_ahead(Duration::ZERO);
    look(&api).await;
    let kinds: Vec<_> = told(&api, &webhook).await.iter().map(|it| it["type"].clone()).collect();
    assert_eq!(kinds, ["alert.fired", "alert.resolved"]);
}

#[tokio::test]
async fn a_spent_token_that_comes_with_another_key_is_told_of() {
    let (api, _) = Api::with_fleet(1).await;
    api.act("devices/d-0/tokens").await.ok();
    let mut change = api.app.store.begin().await.unwrap();
    sqlx::query("UPDATE tokens SET misused_at = $1")
        .bind(i64::try_from(api.clock.now_ms()).unwrap())
        .execute(change.connection())
        .await
        .unwrap();
    drop(change.commit().await.unwrap());
    look(&api).await;
    let alert = firing(&api, "token_misused").await.unwrap();
    assert_eq!((&alert["subject"], &alert["examples"]), (&json!("product/th1"), &json!(["d-0"])));
}
