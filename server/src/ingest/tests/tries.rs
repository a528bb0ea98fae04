//! What is offered again: downloads that failed, and what users put off.

use waxwing_wire::report::Deferral;

use super::*;
use crate::domain::rollout::Urgency;

const HOUR_MS: u64 = 3_600_000;

impl Desk {
    async fn hear(&self, n: u32, message: &str, report: &Report, at_ms: u64) {
        let sealed = seal(n, Kind::Report, message, &report.encode(), at_ms);
        let heard = self.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(at_ms)).await;
        assert_eq!(heard.unwrap(), Accepted::Applied, "{message}");
    }

    /// Everybody polls, and what begins is written.
    async fn polls(&self, at_ms: u64) {
        self.shop.poll_all_at(at_ms);
        flush_sightings(&self.shop.store, &self.shop.fleet).await.unwrap();
    }

    fn deployment(&self, n: u32) -> Deployment {
        self.shop.fleet.deployment(&Shop::rollout(), &Shop::device(n)).unwrap()
    }

    /// The counters are what the evidence adds up to.
    async fn check_counters(&self) {
        let (store, fleet) = (&self.shop.store, &self.shop.fleet);
        let recount = recount(store, fleet, &Shop::rollout()).await.unwrap().unwrap();
        assert_eq!(recount.counts, known(&fleet.counts(&Shop::rollout())));
    }
}

fn failed(code: ErrorCode) -> Report {
    Report { code, ..report(State::Failed) }
}

#[tokio::test]
async fn a_failed_download_is_offered_again_later_each_time_until_its_tries_are_used_up() {
    let mut desk = Desk::open(2).await;
    let n = desk.first_phase()[0];
    let mut now_ms = NOW_MS;
    for (number, wait_h) in [(1, 1), (2, 2), (3, 0)] {
        desk.polls(now_ms).await;
        assert_eq!((desk.state_of(n), desk.deployment(n).tries), (State::Offered, number));
        let downloading = report(State::Downloading);
        desk.hear(n, &format!("begun-{number}"), &downloading, now_ms).await;
        let stalled = failed(ErrorCode::DOWNLOAD_STALLED);
        desk.hear(n, &format!("failed-{number}"), &stalled, now_ms).await;
        desk.check_counters().await;
        let before = desk.deployment(n);
        desk = desk.restarted().await;
        assert_eq!(desk.deployment(n), before, "also over a restart");
        if number == 3 {
            break;
        }
        assert_eq!(desk.rollout_state(), rollout::State::Running, "nothing is lost yet");
        let again_ms = now_ms + wait_h * HOUR_MS;
        assert_eq!(
            (before.state, before.not_before / HOUR_MS),
            (State::Waiting, again_ms / HOUR_MS)
        );
        desk.polls(before.not_before - 1).await;
        assert_eq!(desk.state_of(n), State::Waiting, "too early");
        now_ms = before.not_before;
    }
    assert_eq!(desk.deployment(n).state, State::Failed);
    assert_eq!(desk.rollout_state(), rollout::State::Halted, "a small phase forgives nobody");
}

#[tokio::test]
async fn what_the_image_did_is_never_offered_again() {
    for (state, code) in [
        (State::Failed, ErrorCode::IMAGE_CHIP),
        (State::RolledBack, ErrorCode::SELF_TEST),
        (State::RolledBack, ErrorCode::BOOT_RESET),
    ] {
        let desk = Desk::open(400).await;
        let n = desk.first_phase()[0];
        desk.polls(NOW_MS).await;
        desk.hear(n, "m-1", &Report { code, ..report(state) }, NOW_MS).await;
        assert_eq!(desk.rollout_state(), rollout::State::Running, "one of many");
        desk.polls(NOW_MS + 100 * HOUR_MS).await;
        assert_eq!((desk.deployment(n).state, desk.deployment(n).code), (state, code));
        desk.check_counters().await;
    }
}

#[tokio::test]
async fn who_puts_it_off_holds_no_place_and_is_neither_lost_nor_tried_once_less() {
    let shop = Shop::open(2).await;
    let mut rollout = shop.start_rollout(&[100]).await;
    rollout.plan.in_flight_max = Some(1);
    rollout.plan.urgency = Urgency::Deferrable { times: 1, until: None };
    shop.fleet.put_rollout(rollout);
    let desk = Desk { ingest: shop.ingest(), shop };
    desk.polls(NOW_MS).await;
    let (first, second) = if desk.state_of(0) == State::Offered { (0, 1) } else { (1, 0) };
    assert_eq!(desk.state_of(second), State::Waiting, "there is one place");

    let until = NOW_MS + 5 * HOUR_MS;
    let put_off = |times| {
        let deferred = Some(Deferral { times, until: until / 1000 });
        Report { deferred, ..report(State::Verified) }
    };
    desk.hear(first, "m-1", &report(State::Verified), NOW_MS).await;
    desk.hear(first, "m-2", &put_off(1), NOW_MS).await;
    desk.check_counters().await;
    let waiting = desk.deployment(first);
    assert_eq!((waiting.state, waiting.not_before), (State::Waiting, until));

    advance_rollouts(&desk.shop.store, &desk.shop.fleet, NOW_MS + HOUR_MS).await.unwrap();
    desk.polls(NOW_MS + HOUR_MS).await;
    assert_eq!([first, second].map(|n| desk.state_of(n)), [State::Waiting, State::Offered]);
    desk.hear(second, "m-1", &report(State::Healthy), NOW_MS + HOUR_MS).await;
    advance_rollouts(&desk.shop.store, &desk.shop.fleet, until - 1).await.unwrap();
    desk.polls(until - 1).await;
    assert_eq!(desk.deployment(first), waiting, "nobody is in a hurry");

    desk.polls(until).await;
    let again = desk.deployment(first);
    assert_eq!((again.state, again.tries, again.deferred), (State::Offered, 1, 1));
    desk.hear(first, "m-3", &put_off(2), until - HOUR_MS).await;
    let late = desk.deployment(first);
    assert_eq!((late.state, late.deferred), (State::Verified, 1), "once too often");
    let three_hours = until + 3 * HOUR_MS;
    advance_rollouts(&desk.shop.store, &desk.shop.fleet, three_hours).await.unwrap();
    assert_eq!(desk.state_of(first), State::TimedOut, "it times out as everybody");
    desk.check_counters().await;
}
