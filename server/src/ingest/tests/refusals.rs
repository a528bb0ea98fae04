//! Every kind of report that is not as it should be: counted by its name, and without effect.

use super::*;
use crate::director::clock_guard::ClockAhead;

/// What a report may come to, as metrics call it.
const OUTCOMES: [&str; 13] = [
    "applied",
    "contradicts",
    "duplicate",
    "late",
    "refused_clock",
    "refused_kind",
    "refused_malformed",
    "refused_not_in_rollout",
    "refused_replay",
    "refused_signature",
    "refused_stale",
    "refused_too_many",
    "refused_wrong_sender",
];

impl Desk {
    fn counts(&self) -> [u64; 13] {
        OUTCOMES.map(|outcome| self.counted(outcome))
    }

    /// A device sends this; nothing comes of it but that this counter rises by one.
    async fn check_counted(&self, n: u32, bytes: &[u8], now: Result<u64, ClockAhead>, as_: &str) {
        let before = (self.counts(), self.shop.fleet.evidence(&Shop::rollout()));
        let deployment = self.shop.fleet.deployment(&Shop::rollout(), &Shop::device(n));
        let outcome = self.ingest.message(&Shop::device(n), Kind::Report, bytes, now).await;
        let mut expected = before.0;
        let place = OUTCOMES.iter().position(|outcome| *outcome == as_).unwrap();
        expected[place] += 1;
        let after = (self.counts(), self.shop.fleet.evidence(&Shop::rollout()));
        assert_eq!(after, (expected, before.1), "{as_}: {outcome:?}");
        let now = self.shop.fleet.deployment(&Shop::rollout(), &Shop::device(n));
        assert_eq!(now, deployment, "{as_}");
        assert_eq!(self.rollout_state(), rollout::State::Running, "{as_}");
    }
}

fn sealed(n: u32, message: &str, report: &Report) -> Vec<u8> {
    seal(n, Kind::Report, message, &report.encode(), NOW_MS)
}

#[tokio::test]
async fn every_report_that_is_not_as_it_should_be_is_counted_and_changes_nothing() {
    let desk = Desk::open(600).await;
    let first = desk.first_phase();
    let outside = (0..600).find(|n| !first.contains(n)).unwrap();
    let (n, now) = (first[0], Ok(NOW_MS));
    desk.say(n, "m-1", State::Confirmed).await.unwrap();
    let ended = first[1];
    desk.say(ended, "m-1", State::Healthy).await.unwrap();

    let said = |state| report(state);
    let other_release = Report { release: semver::Version::new(9, 9, 9), ..said(State::Healthy) };
    let other_image = Report { fw_sha256: Digest([9; 32]), ..said(State::Healthy) };
    let unknown = Report { rollout: "r-9".parse().unwrap(), ..said(State::Healthy) };
    for (n, message, report, as_) in [
        (n, "m-2", said(State::Downloading), "late"),
        (n, "m-3", said(State::Confirmed), "late"),
        (n, "m-1", said(State::Confirmed), "duplicate"),
        (n, "m-1", said(State::Healthy), "refused_replay"),
        (ended, "m-4", said(State::RolledBack), "contradicts"),
        (n, "m-5", other_release, "contradicts"),
        (n, "m-6", other_image, "contradicts"),
        (n, "m-7", said(State::Offered), "contradicts"),
        (n, "m-8", said(State::TimedOut), "contradicts"),
        (n, "m-9", unknown, "refused_not_in_rollout"),
        (outside, "m-1", said(State::Healthy), "refused_not_in_rollout"),
    ] {
        desk.check_counted(n, &sealed(n, message, &report), now, as_).await;
    }
    let healthy = said(State::Healthy).encode();
    let old = seal(n, Kind::Report, "m-10", &healthy, NOW_MS - (FRESH_S + 1) * 1000);
    let early = seal(n, Kind::Report, "m-10", &healthy, NOW_MS + (FRESH_S + 1) * 1000);
    let forged =
        seal_with(&device_key(99), &Shop::device(n), Kind::Report, "m-10", &healthy, NOW_MS);
    let anothers = sealed(first[2], "m-10", &said(State::Healthy));
    let good = sealed(n, "m-10", &said(State::Healthy));
    let ahead = Err(ClockAhead { by_ms: 1 });
    for (bytes, now, as_) in [
        (&old[..], now, "refused_stale"),
        (&early[..], now, "refused_stale"),
        (&forged[..], now, "refused_signature"),
        (&anothers[..], now, "refused_wrong_sender"),
        (&b"{}"[..], now, "refused_malformed"),
        (&good[..], ahead, "refused_clock"),
    ] {
        desk.check_counted(n, bytes, now, as_).await;
    }
}

#[tokio::test]
async fn a_device_that_reports_without_end_is_not_listened_to_for_ever() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    for number in 0..256 {
        desk.say(n, &format!("m-{number}"), State::Downloading).await.unwrap();
    }
    let one_more = sealed(n, "m-256", &report(State::Healthy));
    desk.check_counted(n, &one_more, Ok(NOW_MS), "refused_too_many").await;
}
