//! A log that is full of what a sink has not taken, and what telemetry comes to.

mod backend;
mod broker;

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use waxwing_server::clock::Clock as _;
use waxwing_server::config::Config;
use waxwing_server::jobs::forget;
use waxwing_server::store::messages::Message;
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;

use self::backend::Backend;
use self::broker::Broker;
use crate::mqtt::{Line, sealed};
use crate::support::{Folder, Server, id};

const TOPIC: &str = "waxwing/v1/d-1/telemetry";

/// The smallest log there may be.
const LOG_BYTES: u64 = 16 << 20;

/// A folder with a sink that is not there.
fn folder(configure: impl FnOnce(&mut Config)) -> Folder {
    let mut folder = Folder::new();
    let sink = "name = 'away'\nkind = 'http'\nurl = 'http://127.0.0.1:1/'";
    folder.config.sinks = vec![toml::from_str(sink).unwrap()];
    configure(&mut folder.config);
    folder
}

#[tokio::test]
async fn a_message_is_not_acknowledged_while_the_disk_queue_is_full_and_none_is_lost_for_it() {
    let folder = folder(|config| {
        config.messages.bytes = LOG_BYTES;
        config.messages.kept_hours = 1;
    });
    let server = folder.start().await;
    let device = server.enrolled("d-1").await;
    let app = &server.running.app;
    let sealed = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    let mut line = Line::open(&server, &device, "d-1").await;
    let kept = fill(&server).await;

    line.send(&Line::publication(TOPIC, &sealed)).await;
    let closed = Some((0xe0, vec![0x89]));
    assert_eq!(line.packet().await, closed, "server busy, and no PUBACK before it");
    assert_eq!(line.packet().await, None);
    // However old they are: the sink has not taken them.
    server.clock.advance(Duration::from_hours(100));
    forget(app, app.clock.now_ms()).await.unwrap();
    assert_eq!(app.log.after(0, u32::MAX).await.unwrap().len(), kept);

    // Once it has, there is room again.
    let taken = *app.log.newest().borrow();
    let cursor = app.log.cursor("away", false).await.unwrap();
    let cursor = waxwing_server::domain::sink::progress::Cursor { taken, ..cursor };
    app.log.move_sink("away", cursor, &[], 0).await.unwrap();
    forget(app, app.clock.now_ms()).await.unwrap();
    let sealed = crate::mqtt::sealed(&server, &device.key, "d-1", Kind::Telemetry);
    let mut line = Line::open(&server, &device, "d-1").await;
    assert_eq!(line.publish(TOPIC, &sealed).await, 0);
}

/// Fills the log, and returns how many messages it holds.
async fn fill(server: &Server) -> usize {
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(7000));
    for number in 0.. {
        let message = message(server, "d-1", &format!("f-{number}"), &payload);
        if server.running.app.log.add(&[message]).await.is_err() {
            return number;
        }
    }
    unreachable!("the log has a limit")
}

fn message(server: &Server, device: &str, message_id: &str, payload: &str) -> Message {
    let header =
        Header { device_id: id(device), timestamp: 0, message_id: message_id.parse().unwrap() };
    Message {
        device: id(device),
        kind: Kind::Telemetry,
        message_id: header.message_id.clone(),
        signed_by: "00".to_owned(),
        received_at: server.clock.now_ms(),
        envelope: header.seal(payload, "00"),
    }
}

/// Devices say something, at once.
async fn say(server: &Server, said: &[(&str, &str)]) {
    let said = said.iter().map(|(device, message_id)| message(server, device, message_id, "{}"));
    server.running.app.log.add(&said.collect::<Vec<_>>()).await.unwrap();
}

/// A folder with a sink that is a back end.
fn folder_with(backend: &Backend) -> Folder {
    folder_to("http", &format!("http://{}/", backend.address))
}

fn folder_to(kind: &str, url: &str) -> Folder {
    let mut folder = Folder::new();
    let sink = format!("name = 'back'\nkind = '{kind}'\nurl = '{url}'\nbackfill = true");
    folder.config.sinks = vec![toml::from_str(&sink).unwrap()];
    folder
}

#[tokio::test]
async fn a_dead_letter_that_could_not_be_written_is_sent_again_with_the_mark() {
    let mut backend = Backend::open(&[("m-1", &[400])]).await;
    let folder = folder_with(&backend);
    let server = folder.start().await;
    let file = SqliteConnectOptions::new().filename(folder.data().join("messages.db"));
    let mut disk = file.connect().await.unwrap();
    // As a disk without room, until m-3 is in the log.
    let full = "CREATE TRIGGER full BEFORE INSERT ON dead_letters \
        WHEN NOT EXISTS (SELECT 1 FROM messages WHERE message_id = 'm-3') \
        BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(full).execute(&mut disk).await.unwrap();

    say(&server, &[("d-1", "m-1")]).await;
    backend.expect("m-1", false).await;
    say(&server, &[("d-1", "m-2")]).await;
    backend.expect("m-1", true).await;
    backend.expect("m-2", false).await;
    // Behind the batch after that, what came of m-1 is written.
    for id in ["m-3", "m-4"] {
        say(&server, &[("d-1", id)]).await;
        backend.until(id).await;
    }
    let dead = server.running.app.log.dead_letters("back", 0, 9).await.unwrap();
    let dead: Vec<_> = dead.iter().map(|it| it.logged.message.message_id.as_str()).collect();
    assert_eq!(dead, ["m-1"]);
}

#[tokio::test]
async fn what_a_device_said_later_waits_behind_what_waits_for_its_retry() {
    let mut backend = Backend::open(&[("m-1", &[500, 204])]).await;
    let server = folder_with(&backend).start().await;
    // The sink takes the message of the other device: it is not at fault.
    say(&server, &[("d-1", "m-1"), ("d-2", "n-1")]).await;
    backend.until("m-1").await;
    say(&server, &[("d-1", "m-2"), ("d-2", "n-2")]).await;
    let mut came = backend.until("n-2").await;
    server.clock.advance(Duration::from_secs(2));
    say(&server, &[("d-2", "n-3")]).await;
    while !["m-1", "m-2"].iter().all(|id| came.contains(&(*id).to_owned())) {
        came.push(backend.next().await.0);
    }
    came.retain(|id| id.starts_with("m-"));
    assert_eq!(came, ["m-1", "m-2"]);
}

#[tokio::test]
async fn what_a_broker_may_have_got_before_its_connection_broke_is_marked_on_the_next_one() {
    let broker = Broker::open().await;
    let server = folder_to("mqtt", &format!("mqtt://{}", broker.address)).start().await;
    say(&server, &[("d-1", "m-1")]).await;
    let mut connection = broker.welcome().await;
    assert!(!connection.is_marked().await);
    connection.acknowledge().await;
    say(&server, &[("d-1", "m-2")]).await;
    assert!(!connection.is_marked().await);
    drop(connection);
    assert!(broker.welcome().await.is_marked().await);
}

#[tokio::test]
async fn a_broker_that_talks_and_acknowledges_nothing_is_left() {
    let broker = Broker::open().await;
    let mut folder = folder_to("mqtt", &format!("mqtt://{}", broker.address));
    folder.config.sinks[0].timeout_s = 1;
    let server = folder.start().await;
    say(&server, &[("d-1", "m-1")]).await;
    let mut connection = broker.welcome().await;
    assert!(!connection.is_marked().await);
    connection.chatter().await;
}

#[tokio::test]
async fn telemetry_is_added_up_by_product_and_shown_by_device() {
    let folder = folder(|config| config.messages.aggregates = vec!["celsius".to_owned()]);
    let server = folder.start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    let sealed = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    assert_eq!(line.publish(TOPIC, &sealed).await, 0);
    assert_eq!(line.publish(TOPIC, &sealed).await, 0, "a duplicate, which counts once");
    let url = format!("http://{}/metrics", server.running.addresses.ops);
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    for expected in [
        r#"waxwing_telemetry_values_total{product="th1",reading="celsius"} 1"#,
        r#"waxwing_telemetry_sum{product="th1",reading="celsius"} 21.5"#,
        r#"waxwing_telemetry_min{product="th1",reading="celsius"} 21.5"#,
        r#"waxwing_telemetry_max{product="th1",reading="celsius"} 21.5"#,
    ] {
        assert!(metrics.lines().any(|line| line == expected), "{expected} in {metrics}");
    }
    assert!(!metrics.contains("d-1"), "no series names a device: {metrics}");
}
