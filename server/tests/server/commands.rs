//! Commands of operators on their way to a device, and its answers on their way back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use waxwing_server::director::COMMAND_LIFE;
use waxwing_server::domain::command::{Command, State};
use waxwing_server::mqtt::Relay;
use waxwing_server::orders;
use waxwing_server::store;
use waxwing_tuf::Time;
use waxwing_wire::command::{Answer, Command as Wanted, Outcome};
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;

use rcgen::SigningKey as _;

use crate::mqtt::{Line, hex};
use crate::support::{Folder, Identity, Server, id};

const RESPONSE: &str = "waxwing/v1/d-1/response";

/// Keeps a command, as the REST API does.
async fn keep(server: &Server, device: &str, order: Wanted) -> u64 {
    keep_for(server, device, order, Duration::from_mins(1)).await
}

async fn keep_for(server: &Server, device: &str, order: Wanted, life: Duration) -> u64 {
    let app = &server.running.app;
    let mut change = app.store.begin().await.unwrap();
    let number = app.fleet.stamp(app.director.now_ms().unwrap());
    let command = Command {
        number,
        device: id(device),
        order,
        state: State::Queued,
        created_by: "admin:ada".to_owned(),
        created_at: number,
        expires_at: number + u64::try_from(life.as_millis()).unwrap(),
        sent_at: None,
        ended_at: None,
        detail: String::new(),
    };
    store::commands::add(change.connection(), &command).await.unwrap();
    let turn = change.commit().await.unwrap();
    app.orders.expect(&id(device));
    drop(turn);
    number
}

async fn state(server: &Server, number: u64) -> State {
    let (store, device) = (&server.running.app.store, id("d-1"));
    let all = store::commands::page(store, &device, u64::MAX, 100).await.unwrap();
    all.iter().find(|command| command.number == number).unwrap().state
}

/// What a device says, signed.
fn said(server: &Server, device: &Identity, name: &str, message: &str, answer: &Answer) -> String {
    let timestamp = server.running.app.clock.now_ms() / 1000;
    let header = Header { device_id: id(name), timestamp, message_id: message.parse().unwrap() };
    let payload = answer.encode();
    let text = header.signed_prefix(Kind::Response) + &payload;
    header.seal(&payload, &hex(&device.key.sign(text.as_bytes()).unwrap()))
}

fn done(number: u64) -> Answer {
    Answer { number, outcome: Outcome::Done, detail: "as told".to_owned() }
}

/// The number and the `seq` of the next command.
async fn next(line: &mut Line) -> (u64, u64) {
    let signed = signed(line).await;
    let number = signed["command"]["number"].as_str().unwrap_or("0").parse().unwrap();
    (number, signed["seq"].as_u64().unwrap())
}

/// What the next command says.
async fn signed(line: &mut Line) -> Value {
    let mut file: Value = serde_json::from_slice(&line.command().await).unwrap();
    file["signed"].take()
}

/// How many commands go to the broker now.
async fn relayed(server: &Server, relay: &mut Relay) -> usize {
    orders::send_due(&server.running.app).await.unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = timeout(Duration::ZERO, relay.command()).await {
        count += 1;
    }
    count
}

/// A connection that has nothing to say.
async fn is_silent(line: &mut Line) {
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())));
}

#[tokio::test]
async fn commands_go_one_at_a_time_and_the_next_when_the_first_is_answered() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let first = keep(&server, "d-1", Wanted::Reboot).await;
    let second = keep(&server, "d-1", Wanted::Poll).await;
    let mut line = Line::open(&server, &device, "d-1").await;
    line.subscribe().await;
    let (number, seq) = next(&mut line).await;
    assert_eq!((number, state(&server, first).await), (first, State::Sent));
    is_silent(&mut line).await;
    let answer = said(&server, &device, "d-1", "m-1", &done(first));
    assert_eq!(line.publish(RESPONSE, &answer).await, 0);
    assert_eq!(state(&server, first).await, State::Done);
    orders::send_due(app).await.unwrap();
    let (number, later) = next(&mut line).await;
    assert_eq!(number, second);
    assert!(later > seq, "{later} {seq}");
    // The answer again, and another one to the same: the first stands.
    assert_eq!(line.publish(RESPONSE, &answer).await, 0);
    let failed = Answer { outcome: Outcome::Failed, ..done(first) };
    let failed = said(&server, &device, "d-1", "m-2", &failed);
    assert_eq!(line.publish(RESPONSE, &failed).await, 0);
    assert_eq!(state(&server, first).await, State::Done);
    let audit = store::audit::page(&app.store, 0, 1000).await.unwrap();
    let answered = audit.iter().filter(|(_, line)| line.action.as_str() == "command_answered");
    let answered: Vec<_> = answered.map(|(_, line)| (&line.actor[..], &line.detail)).collect();
    let detail = json!({ "id": first.to_string(), "outcome": "done" });
    assert_eq!(answered, [("device:d-1", &detail)]);
}

#[tokio::test]
async fn nobody_answers_for_another_device() {
    let server = Folder::new().start().await;
    let (device, other) = (server.enrolled("d-1").await, server.enrolled("d-2").await);
    let number = keep(&server, "d-1", Wanted::Reboot).await;
    let mut line = Line::open(&server, &other, "d-2").await;
    let answer = said(&server, &other, "d-2", "m-1", &done(number));
    assert_eq!(line.publish("waxwing/v1/d-2/response", &answer).await, 0, "it is a message");
    assert_eq!(state(&server, number).await, State::Queued, "of no consequence");
    let forged = said(&server, &other, "d-1", "m-1", &done(number));
    let mut line = Line::open(&server, &device, "d-1").await;
    assert_eq!(line.publish(RESPONSE, &forged).await, 0x87);
    assert_eq!(state(&server, number).await, State::Queued);
}

#[tokio::test]
async fn what_is_cancelled_or_void_never_goes_to_the_device() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let cancelled = keep(&server, "d-1", Wanted::Reboot).await;
    let mut change = app.store.begin().await.unwrap();
    let db = change.connection();
    store::commands::end(db, cancelled, State::Cancelled, "", cancelled).await.unwrap();
    drop(change.commit().await.unwrap());
    let void = keep(&server, "d-1", Wanted::Reboot).await;
    server.clock.advance(Duration::from_secs(61));
    let good = keep(&server, "d-1", Wanted::Poll).await;
    let mut line = Line::open(&server, &device, "d-1").await;
    line.subscribe().await;
    assert_eq!(next(&mut line).await.0, good);
    is_silent(&mut line).await;
    assert_eq!(state(&server, void).await, State::Queued, "until somebody looks at it");
}

#[tokio::test]
async fn whoever_holds_a_command_back_cannot_use_it_for_long() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let life_s = COMMAND_LIFE.as_secs();
    let kept_s = life_s + 60;
    keep_for(&server, "d-1", Wanted::Reboot, Duration::from_secs(kept_s)).await;
    let mut line = Line::open(&server, &device, "d-1").await;
    line.subscribe().await;
    let begin_s = app.clock.now_ms() / 1000;
    // Signed anew again and again, and never beyond what was asked for.
    for (after_s, until_s) in [(0, life_s), (120, kept_s), (240, kept_s)] {
        server.clock.advance(Duration::from_secs(begin_s + after_s - app.clock.now_ms() / 1000));
        orders::send_due(app).await.unwrap();
        let expires = signed(&mut line).await["expires"].clone();
        let until = Time::from_seconds(begin_s + until_s).to_string();
        assert_eq!(expires, until, "after {after_s} s");
    }
}

#[tokio::test]
async fn a_broker_that_comes_and_goes_does_not_get_every_command_signed_each_time() {
    let server = Folder::new().start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let number = keep(&server, "d-1", Wanted::Reboot).await;
    let mut relay = app.hub.attach_relay();
    assert_eq!(relayed(&server, &mut relay).await, 1);
    for _ in 0..9 {
        server.clock.advance(Duration::from_secs(1));
        relay = app.hub.attach_relay();
        assert_eq!(relayed(&server, &mut relay).await, 0);
    }
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(relayed(&server, &mut relay).await, 1, "the connection is another one");
    // For a device that is here itself the connection before was lost with what was on it.
    for _ in 0..2 {
        let mut line = Line::open(&server, &device, "d-1").await;
        line.subscribe().await;
        orders::send_due(app).await.unwrap();
        assert_eq!(next(&mut line).await.0, number);
    }
}

#[tokio::test]
async fn a_damaged_command_keeps_nobody_else_waiting() {
    let server = Folder::new().start().await;
    server.enrolled("d-1").await;
    server.enrolled("d-2").await;
    let app = &server.running.app;
    keep(&server, "d-1", Wanted::Reboot).await;
    let mut change = app.store.begin().await.unwrap();
    let damage = sqlx::query("UPDATE commands SET arguments = '['");
    damage.execute(change.connection()).await.unwrap();
    drop(change.commit().await.unwrap());
    keep(&server, "d-2", Wanted::Reboot).await;
    let mut relay = app.hub.attach_relay();
    assert_eq!(relayed(&server, &mut relay).await, 1);
}
