//! `POST /v1/poll`, judged by the verifier that devices run.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use rcgen::SigningKey as _;
use serde_json::{Value, json};
use waxwing_server::clock::Clock as _;
use waxwing_tuf::uptane::Answer as Verdict;
use waxwing_wire::bundle::{DEVICE_ANSWER_BYTES_MAX, Kind, Writer};
use waxwing_wire::envelope::Header;
use waxwing_wire::report::State;
use waxwing_wire::topic;

use crate::api::Publisher;
use crate::fleet::{Device, Fleet, files};
use crate::support::{Answer, Folder};

async fn fleet() -> Fleet {
    let fleet = Fleet::start(&Folder::new()).await;
    fleet.import_root().await;
    fleet
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
}

#[tokio::test]
async fn an_idle_poll_is_one_timestamp_for_this_question() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    assert_eq!(device.poll().await, Ok(Verdict::Nothing));
    let question = device.question();
    let answer = device.ask(&question).await;
    assert_eq!(files(&answer)["d"], ["timestamp.json"]);
    assert_eq!((files(&answer)["i"].len(), files(&answer)["a"].len()), (0, 0));
    let next = device.question();
    assert!(device.check(&next, &answer).is_err(), "an answer to another question");
    assert_eq!(device.check(&question, &answer), Ok(Verdict::Idle));
}

#[tokio::test]
async fn an_answer_to_one_device_is_nothing_to_another() {
    let fleet = fleet().await;
    let (mut one, mut other) = (fleet.device("d-1").await, fleet.device("d-2").await);
    let question = one.question();
    let answer = one.ask(&question).await;
    assert!(other.check(&question, &answer).is_err());
    assert!(one.check(&question, &answer).is_ok());
}

#[tokio::test]
async fn a_rollout_reaches_the_device_and_a_pause_takes_it_back() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    device.poll().await.unwrap();
    fleet.roll_out_to(&mut device).await;
    let Ok(Verdict::Install(install)) = device.poll().await else { panic!("nothing offered") };
    assert_eq!(install.path, "th1/stable/1.1.0/esp32c3.bin");
    assert_eq!((install.deploy.as_str(), install.soak_s), ("r-1", 60));
    let question = device.question();
    let again = device.ask(&question).await;
    assert_eq!(files(&again)["d"], ["timestamp.json"], "nothing is sent twice");
    assert_eq!(files(&again)["i"].len(), 0);
    fleet.act("pause").await;
    assert_eq!(device.poll().await, Ok(Verdict::Nothing));
    fleet.act("resume").await;
    assert!(matches!(device.poll().await, Ok(Verdict::Install(_))));
}

/// As many and as long roles as one upload holds.
fn largest(publisher: &mut Publisher) -> Vec<u8> {
    publisher.wide = ["th1-z0", "th1-z1"].map(str::to_owned).to_vec();
    publisher.lean = [publisher.wide.clone(), vec!["th1-stable".to_owned()]].concat();
    let others = (0..13).map(|n| format!("th1-c{n}")).chain(publisher.wide.clone());
    publisher.roles.extend(others.map(|role| (role, BTreeMap::new())));
    publisher.padding = 15_000;
    let mut bundle = Writer::new();
    for (name, bytes) in publisher.publication() {
        bundle.push(Kind::Image, &name, &bytes).unwrap();
    }
    bundle.finish(0)
}

#[tokio::test]
async fn a_device_is_sent_the_roles_on_its_way_and_no_others() {
    let mut fleet = fleet().await;
    let publication = largest(&mut fleet.publisher);
    assert!(publication.len() > 4 * DEVICE_ANSWER_BYTES_MAX, "far too long for an answer");
    fleet.admin(Method::POST, "products/th1/metadata", publication).await;
    let mut device = fleet.device("d-1").await;
    fleet.roll_out_to(&mut device).await;
    let question = device.question();
    let answer = device.ask(&question).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(matches!(device.check(&question, &answer), Ok(Verdict::Install(_))));
    assert_eq!(
        files(&answer)["i"],
        [
            "timestamp.json",
            "2.snapshot.json",
            "2.targets.json",
            "2.th1-z1.json",
            "2.th1-z0.json",
            "2.th1-stable.json"
        ]
    );
}

#[tokio::test]
async fn what_an_answer_has_no_room_for_comes_with_the_next_poll() {
    let mut fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    let publisher = &mut fleet.publisher;
    publisher.wide = ["th1-z0".to_owned()].to_vec();
    publisher.roles.insert("th1-z0".to_owned(), BTreeMap::new());
    (publisher.padding, publisher.root_padding) = (14_500, 3_000);
    let mut publication = publisher.publication();
    let roots = (2..=9).map(|version| (format!("{version}.root.json"), publisher.root(version)));
    publication.extend(roots);
    let mut bundle = Writer::new();
    for (name, bytes) in publication {
        bundle.push(Kind::Image, &name, &bytes).unwrap();
    }
    fleet.admin(Method::POST, "products/th1/metadata", bundle.finish(0)).await;
    fleet.roll_out_to(&mut device).await;
    let mut polls = 0;
    let verdict = loop {
        polls += 1;
        let question = device.question();
        let answer = device.ask(&question).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(answer.body.len() <= DEVICE_ANSWER_BYTES_MAX);
        if let Ok(verdict) = device.check(&question, &answer) {
            break verdict;
        }
        assert!(polls < 3, "{answer:?}");
    };
    assert!(matches!(verdict, Verdict::Install(_)));
    assert_eq!(polls, 2);
}

#[tokio::test]
async fn decisions_are_signed_anew_before_they_expire() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    fleet.roll_out().await;
    for _ in 0..30 {
        assert!(device.poll().await.is_ok());
        fleet.server.clock.advance(Duration::from_hours(24));
    }
}

#[tokio::test]
async fn a_device_ahead_of_a_restored_database_gets_a_decision_it_can_take() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    device.poll().await.unwrap();
    fleet.server.clock.advance(Duration::from_hours(1));
    let known = fleet.server.clock.now_ms() - 1000;
    let mut question = device.question();
    question.have.extend([("d.snapshot".to_owned(), known), ("d.targets".to_owned(), known)]);
    let answer = device.ask(&question).await;
    let name = files(&answer)["d"].iter().find(|name| name.ends_with("snapshot.json")).cloned();
    let version: u64 = name.unwrap().split('.').next().unwrap().parse().unwrap();
    assert!(version > known);
    assert!(device.check(&question, &answer).is_ok());
}

#[tokio::test]
async fn a_device_that_is_always_ahead_gets_one_new_decision_a_minute() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    let app = &fleet.server.running.app;
    let changed_at = || app.fleet.device(&crate::support::id("d-1")).unwrap().changed_at;
    let mut changes = Vec::new();
    for _ in 0..5 {
        fleet.server.clock.advance(Duration::from_secs(30));
        let mut question = device.question();
        let known = fleet.server.clock.now_ms() - 1;
        question.have.extend([("d.snapshot".to_owned(), known), ("d.targets".to_owned(), known)]);
        assert_eq!(device.ask(&question).await.status, StatusCode::OK);
        changes.push(changed_at());
    }
    changes.dedup();
    assert_eq!(changes.len(), 3, "at 0:30, 1:30 and 2:30");
}

#[tokio::test]
async fn reports_that_come_with_a_poll_are_stored_and_acknowledged() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    fleet.roll_out().await;
    device.poll().await.unwrap();
    let mut question = device.question();
    question.reports = vec![report(&fleet, &device, "m-1", "downloading")];
    let answer = device.ask(&question).await;
    assert_eq!(files(&answer)["a"], ["m-1"]);
    let again = device.ask(&question).await;
    assert_eq!(files(&again)["a"], ["m-1"], "a lost answer is repeated");
    let deployments = fleet.admin(Method::GET, "rollouts/r-1/deployments", "").await;
    assert_eq!(deployments["items"][0]["state"], "downloading");
}

#[tokio::test]
async fn a_report_that_comes_while_the_clock_is_wrong_is_neither_stored_nor_acknowledged() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    fleet.roll_out().await;
    device.poll().await.unwrap();
    fleet.server.clock.set_ahead(Duration::from_mins(10));
    let mut question = device.question();
    question.reports = vec![report(&fleet, &device, "m-1", "downloading")];
    check_refused(&device.ask(&question).await, 503, "director_clock");
    fleet.server.clock.set_ahead(Duration::ZERO);
    assert!(state_of(&fleet, "d-1") <= State::Offered);
    question.reports = vec![report(&fleet, &device, "m-1", "downloading")];
    assert_eq!(files(&device.ask(&question).await)["a"], ["m-1"]);
    assert_eq!(state_of(&fleet, "d-1"), State::Downloading);
}

fn state_of(fleet: &Fleet, device: &str) -> State {
    let app = &fleet.server.running.app;
    let deployment = app.fleet.deployment(&"r-1".parse().unwrap(), &device.parse().unwrap());
    deployment.map_or(State::Waiting, |deployment| deployment.state)
}

#[tokio::test]
async fn a_forged_report_is_not_stored() {
    let fleet = fleet().await;
    let (mut device, other) = (fleet.device("d-1").await, fleet.device("d-2").await);
    fleet.roll_out().await;
    device.poll().await.unwrap();
    let mut question = device.question();
    let forged = report(&fleet, &other, "m-1", "downloading").replace("d-2", "d-1");
    question.reports = vec![forged, "{}".to_owned()];
    assert_eq!(device.ask(&question).await.status, StatusCode::OK);
    fleet.server.clock.advance(Duration::from_secs(1));
    let evidence = fleet
        .server
        .running
        .app
        .fleet
        .deployment(&"r-1".parse().unwrap(), &crate::support::id("d-1"));
    assert!(evidence.is_none_or(|it| it.state == State::Offered));
}

#[tokio::test]
async fn polls_that_make_no_sense_are_refused_by_name() {
    let fleet = fleet().await;
    let mut device = fleet.device("d-1").await;
    let good = device.question().encode();
    for bad in ["", "{", "[]", "null", &good.replace("\"hw\"", "\"hardware\""), &good[1..]] {
        let answer = device.client.send(Method::POST, "/v1/poll", &[], bad.to_owned()).await;
        check_refused(&answer, 400, "poll_malformed");
    }
    let mut question = device.question();
    question.product = "th2".parse().unwrap();
    check_refused(&device.ask(&question).await, 403, "wrong_product");
    let large = vec![b' '; 100_000];
    let answer = device.client.send(Method::POST, "/v1/poll", &[], large).await;
    check_refused(&answer, 413, "body_too_large");
    let mut client = fleet.server.connect(fleet.server.device(), Some(&device.identity)).await;
    check_refused(&client.as_mut().unwrap().get("/v1/poll").await, 405, "wrong_method");
}

#[tokio::test]
async fn nothing_is_signed_before_the_ceremony() {
    let fleet = Fleet::start(&Folder::new()).await;
    let mut device = fleet.device("d-1").await;
    let question = device.question();
    check_refused(&device.ask(&question).await, 503, "director_not_rooted");
    let url = format!("http://{}/readyz", fleet.server.running.addresses.ops);
    let ready: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(ready, json!({"ready": false, "missing": ["director_root"], "warnings": []}));
    fleet.import_root().await;
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
    assert!(device.poll().await.is_ok());
}

#[tokio::test]
async fn a_database_that_takes_no_changes_is_not_ready() {
    let fleet = fleet().await;
    let app = &fleet.server.running.app;
    let mut change = app.store.begin().await.unwrap();
    sqlx::query("PRAGMA query_only = 1").execute(change.connection()).await.unwrap();
    drop(change);
    let url = format!("http://{}/readyz", fleet.server.running.addresses.ops);
    let ready: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(ready, json!({"ready": false, "missing": ["database"], "warnings": []}));
}

#[tokio::test]
async fn tools_read_the_same_by_plain_get_and_each_device_only_its_own() {
    let fleet = fleet().await;
    let (mut device, mut other) = (fleet.device("d-1").await, fleet.device("d-2").await);
    fleet.roll_out().await;
    let timestamp = get(&mut device, "/tuf/director/d-1/metadata/timestamp.json").await;
    assert_eq!(timestamp["signed"]["custom"]["device"], "d-1");
    let version = &timestamp["signed"]["meta"]["snapshot.json"]["version"];
    for role in ["snapshot", "targets"] {
        let path = format!("/tuf/director/d-1/metadata/{version}.{role}.json");
        assert_eq!(&get(&mut device, &path).await["signed"]["version"], version);
        check_refused(&other.client.get(&path).await, 404, "file_unknown");
    }
    for name in
        ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.th1-stable.json"]
    {
        get(&mut device, &format!("/tuf/image/th1/metadata/{name}")).await;
    }
    for path in [
        "/tuf/director/d-2/metadata/1.root.json",
        "/tuf/director/d-1/metadata/1.snapshot.json",
        "/tuf/director/d-1/metadata/..%2f..%2fx",
        "/tuf/image/th2/metadata/1.root.json",
        "/tuf/image/th1/metadata/2.root.json",
        "/tuf/image/th1/targets/th1/stable/1.1.0/esp32c3.bin",
    ] {
        check_refused(&device.client.get(path).await, 404, "file_unknown");
    }
    let hash = crate::api::sha256(&fleet.image);
    for path in [
        format!("/tuf/image/th1/targets/th1/stable/1.1.0/{hash}.esp32c3.bin"),
        format!("/tuf/image/th1/targets/{hash}.th1/stable/1.1.0/esp32c3.bin"),
    ] {
        assert_eq!(device.client.get(&path).await.body, fleet.image);
    }
}

async fn get(device: &mut Device, path: &str) -> Value {
    let answer = device.client.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn report(fleet: &Fleet, device: &Device, message: &str, state: &str) -> String {
    let peer = waxwing_server::pki::Peer::from_certificate(&device.identity.certificate).unwrap();
    let now_s = fleet.server.clock.now_ms() / 1000;
    let header =
        Header { device_id: peer.device, timestamp: now_s, message_id: message.parse().unwrap() };
    let payload = json!({
        "rollout": "r-1", "release": "1.1.0", "state": state, "code": 0,
        "fw_sha256": "01".repeat(32), "attempt": 1, "measured_at": now_s,
    })
    .to_string();
    let signed = header.signed_prefix(topic::Kind::Report) + &payload;
    let signature = device.identity.key.sign(signed.as_bytes()).unwrap();
    let signature = signature.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    header.seal(&payload, &signature)
}
