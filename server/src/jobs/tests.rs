//! The jobs on a real database: they may be repeated, and a failure loses nothing.

use waxwing_wire::report::State;
use waxwing_wire::topic::Kind;

use super::forget::forget_messages;
use super::*;
use crate::config::{Config, Messages};
use crate::domain::device::Status;
use crate::domain::rollout::State::Halted;
use crate::domain::rollout::tests::rollout;
use crate::domain::rollout::{Action, Change};
use crate::domain::sink::progress::Cursor;
use crate::domain::{Deployment, Device, Rollout};
use crate::store::messages::Message;
use crate::store::{deployments, devices};
use crate::testing::{NOW_MS, Shop};

#[tokio::test]
async fn what_was_seen_is_written_once_a_device_however_often_it_polled() {
    let shop = Shop::open(3).await;
    shop.poll_all();
    shop.poll_all();
    assert_eq!(flush_sightings(&shop.store, &shop.fleet).await.unwrap(), 3);
    assert_eq!(flush_sightings(&shop.store, &shop.fleet).await.unwrap(), 0);
    let seen = devices::seen(&shop.store, &Shop::device(1)).await.unwrap().unwrap();
    assert_eq!((seen.at, seen.version.to_string()), (NOW_MS, "1.0.0".to_owned()));
}

#[tokio::test]
async fn an_idle_poll_writes_nothing_by_itself() {
    let shop = Shop::open(2).await;
    shop.poll_all();
    assert_eq!(devices::seen(&shop.store, &Shop::device(1)).await.unwrap(), None);
}

#[tokio::test]
async fn what_could_not_be_written_is_kept_for_the_next_time() {
    let shop = Shop::open(3).await;
    shop.start_rollout(&[100]).await;
    shop.poll_all();
    shop.store.close().await;
    assert!(flush_sightings(&shop.store, &shop.fleet).await.is_err());
    let kept = shop.fleet.sightings().take();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|(_, sighting)| sighting.begins.is_some()));
}

#[tokio::test]
async fn an_offer_that_was_withdrawn_before_it_was_written_does_not_begin() {
    let shop = Shop::open(3).await;
    let mut rollout = shop.start_rollout(&[100]).await;
    shop.poll_all();
    let revoked = shop.fleet.device(&Shop::device(0)).unwrap();
    let revoked = Device { status: Status::Revoked, ..Device::clone(&revoked) };
    shop.fleet.put_device(revoked);
    flush_sightings(&shop.store, &shop.fleet).await.unwrap();
    let begun = |n| shop.fleet.deployment(&Shop::rollout(), &Shop::device(n)).is_some();
    assert_eq!([0, 1, 2].map(begun), [false, true, true]);

    let shop = Shop::open(1).await;
    shop.start_rollout(&[100]).await;
    shop.poll_all();
    rollout.change(Change::Cancel, NOW_MS).unwrap();
    shop.fleet.put_rollout(rollout);
    flush_sightings(&shop.store, &shop.fleet).await.unwrap();
    assert_eq!(shop.fleet.deployment(&Shop::rollout(), &Shop::device(0)), None);
}

#[tokio::test]
async fn a_rollout_without_news_stays_where_it_is() {
    let shop = Shop::open(3).await;
    let rollout = shop.start_rollout(&[50, 100]).await;
    assert_eq!(advance_rollouts(&shop.store, &shop.fleet, NOW_MS + 1).await.unwrap(), 0);
    assert_eq!(*shop.fleet.rollout(&Shop::rollout()).unwrap(), rollout);
}

fn message(n: usize, at_ms: u64) -> Message {
    Message {
        device: Shop::device(0),
        kind: Kind::Telemetry,
        message_id: format!("m-{n}").parse().unwrap(),
        signed_by: "00".to_owned(),
        received_at: at_ms,
        envelope: "x".repeat(8000),
    }
}

fn with(messages: Messages) -> Config {
    Config { messages, ..Config::default() }
}

#[tokio::test]
async fn messages_are_kept_for_their_time() {
    let shop = Shop::open(1).await;
    shop.log.add(&[message(0, NOW_MS), message(1, NOW_MS + 1)]).await.unwrap();
    let config = with(Messages { kept_hours: 2, ..Messages::default() });
    let forget = |at_ms| forget_messages(&shop.log, &config, u64::MAX, at_ms);
    assert_eq!(forget(NOW_MS + 2 * HOUR_MS).await.unwrap(), 0);
    assert_eq!(forget(NOW_MS + 2 * HOUR_MS + 1).await.unwrap(), 1);
    assert_eq!(shop.log.after(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn messages_without_room_go_sooner_but_not_while_a_copy_would_be_fresh() {
    let shop = Shop::open(1).await;
    let messages: Vec<_> = (0..100).map(|n| message(n, NOW_MS)).collect();
    shop.log.add(&messages).await.unwrap();
    let config = with(Messages { kept_hours: 2, bytes: 1, ..Messages::default() });
    let fresh_ms = 2 * crate::ingest::FRESH_S * 1000;
    assert_eq!(forget_messages(&shop.log, &config, u64::MAX, NOW_MS + fresh_ms).await.unwrap(), 0);
    assert_eq!(
        forget_messages(&shop.log, &config, u64::MAX, NOW_MS + 3 * fresh_ms).await.unwrap(),
        100
    );
}

#[tokio::test]
async fn ids_are_kept_for_as_long_as_a_broker_may_keep_a_copy() {
    let shop = Shop::open(1).await;
    shop.log.add(&[message(0, NOW_MS)]).await.unwrap();
    let kept_s = 8 * 3600;
    let section = format!(
        "url = 'mqtts://b.example'\nca_file = 'a'\ncert_file = 'b'\nkey_file = 'c'\nkept_s = {kept_s}"
    );
    let broker = Some(toml::from_str(&section).unwrap());
    let limits = Messages { kept_hours: 1, bytes: 1, ..Messages::default() };
    let config = Config { broker, ..with(limits) };
    let forget = |at_ms| forget_messages(&shop.log, &config, u64::MAX, at_ms);
    assert_eq!(forget(NOW_MS + 2 * kept_s * 1000).await.unwrap(), 0);
    assert_eq!(forget(NOW_MS + 3 * kept_s * 1000).await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_sink_has_not_taken_is_kept_however_old_and_however_full_the_log_is() {
    let shop = Shop::open(1).await;
    let cursor = shop.log.cursor("away", true).await.unwrap();
    shop.log.add(&[message(0, NOW_MS), message(1, NOW_MS)]).await.unwrap();
    let config = with(Messages { kept_hours: 1, bytes: 1, ..Messages::default() });
    let forget = async || {
        let up_to = shop.log.taken_by_all(&["away"]).await.unwrap();
        forget_messages(&shop.log, &config, up_to, NOW_MS + 99 * HOUR_MS).await.unwrap()
    };
    assert_eq!(forget().await, 0);
    shop.log.move_sink("away", Cursor { taken: 1, ..cursor }, &[], 0).await.unwrap();
    assert_eq!(forget().await, 1);
}

const HOUR_MS: u64 = 3_600_000;

/// A shop in which a device has come this far in a rollout, and was last heard of at `NOW_MS`.
async fn shop_with(state: State) -> Shop {
    let shop = Shop::open(300).await;
    shop.start_rollout(&[100]).await;
    let offered = Deployment::waiting().offered(0, NOW_MS);
    let deployment = Deployment { state, ..offered };
    let mut change = shop.store.begin().await.unwrap();
    let (rollout, device) = (Shop::rollout(), Shop::device(0));
    deployments::put(change.connection(), &rollout, &device, &deployment).await.unwrap();
    drop(change.commit().await.unwrap());
    shop.fleet.put_deployment(&device, &rollout, deployment);
    shop
}

async fn state_at(shop: &Shop, now_ms: u64) -> State {
    advance_rollouts(&shop.store, &shop.fleet, now_ms).await.unwrap();
    shop.fleet.deployment(&Shop::rollout(), &Shop::device(0)).unwrap().state
}

#[tokio::test]
async fn who_may_have_switched_and_is_silent_is_given_up_in_memory_and_on_disk() {
    for state in [State::Verified, State::Activated, State::Booted] {
        let shop = shop_with(state).await;
        assert_eq!(state_at(&shop, NOW_MS + HOUR_MS).await, state);
        assert_eq!(shop.fleet.evidence(&Shop::rollout())[0].overdue, 1, "{state}");
        assert_eq!(state_at(&shop, NOW_MS + 3 * HOUR_MS).await, State::TimedOut, "{state}");
        let shop = shop.restarted().await;
        let kept = shop.fleet.deployment(&Shop::rollout(), &Shop::device(0)).unwrap();
        assert_eq!(kept.state, State::TimedOut, "{state}");
    }
}

#[tokio::test]
async fn who_has_the_image_and_polls_on_waits_for_a_good_moment() {
    let shop = shop_with(State::Verified).await;
    for hour in 1..=5 {
        shop.poll_all_at(NOW_MS + hour * HOUR_MS);
        flush_sightings(&shop.store, &shop.fleet).await.unwrap();
        assert_eq!(state_at(&shop, NOW_MS + hour * HOUR_MS).await, State::Verified);
    }
}

#[tokio::test]
async fn a_server_that_was_away_gives_nobody_up_before_they_had_time_to_speak() {
    let shop = shop_with(State::Activated).await.restarted().await;
    let back = NOW_MS + 24 * HOUR_MS;
    shop.fleet.listen_from(back);
    assert_eq!(state_at(&shop, back + 60_000).await, State::Activated);
    assert_eq!(shop.fleet.evidence(&Shop::rollout())[0].overdue, 0);
    assert_eq!(state_at(&shop, back + 3 * HOUR_MS).await, State::TimedOut);
}

#[tokio::test]
async fn who_falls_silent_in_a_rollout_that_is_cancelled_is_given_up_and_takes_part_in_the_next() {
    for has_restarted in [false, true] {
        let shop = shop_with(State::Activated).await;
        let mut first = Rollout::clone(&shop.fleet.rollout(&Shop::rollout()).unwrap());
        first.change(Change::Cancel, NOW_MS + 1).unwrap();
        shop.put(&first).await;
        let shop = if has_restarted { shop.restarted().await } else { shop };
        shop.fleet.listen_from(NOW_MS + 2);
        assert_eq!(state_at(&shop, NOW_MS + 3 * HOUR_MS).await, State::TimedOut);
        let second = shop.start(rollout("r-2", &[100])).await;
        shop.poll_all_at(NOW_MS + 3 * HOUR_MS);
        flush_sightings(&shop.store, &shop.fleet).await.unwrap();
        let begun = shop.fleet.deployment(&second.id, &Shop::device(0)).unwrap();
        assert_eq!(begun.state, State::Offered);
    }
}

#[tokio::test]
async fn a_halt_is_written_with_the_silence_that_proves_it() {
    let shop = shop_with(State::Activated).await;
    let silent = shop.fleet.deployment(&Shop::rollout(), &Shop::device(0)).unwrap();
    for n in 1..4 {
        shop.fleet.put_deployment(&Shop::device(n), &Shop::rollout(), silent);
    }
    let effect = shop.fleet.on_silence(NOW_MS + 3 * HOUR_MS, 10);
    assert_eq!(effect.deployments.len(), 4);
    let moved: Vec<_> = effect.moved.iter().map(|moved| moved.rollout.state).collect();
    assert_eq!(moved, [Halted]);
    assert_eq!(state_at(&shop, NOW_MS + 3 * HOUR_MS).await, State::TimedOut);
    assert_eq!(shop.fleet.rollout(&Shop::rollout()).unwrap().state, Halted);
    assert_eq!(shop.restarted().await.fleet.rollout(&Shop::rollout()).unwrap().state, Halted);
}

#[tokio::test]
async fn a_decision_is_dropped_that_what_was_heard_meanwhile_does_not_bear() {
    let shop = Shop::open(2).await;
    let rollout = shop.start_rollout(&[100]).await;
    let month_later = NOW_MS + 30 * 24 * HOUR_MS;
    let evidence = shop.fleet.evidence(&rollout.id);
    let decision = rollout.decide(&evidence, &[], month_later).unwrap();
    assert_eq!(decision.action, Action::Finish);
    assert!(shop.fleet.on_decision(&rollout.id, &decision, month_later).is_some());
    shop.poll_all_at(month_later);
    flush_sightings(&shop.store, &shop.fleet).await.unwrap();
    assert_eq!(shop.fleet.counts(&rollout.id)[0].in_flight(), 2);
    assert!(shop.fleet.on_decision(&rollout.id, &decision, month_later).is_none());
}
