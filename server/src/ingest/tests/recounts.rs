//! Counters beside what the signed reports say, where the server had a part in it, and where somebody
//! changed the database.

use super::*;
use crate::domain::rollout::tests::rollout;
use crate::store::deployments;

const HOUR_MS: u64 = 3_600_000;

impl Desk {
    /// A device says something about a rollout at a time.
    async fn say_of(&self, of: &str, n: u32, message: &str, state: State, at_ms: u64) -> Accepted {
        let report = Report { rollout: of.parse().unwrap(), ..report(state) };
        let sealed = seal(n, Kind::Report, message, &report.encode(), at_ms);
        let heard = self.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(at_ms)).await;
        heard.unwrap()
    }

    async fn polls_and_waits(&self, at_ms: u64) {
        advance_rollouts(&self.shop.store, &self.shop.fleet, at_ms).await.unwrap();
        self.shop.poll_all_at(at_ms);
        flush_sightings(&self.shop.store, &self.shop.fleet).await.unwrap();
    }

    async fn check_equal(&self, of: &str, why: &str) {
        let recount = recount(&self.shop.store, &self.shop.fleet, &of.parse().unwrap()).await;
        let recount = recount.unwrap().unwrap();
        let counted = known(&[recount.counted]);
        assert_eq!((counted, recount.invalid), (recount.counts, 0), "{why}");
    }

    /// Somebody writes into the database; then the server starts again.
    async fn changed(self, statement: &'static str) -> Self {
        let mut change = self.shop.store.begin().await.unwrap();
        sqlx::query(statement).execute(change.connection()).await.unwrap();
        drop(change.commit().await.unwrap());
        self.restarted().await
    }

    async fn is_equal(&self) -> bool {
        let (counted, evidence) = self.counted_twice().await;
        counted == evidence
    }
}

#[tokio::test]
async fn what_was_taken_back_and_offered_again_is_no_difference() {
    let desk = Desk::open(2).await;
    let n = desk.first_phase()[0];
    desk.polls_and_waits(NOW_MS).await;
    desk.say_of("r-1", n, "m-1", State::Verified, NOW_MS).await;
    desk.check_equal("r-1", "verified").await;
    // It polls for a week, and does not switch.
    let mut now_ms = NOW_MS;
    while desk.state_of(n) == State::Verified {
        now_ms += HOUR_MS;
        desk.polls_and_waits(now_ms).await;
    }
    desk.polls_and_waits(now_ms).await;
    assert_eq!(desk.state_of(n), State::Offered, "once more");
    desk.check_equal("r-1", "offered again").await;
    desk.say_of("r-1", n, "m-2", State::Downloading, now_ms).await;
    assert_eq!(desk.state_of(n), State::Downloading);
    desk.check_equal("r-1", "from the beginning").await;
    desk.say_of("r-1", n, "m-3", State::Healthy, now_ms).await;
    desk.check_equal("r-1", "healthy").await;
}

#[tokio::test]
async fn who_was_given_up_and_is_heard_of_is_no_difference() {
    let desk = Desk::open(300).await;
    let n = desk.first_phase()[0];
    desk.polls_and_waits(NOW_MS).await;
    desk.say_of("r-1", n, "m-1", State::Booted, NOW_MS).await;
    desk.polls_and_waits(NOW_MS + 5 * HOUR_MS).await;
    assert_eq!(desk.state_of(n), State::TimedOut);
    desk.check_equal("r-1", "given up").await;
    desk.say_of("r-1", n, "m-2", State::Activated, NOW_MS + 5 * HOUR_MS).await;
    assert_eq!(desk.state_of(n), State::Activated, "an older report of it came late");
    desk.check_equal("r-1", "heard of").await;
}

#[tokio::test]
async fn what_was_said_of_one_rollout_while_in_another_is_no_difference() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.polls_and_waits(NOW_MS).await;
    desk.say_of("r-1", n, "m-1", State::Downloading, NOW_MS).await;
    let mut above = rollout("r-2", &[100]);
    above.plan.priority = 1;
    desk.shop.start(above).await;
    desk.polls_and_waits(NOW_MS + 1).await;
    assert_eq!(desk.state_of(n), State::Skipped, "taken over");
    let elsewhere = desk.say_of("r-1", n, "m-2", State::Verified, NOW_MS + 2).await;
    assert_eq!(elsewhere, Accepted::Contradicts);
    desk.check_equal("r-1", "set aside").await;
    let switched = desk.first_phase()[1];
    desk.say_of("r-2", switched, "m-1", State::Booted, NOW_MS + 2).await;
    let elsewhere = desk.say_of("r-1", switched, "m-2", State::Activated, NOW_MS + 2).await;
    assert_eq!(elsewhere, Accepted::Contradicts, "nobody switches twice");
    desk.check_equal("r-1", "switched elsewhere").await;
    desk.check_equal("r-2", "the other one").await;
    // It switches all the same: that counts, and the other offer is taken back.
    desk.say_of("r-1", n, "m-3", State::Activated, NOW_MS + 3).await;
    for of in ["r-1", "r-2"] {
        desk.check_equal(of, "switched").await;
    }
}

#[tokio::test]
async fn nobody_can_change_how_devices_ended_without_being_noticed() {
    for (said, lie) in [
        (State::RolledBack, "UPDATE deployments SET state = 'skipped', attempt = 0"),
        (State::RolledBack, "UPDATE deployments SET state = 'waiting'"),
        (State::RolledBack, "UPDATE deployments SET state = 'healthy'"),
        (State::Failed, "UPDATE deployments SET state = 'offered'"),
        (State::Booted, "UPDATE deployments SET state = 'healthy'"),
        (State::Booted, "UPDATE deployments SET state = 'waiting'"),
        (State::Healthy, "UPDATE deployments SET state = 'rolled_back'"),
        (State::Healthy, "DELETE FROM reports"),
    ] {
        let desk = Desk::open(2).await;
        let n = desk.first_phase()[0];
        desk.say(n, "m-1", said).await.unwrap();
        assert!(desk.is_equal().await);
        assert!(!desk.changed(lie).await.is_equal().await, "{said}: {lie}");
    }
}

#[tokio::test]
async fn nobody_can_set_a_failure_aside_or_let_a_later_word_count() {
    let desk = Desk::open(2).await;
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::RolledBack).await.unwrap();
    desk.say(n, "m-2", State::Healthy).await.unwrap();
    let desk = desk.changed("UPDATE reports SET applied = 1 - applied").await;
    assert!(desk.is_equal().await, "the flags alone say nothing of how it ended");
    let desk = desk.changed("UPDATE deployments SET state = 'healthy', code = 0").await;
    assert!(!desk.is_equal().await);
}

#[tokio::test]
async fn a_recount_keeps_nobody_from_writing() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::Booted).await.unwrap();
    let (mut snapshot, nobody_writes) = desk.shop.store.snapshot().await.unwrap();
    drop(nobody_writes);
    desk.say(n, "m-2", State::Healthy).await.unwrap();
    let (rollout, device) = (Shop::rollout(), Shop::device(n));
    let then = deployments::of_rollout(snapshot.connection(), &rollout).await.unwrap();
    assert_eq!(then[&device].state, State::Booted, "it is of its moment");
    drop(snapshot);
    assert!(desk.is_equal().await);
}

#[tokio::test]
async fn counters_survive_a_restart_and_equal_a_recount_of_the_evidence() {
    let desk = Desk::open(20).await;
    let first = desk.first_phase();
    desk.shop.poll_all();
    flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap();
    for (n, state) in first.iter().zip([State::Healthy, State::Booted, State::Failed]) {
        desk.say(*n, "m-1", State::Downloading).await.unwrap();
        desk.say(*n, "m-2", state).await.unwrap();
        desk.say(*n, "m-3", State::Verified).await.unwrap();
    }
    let before = desk.shop.fleet.counts(&Shop::rollout());
    let desk = desk.restarted().await;
    let after = desk.shop.fleet.counts(&Shop::rollout());
    assert_eq!(before, after);
    assert_eq!(after[0].of(State::Offered), 7);
    let (store, fleet) = (&desk.shop.store, &desk.shop.fleet);
    let recount = recount(store, fleet, &Shop::rollout()).await.unwrap().unwrap();
    assert_eq!(recount.counts, known(&after));
    assert_eq!((recount.reports, recount.invalid), (9, 0));
}

#[tokio::test]
async fn a_recount_notices_evidence_that_was_changed() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.say(n, "m-1", State::Healthy).await.unwrap();
    let mut change = desk.shop.store.begin().await.unwrap();
    sqlx::query(
        "UPDATE reports SET envelope = CAST(replace(envelope, 'healthy', 'skipped') AS BLOB)",
    )
    .execute(change.connection())
    .await
    .unwrap();
    drop(change.commit().await.unwrap());
    let (store, fleet) = (&desk.shop.store, &desk.shop.fleet);
    let recount = recount(store, fleet, &Shop::rollout()).await.unwrap().unwrap();
    assert_eq!((recount.reports, recount.invalid), (1, 1));
}
