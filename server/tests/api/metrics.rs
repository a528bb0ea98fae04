//! Numbers for Prometheus, as the listener `ops` gives them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;
use waxwing_server::clock::Clock as _;
use waxwing_server::domain::Deployment;
use waxwing_server::http::router;
use waxwing_server::jobs::advance_rollouts;
use waxwing_wire::report::State;

use crate::rollouts::rollout;
use crate::support::Api;

async fn scraped(api: &Api) -> String {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = router::ops(Arc::clone(&api.app)).oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[track_caller]
fn check(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_rollout_is_told_in_numbers_and_no_device_by_its_name() {
    let (api, _) = Api::with_fleet(20).await;
    api.post("rollouts", rollout("r-1")).await.ok();
    api.post("rollouts", rollout("r-2")).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.poll_all(20).await;
    check(
        &scraped(&api).await,
        &[
            r#"waxwing_rollouts{state="draft"} 1"#,
            r#"waxwing_rollouts{state="running"} 1"#,
            r#"waxwing_rollout_state{rollout="r-1",state="running"} 1"#,
            r#"waxwing_rollout_devices{rollout="r-1",state="offered"} 2"#,
            r#"waxwing_rollout_in_flight{rollout="r-1"} 2"#,
            r#"waxwing_rollout_risk{rollout="r-1"} 100"#,
            r#"waxwing_rollout_phase{rollout="r-1"} 1"#,
            r#"waxwing_rollout_phases{rollout="r-1"} 3"#,
            "waxwing_offers_total 2",
            "waxwing_decisions_stale_total 0",
        ],
    );

    let id = "r-1".parse().unwrap();
    for n in 0..20 {
        let device = format!("d-{n}").parse().unwrap();
        if let Some(offered) = api.app.fleet.deployment(&id, &device) {
            let failed = Deployment { state: State::RolledBack, ..offered };
            api.app.fleet.put_deployment(&device, &id, failed);
        }
    }
    let rollout = api.app.fleet.rollout(&id).unwrap();
    let now_ms = api.clock.now_ms();
    let decision = rollout.decide(&api.app.fleet.evidence(&id), &[], now_ms).unwrap();
    api.act("rollouts/r-1/pause").await.ok();
    assert!(api.app.fleet.on_decision(&id, &decision, now_ms).is_none(), "it was paused since");
    advance_rollouts(&api.app.store, &api.app.fleet, now_ms).await.unwrap();
    let text = scraped(&api).await;
    check(
        &text,
        &[
            r#"waxwing_rollout_state{rollout="r-1",state="halted"} 1"#,
            r#"waxwing_rollout_broken{rollout="r-1"} 2"#,
            r#"waxwing_decisions_total{action="halt"} 1"#,
            "waxwing_decisions_stale_total 1",
        ],
    );
    for word in ["d-0", "d-1", "d-19"] {
        assert!(!text.contains(&format!("\"{word}\"")), "{word} in {text}");
    }
    api.act("rollouts/r-1/cancel").await.ok();
    assert!(!scraped(&api).await.contains("r-1"), "what is over is shown no more");
}

#[tokio::test]
async fn the_outbox_of_the_webhooks_is_told_in_numbers() {
    let (api, _) = Api::with_fleet(1).await;
    let hook = api.post("webhooks", json!({"url": "https://hooks.invalid/"})).await.ok();
    api.act(&format!("webhooks/{}/test", hook["id"].as_str().unwrap())).await.ok();
    let text = scraped(&api).await;
    check(
        &text,
        &[
            r#"waxwing_webhook_messages{state="due"} 1"#,
            r#"waxwing_webhook_messages{state="dead"} 0"#,
        ],
    );
}

#[tokio::test]
async fn every_number_is_in_the_documentation() {
    let (api, _) = Api::with_fleet(1).await;
    api.post("rollouts", rollout("r-1")).await.ok();
    let page = include_str!("../../../docs/metrics.md");
    let text = scraped(&api).await;
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let names: Vec<_> = helps.filter_map(|rest| rest.split(' ').next()).collect();
    assert!(names.len() > 20, "{text}");
    for name in names {
        let documented = [format!("`{name}{{"), format!("`{name}_total"), format!("`{name}`")];
        assert!(documented.iter().any(|it| page.contains(it)), "{name} is not documented");
    }
}
