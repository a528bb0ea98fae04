//! What counts only beside devices without the image: contact (D18) and telemetry.

use serde_json::json;

use super::*;
use crate::domain::rollout::contact::Unreachable;
use crate::domain::rollout::tests::rollout;

const HOUR_MS: u64 = 3_600_000;

/// A device went back because it could not reach the server.
async fn gone_back() -> Desk {
    let desk = Desk::open(20).await;
    desk.shop.poll_all();
    flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap();
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::Booted).await.unwrap();
    let back = Report { code: ErrorCode::NO_CONTACT, ..report(State::RolledBack) };
    let sealed = seal(n, Kind::Report, "m-2", &back.encode(), NOW_MS);
    let device = Shop::device(n);
    desk.ingest.message(&device, Kind::Report, &sealed, Ok(NOW_MS)).await.unwrap();
    desk
}

async fn state_after(desk: &Desk, hours: u64) -> rollout::State {
    let now_ms = NOW_MS + hours * HOUR_MS;
    advance_rollouts(&desk.shop.store, &desk.shop.fleet, now_ms).await.unwrap();
    desk.rollout_state()
}

#[tokio::test]
async fn who_went_back_for_want_of_contact_halts_nothing_before_others_can_be_back() {
    let desk = gone_back().await;
    assert_eq!(desk.rollout_state(), rollout::State::Running, "at the report itself");
    assert_eq!(state_after(&desk, 0).await, rollout::State::Running);
    assert_eq!(state_after(&desk, 3).await, rollout::State::Halted, "all others had contact");
}

#[tokio::test]
async fn who_went_back_while_others_had_no_contact_either_is_no_evidence_after_a_restart_too() {
    let desk = gone_back().await;
    desk.shop.poll_all_after(1799, NOW_MS);
    flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap();
    for again in [NOW_MS + 1, NOW_MS + 2] {
        desk.shop.poll_all_after(1800, again);
        flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap();
    }
    let rows = store::contact::all(&desk.shop.store).await.unwrap();
    assert_eq!(rows.iter().map(|lost| lost.devices).collect::<Vec<_>>(), [19], "each counts once");
    let desk = desk.restarted().await;
    assert_eq!(state_after(&desk, 3).await, rollout::State::Running);
    let found = desk.shop.fleet.evidence(&Shop::rollout())[0].unreachable;
    assert_eq!(found, Unreachable { doubtful: 0, excused: 1 });
}

/// Devices before `switched` have the image; they say the first, all others the second, for a soak.
async fn told(switched: u32, with: &str, without: &str) -> Desk {
    let shop = Shop::open(85).await;
    let mut compared = rollout("r-1", &[100]);
    let rules = json!([{"metric": "heap_low", "ails": {"below": 16000}}]);
    compared.plan.health = serde_json::from_value(rules).unwrap();
    shop.start(compared).await;
    let healthy = Deployment { state: State::Healthy, ..Deployment::waiting().offered(0, NOW_MS) };
    for n in 0..switched {
        shop.fleet.put_deployment(&Shop::device(n), &Shop::rollout(), healthy);
    }
    let desk = Desk { ingest: shop.ingest(), shop };
    for (number, at_ms) in [(1, NOW_MS), (2, NOW_MS + 1_800_000)] {
        for n in 0..desk.shop.devices {
            let payload = if n < switched { with } else { without };
            let sealed = seal(n, Kind::Telemetry, &format!("t-{number}"), payload, at_ms);
            let device = Shop::device(n);
            desk.ingest.message(&device, Kind::Telemetry, &sealed, Ok(at_ms)).await.unwrap();
        }
    }
    desk
}

#[tokio::test]
async fn devices_that_ail_with_the_image_and_not_without_it_halt_the_rollout() {
    let desk = told(25, r#"{"heap_low":9000}"#, r#"{"heap_low":30000}"#).await;
    assert_eq!(state_after(&desk, 1).await, rollout::State::Halted);
    let reason = desk.shop.fleet.rollout(&Shop::rollout()).unwrap().reason.clone().unwrap();
    let expected =
        "telemetry: by `heap_low`, 25 of 25 devices ail with the image, 0 of 60 without it";
    assert_eq!(reason, expected);
}

#[tokio::test]
async fn what_befalls_devices_without_the_image_too_does_not_halt_it() {
    let ailing = r#"{"heap_low":9000}"#;
    for (with, without) in [(ailing, ailing), (ailing, "{}"), (ailing, r#"{"heap_low":null}"#)] {
        let desk = told(25, with, without).await;
        assert_eq!(state_after(&desk, 1).await, rollout::State::Running, "{without}");
    }
}
