//! Tokens, certificates and their renewal: D12, D13, D14.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use rcgen::KeyPair;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::timeout;
use waxwing_server::domain::audit::Action;
use waxwing_server::domain::device::Status;
use waxwing_server::http::device::admission;
use waxwing_server::http::est::credentials::Credentials;
use waxwing_server::http::est::{REENROLL_PATH, issue};
use waxwing_server::pki::{DeviceKey, Peer};
use waxwing_server::store::audit;
use waxwing_wire::Digest;

use crate::support::{Answer, Client, Folder, Identity, Server, csr, id, tls};

const DAY: Duration = Duration::from_hours(24);

#[track_caller]
fn check_refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
}

async fn asks(server: &Server, identity: &Identity) -> Answer {
    let mut client = server.connect(server.device(), Some(identity)).await.unwrap();
    client.get("/nothing-here").await
}

/// What a device that was let in gets for an unknown path.
const LET_IN: &str = "unknown_route";

#[tokio::test]
async fn a_token_buys_one_certificate_and_the_same_key_gets_it_again() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    let key = KeyPair::generate().unwrap();
    let first = server.enroll("d-1", &token, &csr(&key)).await;
    let again = server.enroll("d-1", &token, &csr(&key)).await;
    assert_eq!(first.certificate(), again.certificate());
    assert_eq!(first.headers["content-type"], "application/pkcs7-mime; smime-type=certs-only");
    let other = server.enroll("d-1", &token, &csr(&KeyPair::generate().unwrap())).await;
    check_refused(&other, StatusCode::FORBIDDEN, "token_spent");
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_one_that_was_lost() {
    let server = Folder::new().start().await;
    let lost = server.register("d-1").await;
    let other = server.register("d-2").await;
    let new = server.token("d-1", Duration::from_hours(1)).await;
    let csr = || csr(&KeyPair::generate().unwrap());
    let refused = server.enroll("d-1", &lost, &csr()).await;
    check_refused(&refused, StatusCode::UNAUTHORIZED, "token_wrong");
    assert_eq!(server.enroll("d-1", &new, &csr()).await.status, StatusCode::OK);
    assert_eq!(server.enroll("d-2", &other, &csr()).await.status, StatusCode::OK);
    server.token("d-1", Duration::from_hours(1)).await;
    let spent = server.enroll("d-1", &new, &csr()).await;
    check_refused(&spent, StatusCode::FORBIDDEN, "token_spent");
}

#[tokio::test]
async fn a_thousand_tries_of_a_spent_token_are_one_line_in_the_audit_log() {
    let server = Folder::new().start().await;
    server.register("d-1").await;
    let token = server.token("d-1", Duration::from_hours(10)).await;
    let tries = async |count: usize| {
        let app = &server.running.app;
        let token = Digest(Sha256::digest(&token).into());
        let credentials = Credentials { device: id("d-1"), token };
        for _ in 0..count {
            let key = DeviceKey::from_est(csr(&KeyPair::generate().unwrap()).as_bytes()).unwrap();
            let refused = issue::first(app.clone(), credentials.clone(), key).await.unwrap_err();
            assert_eq!(refused.code(), "token_spent");
        }
        let rows = audit::page(&app.store, 0, 1000).await.unwrap();
        rows.iter().filter(|(_, entry)| entry.action == Action::TokenMisused).count()
    };
    server.enroll("d-1", &token, &csr(&KeyPair::generate().unwrap())).await;
    assert_eq!(tries(1000).await, 1);
    server.clock.advance(Duration::from_mins(59));
    assert_eq!(tries(10).await, 1);
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(tries(10).await, 2);
}

#[tokio::test]
async fn a_hundred_uses_of_a_token_at_once_give_one_certificate() {
    let mut folder = Folder::new();
    folder.config.limits.handshakes_per_source = 100;
    let server = Arc::new(folder.start().await);
    let token = server.register("d-1").await;
    let mut tries = JoinSet::new();
    for _ in 0..100 {
        let (server, token) = (server.clone(), token.clone());
        let csr = csr(&KeyPair::generate().unwrap());
        tries.spawn(async move { server.enroll("d-1", &token, &csr).await });
    }
    let answers = tries.join_all().await;
    let issued = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let spent = answers.iter().filter(|answer| answer.status == StatusCode::FORBIDDEN).count();
    assert_eq!((issued, spent), (1, 99));
}

#[tokio::test]
async fn a_token_is_for_its_device_and_its_time() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    server.register("d-2").await;
    let csr = csr(&KeyPair::generate().unwrap());
    for (device, token) in [("d-2", token.as_str()), ("d-3", &token), ("d-1", "x"), ("d-1", "")] {
        let answer = server.enroll(device, token, &csr).await;
        check_refused(&answer, StatusCode::UNAUTHORIZED, "token_wrong");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    }
    server.clock.advance(Duration::from_hours(2));
    check_refused(
        &server.enroll("d-1", &token, &csr).await,
        StatusCode::UNAUTHORIZED,
        "token_wrong",
    );
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_and_a_good_token_is_not() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    let csr = csr(&KeyPair::generate().unwrap());
    for _ in 0..server.running.app.config.identity.wrong_tokens_per_minute {
        server.enroll("d-1", "guess", &csr).await;
    }
    let answer = server.enroll("d-1", "guess", &csr).await;
    check_refused(&answer, StatusCode::TOO_MANY_REQUESTS, "too_many_tries");
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(server.enroll("d-1", &token, &csr).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_mins(1));
    let answer = server.enroll("d-1", "guess", &csr).await;
    check_refused(&answer, StatusCode::UNAUTHORIZED, "token_wrong");
}

#[tokio::test]
async fn a_wrong_token_does_not_wait_for_whoever_writes() {
    let server = Folder::new().start().await;
    server.register("d-1").await;
    let csr = csr(&KeyPair::generate().unwrap());
    let writer = server.running.app.store.begin().await.unwrap();
    let answer = timeout(Duration::from_secs(30), server.enroll("d-1", "guess", &csr)).await;
    check_refused(&answer.unwrap(), StatusCode::UNAUTHORIZED, "token_wrong");
    drop(writer);
}

#[tokio::test]
async fn a_bad_request_does_not_spend_the_token() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    check_refused(
        &server.enroll("d-1", &token, "AAAA").await,
        StatusCode::BAD_REQUEST,
        "csr_malformed",
    );
    let large = "A".repeat(9000);
    assert_eq!(server.enroll("d-1", &token, &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = server.enroll("d-1", &token, &csr(&KeyPair::generate().unwrap())).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn the_old_certificate_is_good_until_the_new_one_is_used() {
    let server = Folder::new().start().await;
    let old = server.enrolled("d-1").await;
    let key = KeyPair::generate().unwrap();
    let renewed = server.reenroll(&old, &csr(&key)).await;
    let again = server.reenroll(&old, &csr(&key)).await;
    assert_eq!(renewed.certificate(), again.certificate(), "a lost answer is repeated");
    assert_eq!(asks(&server, &old).await.code(), LET_IN);
    let new = Identity { certificate: renewed.certificate(), key };
    assert_eq!(asks(&server, &new).await.code(), LET_IN);
    check_refused(&asks(&server, &old).await, StatusCode::FORBIDDEN, "certificate_unknown");
    assert_eq!(asks(&server, &new).await.code(), LET_IN);
}

#[tokio::test]
async fn a_power_cut_of_the_server_at_any_step_of_a_renewal_loses_no_device() {
    let folder = Folder::new();
    let server = folder.start().await;
    let token = server.register("d-1").await;
    let [first, second] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let issued = server.enroll("d-1", &token, &csr(&first)).await.certificate();
    // The answer never came; the server starts again.
    server.running.stop().await;
    let server = folder.start().await;
    assert_eq!(server.enroll("d-1", &token, &csr(&first)).await.certificate(), issued);
    let old = Identity { certificate: issued, key: first };
    let renewed = server.reenroll(&old, &csr(&second)).await.certificate();
    server.running.stop().await;
    let server = folder.start().await;
    assert_eq!(asks(&server, &old).await.code(), LET_IN, "until the new one is used");
    assert_eq!(server.reenroll(&old, &csr(&second)).await.certificate(), renewed);
    let new = Identity { certificate: renewed, key: second };
    assert_eq!(asks(&server, &new).await.code(), LET_IN);
    server.running.stop().await;
    let server = folder.start().await;
    check_refused(&asks(&server, &old).await, StatusCode::FORBIDDEN, "certificate_unknown");
    assert_eq!(asks(&server, &new).await.code(), LET_IN);
}

#[tokio::test]
async fn a_key_is_certified_for_one_device_and_once() {
    let server = Folder::new().start().await;
    let own = server.enrolled("d-1").await;
    let token = server.register("d-2").await;
    let stolen = server.enroll("d-2", &token, &csr(&own.key)).await;
    check_refused(&stolen, StatusCode::FORBIDDEN, "key_in_use");
    let key = KeyPair::generate().unwrap();
    let certificate = server.reenroll(&own, &csr(&key)).await.certificate();
    let next = Identity { certificate, key };
    assert_eq!(asks(&server, &next).await.code(), LET_IN);
    let back = server.reenroll(&next, &csr(&own.key)).await;
    check_refused(&back, StatusCode::FORBIDDEN, "key_in_use");
    let other = server.enroll("d-2", &token, &csr(&KeyPair::generate().unwrap())).await;
    assert_eq!(other.status, StatusCode::OK, "none of this spent the token");
}

#[tokio::test]
async fn a_renewal_needs_a_new_key() {
    let server = Folder::new().start().await;
    let old = server.enrolled("d-1").await;
    check_refused(
        &server.reenroll(&old, &csr(&old.key)).await,
        StatusCode::BAD_REQUEST,
        "key_not_new",
    );
}

#[tokio::test]
async fn a_device_renews_once_a_minute_and_keeps_one_unused_certificate() {
    let server = Folder::new().start().await;
    let present = server.enrolled("d-1").await;
    let [first, key] = [(); 2].map(|()| KeyPair::generate().unwrap());
    assert_eq!(server.reenroll(&present, &csr(&first)).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(20));
    let soon = server.reenroll(&present, &csr(&key)).await;
    check_refused(&soon, StatusCode::TOO_MANY_REQUESTS, "renewed_just_now");
    assert_eq!(soon.headers["retry-after"], "40");
    assert_eq!(server.reenroll(&present, &csr(&first)).await.status, StatusCode::OK, "same key");
    server.clock.advance(Duration::from_secs(40));
    let certificate = server.reenroll(&present, &csr(&key)).await.certificate();
    assert_eq!(certificates(&server).await, ["current", "next"]);
    let next = Identity { certificate, key };
    assert_eq!(asks(&server, &next).await.code(), LET_IN);
    let in_turn = server.reenroll(&next, &csr(&KeyPair::generate().unwrap())).await;
    check_refused(&in_turn, StatusCode::TOO_MANY_REQUESTS, "renewed_just_now");
}

/// Returns the status of every certificate on record.
async fn certificates(server: &Server) -> Vec<String> {
    let mut reader = server.running.app.store.reader().await.unwrap();
    let all = sqlx::query_scalar("SELECT status FROM certificates ORDER BY status");
    all.fetch_all(&mut *reader).await.unwrap()
}

#[tokio::test]
async fn a_certificate_that_a_token_bought_outlives_its_replacement_on_record() {
    let server = Folder::new().start().await;
    let present = server.enrolled("d-1").await;
    let token = server.token("d-1", DAY).await;
    let key = KeyPair::generate().unwrap();
    let bought = server.enroll("d-1", &token, &csr(&key)).await;
    let renewed = server.reenroll(&present, &csr(&KeyPair::generate().unwrap())).await;
    assert_eq!(renewed.status, StatusCode::OK);
    assert_eq!(certificates(&server).await, ["current", "next", "old"]);
    assert_eq!(server.enroll("d-1", &token, &csr(&key)).await.certificate(), bought.certificate());
}

#[tokio::test]
async fn an_expired_certificate_may_renew_itself_and_nothing_else() {
    let server = Folder::new().start().await;
    let old = server.enrolled("d-1").await;
    server.clock.advance(91 * DAY);
    check_refused(&asks(&server, &old).await, StatusCode::FORBIDDEN, "certificate_expired");
    let key = KeyPair::generate().unwrap();
    let renewed = server.reenroll(&old, &csr(&key)).await;
    let new = Identity { certificate: renewed.certificate(), key };
    assert_eq!(asks(&server, &new).await.code(), LET_IN);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_after_the_grace() {
    let server = Folder::new().start().await;
    let old = server.enrolled("d-1").await;
    server.clock.advance((90 + 731) * DAY);
    let mut client = server.connect(server.device(), Some(&old)).await.unwrap();
    assert!(client.try_send(Method::GET, "/", &[], "").await.is_err());
}

#[tokio::test]
async fn a_revoked_device_gets_nothing_not_even_on_an_open_connection() {
    let server = Folder::new().start().await;
    let identity = server.enrolled("d-1").await;
    let token = server.token("d-1", DAY).await;
    let mut open = server.connect(server.device(), Some(&identity)).await.unwrap();
    assert_eq!(open.get("/").await.code(), LET_IN);
    server.revoke("d-1").await;
    assert!(open.try_send(Method::GET, "/", &[], "").await.is_err(), "the connection has ended");
    check_refused(&asks(&server, &identity).await, StatusCode::FORBIDDEN, "device_revoked");
    let csr = csr(&KeyPair::generate().unwrap());
    let renewal = server.reenroll(&identity, &csr).await;
    check_refused(&renewal, StatusCode::FORBIDDEN, "device_revoked");
    let enrolment = server.enroll("d-1", &token, &csr).await;
    check_refused(&enrolment, StatusCode::UNAUTHORIZED, "token_wrong");
}

#[tokio::test]
async fn a_device_revoked_while_its_renewal_waits_stays_revoked() {
    let server = Folder::new().start().await;
    let identity = server.enrolled("d-1").await;
    let app = server.running.app.clone();
    let peer = Arc::new(Peer::from_certificate(&identity.certificate).unwrap());
    admission::admit(&app, &peer, REENROLL_PATH).await.unwrap();
    let key = DeviceKey::from_est(csr(&KeyPair::generate().unwrap()).as_bytes()).unwrap();
    let writer = app.store.begin().await.unwrap();
    let renewal = issue::renewal(app.clone(), peer, key);
    let (renewed, ()) = tokio::join!(renewal, server.revoke_within(writer, "d-1"));
    assert_eq!(renewed.unwrap_err().code(), "device_revoked");
    assert_eq!(app.fleet.device(&id("d-1")).unwrap().status, Status::Revoked);
}

#[tokio::test]
async fn a_device_revoked_while_its_enrolment_waits_stays_revoked() {
    let server = Folder::new().start().await;
    let token = server.register("d-1").await;
    let app = server.running.app.clone();
    let token = Digest(Sha256::digest(&token).into());
    let credentials = Credentials { device: id("d-1"), token };
    let key = DeviceKey::from_est(csr(&KeyPair::generate().unwrap()).as_bytes()).unwrap();
    let writer = app.store.begin().await.unwrap();
    let enrolment = issue::first(app.clone(), credentials, key);
    let (enrolled, ()) = tokio::join!(enrolment, server.revoke_within(writer, "d-1"));
    // Its token went with the device.
    assert_eq!(enrolled.unwrap_err().code(), "token_wrong");
    assert_eq!(app.fleet.device(&id("d-1")).unwrap().status, Status::Revoked);
}

#[tokio::test]
async fn a_resumed_connection_is_no_admission() {
    let server = Folder::new().start().await;
    let identity = server.enrolled("d-1").await;
    let connector = server.connector(Some(&identity));
    let mut first = Client::open(connector.clone(), server.device()).await.unwrap();
    assert_eq!(first.get("/").await.code(), LET_IN);
    let resumed = tls(&connector, server.device()).await.unwrap();
    assert_eq!(
        resumed.get_ref().1.handshake_kind(),
        Some(rustls::HandshakeKind::Resumed),
        "else this test shows nothing"
    );
    server.revoke("d-1").await;
    let mut second = Client::open(connector, server.device()).await.unwrap();
    check_refused(&second.get("/").await, StatusCode::FORBIDDEN, "device_revoked");
}
