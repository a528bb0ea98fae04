//! The five checks, and what reports do to deployments and rollouts; with a real database.

mod comparisons;
mod messages;
mod polls;
mod recounts;
mod refusals;
mod tries;

use std::fmt::Write as _;

use waxwing_tuf::author::{P256Signer, Signer as _};
use waxwing_wire::envelope::Header;
use waxwing_wire::report::State;
use waxwing_wire::{Digest, ErrorCode, MessageId, Report};

use super::*;
use crate::domain::Deployment;
use crate::domain::device::ATTRIBUTES_MAX;
use crate::domain::{rollout, webhook};
use crate::jobs::{advance_rollouts, flush_sightings};
use crate::recount::{known, recount};
use crate::testing::{Lines, NOW_MS, Shop, device_key};

fn report(state: State) -> Report {
    let release = crate::domain::release::tests::release("1.1.0");
    Report {
        rollout: Shop::rollout(),
        release: release.version,
        state,
        code: ErrorCode::NONE,
        fw_sha256: release.sha256,
        attempt: 1,
        measured_at: 0,
        deferred: None,
    }
}

/// Seals a payload as device number `n` would.
fn seal(n: u32, kind: Kind, message: &str, payload: &str, at_ms: u64) -> Vec<u8> {
    seal_with(&device_key(n), &Shop::device(n), kind, message, payload, at_ms)
}

fn seal_with(
    key: &P256Signer,
    device: &DeviceId,
    kind: Kind,
    message: &str,
    payload: &str,
    at_ms: u64,
) -> Vec<u8> {
    let header = Header {
        device_id: device.clone(),
        timestamp: at_ms / 1000,
        message_id: MessageId::parse(message).unwrap(),
    };
    let signed = format!("{}{payload}", header.signed_prefix(kind));
    let signature = key.sign(signed.as_bytes()).unwrap();
    let mut hex = String::new();
    for byte in signature {
        write!(hex, "{byte:02x}").unwrap();
    }
    header.seal(payload, &hex).into_bytes()
}

struct Desk {
    shop: Shop,
    ingest: Ingest,
}

impl Desk {
    /// A shop with `devices` devices and a running rollout in phases 50% and 100%.
    async fn open(devices: u32) -> Self {
        let shop = Shop::open(devices).await;
        shop.start_rollout(&[50, 100]).await;
        let ingest = shop.ingest();
        Self { shop, ingest }
    }

    async fn say(&self, n: u32, message: &str, state: State) -> Result<Accepted, Refused> {
        let sealed = seal(n, Kind::Report, message, &report(state).encode(), NOW_MS);
        self.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(NOW_MS)).await
    }

    /// Returns the devices of the first phase.
    fn first_phase(&self) -> Vec<u32> {
        let rollout = self.shop.fleet.rollout(&Shop::rollout()).unwrap();
        (0..self.shop.devices)
            .filter(|n| rollout.phase_of(&Shop::device(*n), |_| false) == Some(0))
            .collect()
    }

    fn state_of(&self, n: u32) -> State {
        let deployment = self.shop.fleet.deployment(&Shop::rollout(), &Shop::device(n));
        deployment.unwrap_or(Deployment::waiting()).state
    }

    fn rollout_state(&self) -> rollout::State {
        self.shop.fleet.rollout(&Shop::rollout()).unwrap().state
    }

    async fn restarted(self) -> Self {
        let shop = self.shop.restarted().await;
        let ingest = shop.ingest();
        Self { shop, ingest }
    }

    #[track_caller]
    fn counted(&self, outcome: &'static str) -> u64 {
        self.ingest.counters().of(Kind::Report, outcome)
    }
}

#[tokio::test]
async fn check_one_fields_that_are_missing_or_wrong_are_refused() {
    let desk = Desk::open(4).await;
    for bytes in [&b"{}"[..], b"", b"not json", &[b' '; 9000]] {
        let outcome = desk.ingest.message(&Shop::device(0), Kind::Report, bytes, Ok(NOW_MS)).await;
        assert!(matches!(outcome, Err(Refused::Malformed(_))), "{outcome:?}");
    }
    let n = desk.first_phase()[0];
    let sealed = seal(n, Kind::Report, "m-1", r#"{"rollout":"r-1"}"#, NOW_MS);
    let outcome = desk.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(NOW_MS)).await;
    assert!(matches!(outcome, Err(Refused::Malformed(_))), "{outcome:?}");
}

#[tokio::test]
async fn check_two_a_message_of_another_device_is_refused() {
    let desk = Desk::open(4).await;
    let sealed = seal(1, Kind::Report, "m-1", &report(State::Healthy).encode(), NOW_MS);
    let outcome = desk.ingest.message(&Shop::device(0), Kind::Report, &sealed, Ok(NOW_MS)).await;
    assert!(matches!(outcome, Err(Refused::WrongSender)), "{outcome:?}");
}

#[tokio::test]
async fn check_three_a_message_of_another_time_is_refused() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    let payload = report(State::Downloading).encode();
    for at_ms in [NOW_MS - (FRESH_S + 1) * 1000, NOW_MS + (FRESH_S + 1) * 1000] {
        let sealed = seal(n, Kind::Report, "m-1", &payload, at_ms);
        let outcome =
            desk.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(NOW_MS)).await;
        assert!(matches!(outcome, Err(Refused::Stale)), "{outcome:?}");
    }
    let sealed = seal(n, Kind::Report, "m-1", &payload, NOW_MS - FRESH_S * 1000);
    let outcome = desk.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(NOW_MS)).await;
    assert!(matches!(outcome, Ok(Accepted::Applied)), "{outcome:?}");
}

#[tokio::test]
async fn check_four_an_id_used_for_another_message_is_a_replay_even_after_a_restart() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    assert!(matches!(desk.say(n, "m-1", State::Downloading).await, Ok(Accepted::Applied)));
    let desk = desk.restarted().await;
    assert!(matches!(desk.say(n, "m-1", State::Healthy).await, Err(Refused::Replay)));
    assert_eq!(desk.state_of(n), State::Downloading);
}

#[tokio::test]
async fn check_five_a_message_not_signed_by_the_device_for_this_topic_is_refused() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    let device = Shop::device(n);
    let payload = report(State::Healthy).encode();
    let by_another = seal_with(&device_key(99), &device, Kind::Report, "m-1", &payload, NOW_MS);
    let for_telemetry = seal(n, Kind::Telemetry, "m-1", &payload, NOW_MS);
    let genuine = String::from_utf8(seal(n, Kind::Report, "m-1", &payload, NOW_MS)).unwrap();
    let changed = genuine.replace("\"attempt\":1", "\"attempt\":2").into_bytes();
    for bytes in [by_another, for_telemetry, changed] {
        let outcome = desk.ingest.message(&device, Kind::Report, &bytes, Ok(NOW_MS)).await;
        assert!(matches!(outcome, Err(Refused::Signature)), "{outcome:?}");
    }
    assert_eq!(desk.state_of(n), State::Waiting);
}

#[tokio::test]
async fn a_message_sent_again_is_acknowledged_once_more_and_counted_once() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    let payload = report(State::Downloading).encode();
    for (at_ms, expected) in [(NOW_MS, Accepted::Applied), (NOW_MS + 60_000, Accepted::Duplicate)] {
        let sealed = seal(n, Kind::Report, "m-1", &payload, at_ms);
        let outcome = desk.ingest.message(&Shop::device(n), Kind::Report, &sealed, Ok(at_ms)).await;
        assert_eq!(outcome.unwrap(), expected);
    }
    assert_eq!((desk.counted("applied"), desk.counted("duplicate")), (1, 1));
}

#[tokio::test]
async fn a_device_describes_itself_and_overrules_nobody() {
    let desk = Desk::open(1).await;
    let device = Shop::device(0);
    let mut known = Device::clone(&desk.shop.fleet.device(&device).unwrap());
    known.attributes.given = [("region".to_owned(), "eu".to_owned())].into();
    desk.shop.fleet.put_device(known);
    let many: Vec<_> = (0..=ATTRIBUTES_MAX).map(|n| format!(r#""k{n}":"v""#)).collect();
    for (n, attributes, cells) in [
        (1, r#"{"cells":"12","region":"us"}"#, Some("12")),
        (2, r#"{"cells":13}"#, Some("12")),
        (3, r#"{"a b":"x"}"#, Some("12")),
        (4, r#"["cells"]"#, Some("12")),
        (5, &format!("{{{}}}", many.join(",")), Some("12")),
        (6, &format!(r#"{{"cells":"{}"}}"#, "9".repeat(129)), Some("12")),
        (7, "null", Some("12")),
        (8, r#"{"other":"x"}"#, None),
    ] {
        let payload = format!(r#"{{"attributes":{attributes}}}"#);
        let now_ms = NOW_MS + n * 10_000;
        let sealed = seal(0, Kind::Telemetry, &format!("t-{n}"), &payload, now_ms);
        let outcome = desk.ingest.message(&device, Kind::Telemetry, &sealed, Ok(now_ms)).await;
        assert_eq!(outcome.unwrap(), Accepted::Applied, "{attributes}");
        let known = desk.shop.fleet.device(&device).unwrap();
        assert_eq!(known.attributes.of("cells"), cells, "{attributes}");
        assert_eq!(known.attributes.of("region"), Some("eu"), "{attributes}");
    }
    let shop = desk.shop.restarted().await;
    assert_eq!(shop.fleet.device(&device).unwrap().attributes.of("other"), Some("x"));
}

#[tokio::test]
async fn a_device_changes_its_attributes_no_more_often_than_every_ten_seconds() {
    let desk = Desk::open(2).await;
    // (device, seconds from the beginning, what it says, what is known then)
    for (n, at_s, cells, expected) in [
        (0, 0, "1", "1"),
        (0, 1, "2", "1"),
        (1, 1, "3", "3"),
        (0, 9, "2", "1"),
        (0, 10, "2", "2"),
        (0, 11, "2", "2"),
        (0, 19, "4", "2"),
        (0, 20, "4", "4"),
    ] {
        let payload = format!(r#"{{"attributes":{{"cells":"{cells}"}}}}"#);
        let (device, now_ms) = (Shop::device(n), NOW_MS + at_s * 1000);
        let sealed = seal(n, Kind::Telemetry, &format!("t-{at_s}"), &payload, now_ms);
        let outcome = desk.ingest.message(&device, Kind::Telemetry, &sealed, Ok(now_ms)).await;
        assert_eq!(outcome.unwrap(), Accepted::Applied, "it is telemetry still");
        let known = desk.shop.fleet.device(&device).unwrap();
        assert_eq!(known.attributes.of("cells"), Some(expected), "{n} after {at_s} s");
    }
}

#[tokio::test]
async fn a_device_cannot_speak_of_a_rollout_that_never_reached_it() {
    let desk = Desk::open(4).await;
    let first = desk.first_phase();
    let outside = (0..4).find(|n| !first.contains(n)).unwrap();
    let outcome = desk.say(outside, "m-1", State::Healthy).await;
    assert!(matches!(outcome, Err(Refused::NotInRollout)), "{outcome:?}");
}

#[tokio::test]
async fn late_and_contradictory_reports_are_kept_without_effect() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    assert_eq!(desk.say(n, "m-1", State::Healthy).await.unwrap(), Accepted::Applied);
    assert_eq!(desk.say(n, "m-2", State::Downloading).await.unwrap(), Accepted::Late);
    assert_eq!(desk.say(n, "m-3", State::RolledBack).await.unwrap(), Accepted::Contradicts);
    assert_eq!(desk.state_of(n), State::Healthy);
    let rollout = Shop::rollout();
    let (mut snapshot, _) = desk.shop.store.snapshot().await.unwrap();
    let mut evidence = store::reports::of_rollout(snapshot.connection(), &rollout);
    let (_, stored) = evidence.next_device().await.unwrap().unwrap();
    let applied: Vec<_> = stored.iter().map(|(evidence, _)| evidence.applied).collect();
    assert_eq!(applied, [true, false, false]);
    assert_eq!((desk.counted("late"), desk.counted("contradicts")), (1, 1));
}

#[tokio::test]
async fn a_failure_halts_the_rollout_before_it_is_acknowledged_and_for_good() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    let pager = webhook::Webhook {
        id: "wh-1".to_owned(),
        target: webhook::Target::parse("https://hooks.example/").unwrap(),
        kinds: Vec::new(),
        created_by: String::new(),
        created_at: 0,
    };
    let mut change = desk.shop.store.begin().await.unwrap();
    store::webhooks::add(change.connection(), &pager).await.unwrap();
    drop(change.commit().await.unwrap());
    assert_eq!(desk.say(n, "m-1", State::RolledBack).await.unwrap(), Accepted::Applied);
    assert_eq!(desk.rollout_state(), rollout::State::Halted);
    let told = store::webhooks::page(&desk.shop.store, &pager.id, None, None, 9).await.unwrap();
    let halted = told.iter().map(|outgoing| outgoing.kind).collect::<Vec<_>>();
    assert_eq!(halted, [webhook::Kind::Halted], "in the outbox before the report is acknowledged");
    let desk = desk.restarted().await;
    assert_eq!(desk.rollout_state(), rollout::State::Halted);
    let moved = advance_rollouts(&desk.shop.store, &desk.shop.fleet, NOW_MS).await.unwrap();
    assert_eq!(moved, 0);
    let audit = store::audit::page(&desk.shop.store, 0, 100).await.unwrap();
    let (_, halt) = audit.last().unwrap();
    assert_eq!(halt.reason, "phase 1: 1 of 1 devices failed, and none may of so few");
    for n in desk.first_phase() {
        let decision = desk.shop.fleet.decide(&Shop::device(n), NOW_MS).unwrap();
        assert_eq!(decision.offer, None, "a halt withdraws the offer");
    }
}

#[tokio::test]
async fn a_rollout_goes_through_its_phases_on_healthy_reports_alone() {
    let desk = Desk::open(8).await;
    let (store, fleet) = (desk.shop.store.clone(), desk.shop.fleet.clone());
    let first = desk.first_phase();
    for n in &first {
        desk.say(*n, "m-1", State::Confirmed).await.unwrap();
    }
    assert_eq!(advance_rollouts(&store, &fleet, NOW_MS).await.unwrap(), 0);
    for n in &first {
        desk.say(*n, "m-2", State::Healthy).await.unwrap();
    }
    assert_eq!(advance_rollouts(&store, &fleet, NOW_MS).await.unwrap(), 1);
    assert_eq!(advance_rollouts(&store, &fleet, NOW_MS).await.unwrap(), 0, "once is enough");
    for n in (0..8).filter(|n| !first.contains(n)) {
        desk.say(n, "m-2", State::Healthy).await.unwrap();
    }
    advance_rollouts(&store, &fleet, NOW_MS).await.unwrap();
    assert_eq!(desk.rollout_state(), rollout::State::Finished);
}

#[tokio::test]
async fn an_offer_lost_in_a_crash_is_made_again_by_the_next_poll() {
    let desk = Desk::open(4).await;
    desk.shop.poll_all();
    // The server dies before the offers are written.
    let desk = desk.restarted().await;
    assert_eq!(desk.shop.fleet.counts(&Shop::rollout())[0].of(State::Offered), 0);
    desk.shop.poll_all();
    assert_eq!(flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap(), 4);
    assert_eq!(flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap(), 0);
    assert_eq!(desk.shop.fleet.counts(&Shop::rollout())[0].of(State::Offered), 2);
}

#[tokio::test]
async fn an_offer_written_behind_never_overwrites_a_report() {
    let desk = Desk::open(4).await;
    let n = desk.first_phase()[0];
    desk.shop.poll_all();
    desk.say(n, "m-1", State::Downloading).await.unwrap();
    flush_sightings(&desk.shop.store, &desk.shop.fleet).await.unwrap();
    assert_eq!(desk.state_of(n), State::Downloading);
    assert_eq!(desk.restarted().await.state_of(n), State::Downloading);
}

#[tokio::test]
async fn a_device_cannot_write_lines_of_its_own_into_the_log() {
    let desk = Desk::open(1).await;
    let lines = Lines::default();
    let guard = lines.listen(false);
    let forged = br#"{"a\n2026-11-20T09:30:00Z  INFO forged": 1}"#;
    let refused = desk.ingest.message(&Shop::device(0), Kind::Report, forged, Ok(NOW_MS)).await;
    drop(guard);
    assert!(matches!(refused, Err(Refused::Malformed(_))), "{refused:?}");
    let text = lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("malformed: "), "the cause is there: {text}");
}

impl Desk {
    /// Everything that was counted, and the same from the signed reports alone.
    async fn counted_twice(&self) -> (rollout::Counts, rollout::Counts) {
        let counts = self.shop.fleet.counts(&Shop::rollout());
        let recount = recount(&self.shop.store, &self.shop.fleet, &Shop::rollout()).await;
        (known(&counts), recount.unwrap().unwrap().counts)
    }

    fn members(&self) -> u64 {
        rollout::Counts::sum(&self.shop.fleet.counts(&Shop::rollout())).total()
    }

    /// Everybody is offered the release, as far as there are places.
    async fn offer(&self) {
        self.shop.poll_all();
        flush_sightings(&self.shop.store, &self.shop.fleet).await.unwrap();
    }

    /// The rollout comes to an end by something else than reports.
    async fn end(&self, end: impl FnOnce(&mut rollout::Rollout)) {
        let fleet = &self.shop.fleet;
        let mut rollout = rollout::Rollout::clone(&fleet.rollout(&Shop::rollout()).unwrap());
        end(&mut rollout);
        let mut change = self.shop.store.begin().await.unwrap();
        store::rollouts::update(change.connection(), &rollout).await.unwrap();
        let turn = change.commit().await.unwrap();
        fleet.put_rollout(rollout);
        drop(turn);
    }
}

#[tokio::test]
async fn reports_about_a_rollout_that_is_over_move_it_nowhere_and_count_right() {
    type End = fn(&mut rollout::Rollout);
    let ends: [(End, rollout::State); 3] = [
        (|it| rollout::tests::finish(it, NOW_MS), rollout::State::Finished),
        (|it| rollout::tests::halt(it, NOW_MS), rollout::State::Halted),
        (|it| it.change(rollout::Change::Cancel, NOW_MS).unwrap(), rollout::State::Cancelled),
    ];
    for (end, state) in ends {
        let desk = Desk::open(12).await;
        desk.offer().await;
        desk.end(end).await;
        let members = desk.members();
        for n in desk.first_phase() {
            for (k, said) in
                State::ALL.into_iter().cycle().skip(3 * usize_of(n)).take(12).enumerate()
            {
                let outcome = desk.say(n, &format!("m-{k}"), said).await;
                assert!(matches!(outcome, Ok(_) | Err(Refused::Malformed(_))), "{outcome:?}");
            }
        }
        assert_eq!((desk.rollout_state(), desk.members()), (state, members));
        let (counted, evidence) = desk.counted_twice().await;
        assert_eq!(counted, evidence, "{state}");
        let moved = advance_rollouts(&desk.shop.store, &desk.shop.fleet, NOW_MS).await.unwrap();
        assert_eq!(moved, 0, "{state}");
        let desk = desk.restarted().await;
        assert_eq!((desk.rollout_state(), desk.counted_twice().await.0), (state, counted));
    }
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).unwrap()
}

#[tokio::test]
async fn whatever_devices_say_in_whatever_order_counts_equal_the_evidence() {
    for seed in 1_u64..6 {
        let desk = Desk::open(8).await;
        desk.offer().await;
        let (mut random, mut halted) = (seed, false);
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let n = u32::try_from(draw(8)).unwrap();
            // Few names: the same message twice, and other messages under its name.
            let message = format!("m-{}", draw(40));
            let said = State::ALL[usize::try_from(draw(12)).unwrap()];
            let _ = desk.say(n, &message, said).await;
            let is_halted = desk.rollout_state() == rollout::State::Halted;
            assert!(is_halted || !halted, "a halt is for good");
            halted = is_halted;
        }
        let (counted, evidence) = desk.counted_twice().await;
        assert_eq!(counted, evidence, "seed {seed}");
        assert_eq!(desk.members(), 4, "seed {seed}");
        let restarted = desk.restarted().await;
        assert_eq!(restarted.counted_twice().await.0, counted, "seed {seed}");
    }
}
