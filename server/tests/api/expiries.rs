//! `/api/v1/expiries`: every role and certificate is watched, and told of in time.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use waxwing_server::jobs::watch_expiries;
use waxwing_server::revocation;

use crate::support::{Api, Publisher};

const DAY: Duration = Duration::from_hours(24);

async fn levels(api: &Api) -> Vec<(String, String)> {
    let expiries = api.get("expiries").await.ok();
    let items = expiries["items"].as_array().unwrap();
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    items.iter().map(|item| (text(item, "subject"), text(item, "level"))).collect()
}

#[tokio::test]
async fn every_role_and_every_certificate_is_watched() {
    let (api, _) = Api::with_fleet(1).await;
    let mut ceremony = Publisher::new(&api);
    ceremony.repo = "director".to_owned();
    let root = ceremony.root_of(1, api.app.director.public());
    api.put_bytes("director/root", root).await.ok();
    let (subjects, levels): (Vec<_>, Vec<_>) = levels(&api).await.into_iter().unzip();
    let expected = [
        "certificate/device-ca",
        "certificate/operator-ca",
        "certificate/server",
        "certificate/server-ca",
        "crl/device-ca",
        "director/root",
        "image/th1/root",
        "image/th1/snapshot",
        "image/th1/targets",
        "image/th1/th1-stable",
        "image/th1/timestamp",
    ];
    assert_eq!(subjects, expected);
    assert!(levels.iter().all(|level| level == "ok"), "{levels:?}");
}

#[tokio::test]
async fn certificates_among_the_pins_and_the_list_of_revoked_ones_are_watched() {
    let (api, _) = Api::with_fleet(0).await;
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2026, 12, 10);
    let short = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let long = CertificateParams::default();
    let long = long.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let files = vec![("trust/server-ca.pem".to_owned(), (long + &short).into_bytes())];
    api.app.repositories.put("image/th2", files).unwrap();
    let level = async |subject: &str| {
        let levels = levels(&api).await;
        levels.into_iter().find(|(other, _)| other == subject).map(|(_, level)| level)
    };
    assert_eq!(level("pins/th2/1").await.unwrap(), "ok");
    assert_eq!(level("pins/th2/2").await.unwrap(), "notice");
    assert_eq!(level("pins/th2/3").await, None);
    assert_eq!(level("crl/device-ca").await.unwrap(), "ok");
    api.clock.advance(2 * DAY);
    assert_eq!(level("crl/device-ca").await.unwrap(), "warning", "nobody made a new one");
    api.clock.advance(5 * DAY);
    assert_eq!(level("crl/device-ca").await.unwrap(), "expired");
    revocation::keep_current(&api.app).await.unwrap();
    assert_eq!(level("crl/device-ca").await.unwrap(), "ok");
}

#[tokio::test]
async fn warnings_come_at_30_14_and_7_days() {
    let (api, publisher) = Api::with_fleet(0).await;
    let end_ms = publisher.expires_s * 1000;
    let level = async |left: Duration| {
        // Each request moves the clock by a second, before it is answered.
        let at = end_ms - u64::try_from(left.as_millis()).unwrap() - 1000;
        let by = at - waxwing_server::clock::Clock::now_ms(api.clock.as_ref());
        api.clock.advance(Duration::from_millis(by));
        let levels = levels(&api).await;
        let level = levels.into_iter().find(|(subject, _)| subject == "image/th1/targets");
        level.unwrap().1
    };
    let second = Duration::from_secs(1);
    assert_eq!(level(30 * DAY + second).await, "ok");
    assert_eq!(level(30 * DAY).await, "notice");
    assert_eq!(level(14 * DAY + second).await, "notice");
    assert_eq!(level(14 * DAY).await, "warning");
    assert_eq!(level(7 * DAY + second).await, "warning");
    assert_eq!(level(7 * DAY).await, "critical");
    assert_eq!(level(second).await, "critical");
    assert_eq!(level(Duration::ZERO).await, "expired");
}

#[tokio::test]
async fn machines_see_how_many_seconds_are_left() {
    let (api, publisher) = Api::with_fleet(0).await;
    api.clock.advance(Duration::from_secs(publisher.expires_s - api.now_s() + 5));
    let now_ms = api.now_s() * 1000;
    watch_expiries(&api.app, now_ms).await.unwrap();
    api.app.metrics.expiries(&waxwing_server::expiries::all(&api.app), now_ms);
    let text = api.app.metrics.to_text().unwrap();
    for line in [
        r#"waxwing_expiry_seconds{subject="image/th1/timestamp"} -5"#,
        r#"waxwing_expiry_level{subject="image/th1/timestamp"} 4"#,
        r#"waxwing_expiry_level{subject="certificate/server-ca"} 0"#,
        r#"waxwing_device_certificates{level="critical"} 0"#,
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn certificates_of_devices_are_counted_by_how_soon_they_end() {
    let (api, _) = Api::with_fleet(6).await;
    let day_s = DAY.as_secs();
    let now_s = api.now_s();
    let ends = [0, 3, 10, 20, 60, 1].map(|days| (now_s + 60 + days * day_s) * 1000);
    let mut change = api.app.store.begin().await.unwrap();
    for (n, ends_ms) in ends.into_iter().enumerate() {
        // The last one was replaced: nobody uses it.
        let status = if n == 5 { "old" } else { "current" };
        sqlx::query(
            "INSERT INTO certificates (serial, device, spki, der, status, issued_at, expires_at) \
             VALUES ($1, $2, x'00', x'00', $3, 0, $4)",
        )
        .bind(format!("{n:032x}"))
        .bind(format!("d-{n}"))
        .bind(status)
        .bind(i64::try_from(ends_ms).unwrap())
        .execute(change.connection())
        .await
        .unwrap();
    }
    drop(change.commit().await.unwrap());
    api.clock.advance(Duration::from_mins(1));
    let counts = &api.get("expiries").await.ok()["device_certificates"];
    let expected = json!({"ok": 1, "notice": 1, "warning": 1, "critical": 1, "expired": 1});
    assert_eq!(counts, &expected);
}
