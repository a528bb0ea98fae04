//! What devices say beside what they poll with.

use super::*;

const MINUTE_MS: u64 = 60_000;

impl Desk {
    /// Everybody polls with the old image, and what follows is written.
    async fn polls_with_the_old_image(&self, at_ms: u64) {
        self.shop.poll_all_at(at_ms);
        flush_sightings(&self.shop.store, &self.shop.fleet).await.unwrap();
    }

    async fn moved_by(&self, at_ms: u64) -> rollout::State {
        advance_rollouts(&self.shop.store, &self.shop.fleet, at_ms).await.unwrap();
        self.rollout_state()
    }

    fn end_of(&self, n: u32) -> (State, ErrorCode) {
        let deployment = self.shop.fleet.deployment(&Shop::rollout(), &Shop::device(n)).unwrap();
        (deployment.state, deployment.code)
    }
}

const GONE: (State, ErrorCode) = (State::TimedOut, ErrorCode::GONE_BACK);

#[tokio::test]
async fn a_device_that_was_healthy_and_polls_with_another_image_counts_against_the_release() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::Healthy).await.unwrap();
    let healthy_at = desk.shop.fleet.stamp(NOW_MS);
    desk.polls_with_the_old_image(NOW_MS).await;
    assert_eq!(desk.state_of(n), State::Healthy, "it may have polled before");
    desk.polls_with_the_old_image(healthy_at + MINUTE_MS).await;
    assert_eq!(desk.end_of(n), GONE);
    let mut registry = prometheus_client::registry::Registry::default();
    desk.shop.fleet.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("polls_contradicting_total 1\n"), "{text}");
    assert_eq!(desk.moved_by(healthy_at + MINUTE_MS).await, rollout::State::Halted);
    let (counted, evidence) = desk.counted_twice().await;
    assert_eq!(counted, evidence);
    let desk = desk.restarted().await;
    assert_eq!((desk.end_of(n), desk.rollout_state()), (GONE, rollout::State::Halted));
}

#[tokio::test]
async fn the_signed_word_of_a_device_overrules_what_its_polls_made_us_think() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::Healthy).await.unwrap();
    desk.polls_with_the_old_image(NOW_MS + MINUTE_MS).await;
    assert_eq!(desk.end_of(n), GONE);
    assert_eq!(desk.say(n, "m-2", State::RolledBack).await.unwrap(), Accepted::Applied);
    assert_eq!(desk.end_of(n), (State::RolledBack, ErrorCode::NONE));
    let (counted, evidence) = desk.counted_twice().await;
    assert_eq!(counted, evidence);
}

#[tokio::test]
async fn a_rollout_that_is_over_is_not_judged_by_polls() {
    let desk = Desk::open(4).await;
    for n in 0..4 {
        desk.say(n, "m-1", State::Healthy).await.ok();
    }
    desk.end(|it| rollout::tests::finish(it, NOW_MS)).await;
    desk.polls_with_the_old_image(NOW_MS + 1_000 * MINUTE_MS).await;
    assert_eq!(desk.state_of(desk.first_phase()[0]), State::Healthy);
}

#[tokio::test]
async fn a_device_that_switched_and_came_back_without_a_word_is_given_up() {
    let desk = Desk::open(300).await;
    let n = desk.first_phase()[0];
    desk.polls_with_the_old_image(NOW_MS).await;
    for (message, state) in [("m-1", State::Activated), ("m-2", State::Booted)] {
        desk.say(n, message, state).await.unwrap();
    }
    let overdue = |desk: &Desk| desk.shop.fleet.evidence(&Shop::rollout())[0].overdue;
    for (minutes, state, is_overdue) in
        [(15, State::Booted, 0), (60, State::Booted, 1), (119, State::Booted, 1)]
    {
        let at_ms = NOW_MS + minutes * MINUTE_MS;
        desk.polls_with_the_old_image(at_ms).await;
        desk.moved_by(at_ms).await;
        assert_eq!((desk.state_of(n), overdue(&desk)), (state, is_overdue), "{minutes}");
    }
    let late_ms = NOW_MS + 121 * MINUTE_MS;
    desk.polls_with_the_old_image(late_ms).await;
    desk.moved_by(late_ms).await;
    assert_eq!((desk.state_of(n), overdue(&desk)), (State::TimedOut, 0));
    let counts = desk.shop.fleet.counts(&Shop::rollout())[0];
    assert_eq!(counts.outcomes().broken, 1, "it counts against the release");
}
