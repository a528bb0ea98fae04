//! Bad input over MQTT: each kind of it is refused with the reason code of the protocol, counted, and
//! never visible as data, neither in the log nor to somebody who listens.

use rcgen::SigningKey as _;
use waxwing_server::mqtt::refusals::Part;
use waxwing_wire::envelope::{Header, NESTING_MAX};
use waxwing_wire::topic::Kind;

use crate::mqtt::{Line, hex, long_packet, sealed, text};
use crate::operators::{certified, heard, listen, start, start_in, subscribe};
use crate::support::{Folder, Identity, Server, id};

const TOPIC: &str = "waxwing/v1/d-1/telemetry";

/// A message that the device has signed, with a time and a payload of one's choice.
fn signed(
    server: &Server,
    device: &Identity,
    seconds: i64,
    message_id: &str,
    payload: &str,
) -> String {
    let now = server.running.app.clock.now_ms() / 1000;
    let header = Header {
        device_id: id("d-1"),
        timestamp: now.checked_add_signed(seconds).unwrap(),
        message_id: message_id.parse().unwrap(),
    };
    let text = header.signed_prefix(Kind::Telemetry) + payload;
    header.seal(payload, &hex(&device.key.sign(text.as_bytes()).unwrap()))
}

/// An object of so many levels.
fn nested(levels: usize) -> String {
    "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1)
}

#[tokio::test]
async fn bad_input_is_refused_with_its_reason_counted_and_seen_by_nobody() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let (ada, _) = certified(&server, "ada").await;
    let mut listener = listen(&server, &ada, "x").await.unwrap();
    assert_eq!(subscribe(&mut listener, "#").await, 0);
    let mut line = Line::open(&server, &device, "d-1").await;
    let fine = sealed(&server, &device.key, "d-1", Kind::Telemetry);
    let time = fine.split("\"timestamp\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let with_time = |value: &str| {
        fine.replace(&format!("\"timestamp\":{time}"), &format!("\"timestamp\":{value}"))
    };
    let deep = fine.replace("{\"celsius\":21.5}", &"[".repeat(4000));
    let signed =
        |seconds, message_id, payload: &str| signed(&server, &device, seconds, message_id, payload);
    let cases: Vec<(&str, String, u8)> = vec![
        ("no JSON", "21.5 °C".to_owned(), 0x99),
        ("half a message", fine[..fine.len() / 2].to_owned(), 0x99),
        ("two messages", format!("{fine}{fine}"), 0x99),
        ("no object", "[]".to_owned(), 0x99),
        ("nothing", String::new(), 0x99),
        ("a field nobody knows", fine.replacen('{', "{\"x\":1,", 1), 0x99),
        ("a field twice", fine.replacen('{', "{\"device_id\":\"d-1\",", 1), 0x99),
        ("a time that is a text", with_time("\"1795167000\""), 0x99),
        ("a time that is no whole number", with_time("1795167000.5"), 0x99),
        ("a time before all time", with_time("-1"), 0x99),
        ("a time that is nothing", with_time("null"), 0x99),
        ("a time after all time", with_time("99999999999999999999"), 0x99),
        ("a time that was", signed(-301, "m-2", "{}"), 0x83),
        ("a time to come", signed(301, "m-3", "{}"), 0x83),
        ("nested four thousand deep", deep, 0x99),
        ("signed, and nested a thousand deep", signed(0, "m-4", &nested(1000)), 0x99),
        ("signed, and one level too deep", signed(0, "m-5", &nested(NESTING_MAX + 1)), 0x99),
        ("longer than a message may be", "x".repeat(8200), 0x99),
        ("another's name", fine.replace("\"d-1\"", "\"d-2\""), 0x87),
        ("a byte changed", fine.replace("21.5", "21.6"), 0x87),
    ];
    for (what, message, code) in &cases {
        assert_eq!(line.publish(TOPIC, message).await, *code, "{what}");
    }
    let log = &server.running.app.log;
    assert_eq!(log.last_telemetry(&id("d-1")).await.unwrap(), None);
    let counters = server.running.app.ingest.counters();
    let refused = ["malformed", "stale", "signature", "wrong_sender"];
    let refused = refused.map(|why| match why {
        "malformed" => counters.of(Kind::Telemetry, "refused_malformed"),
        "stale" => counters.of(Kind::Telemetry, "refused_stale"),
        "signature" => counters.of(Kind::Telemetry, "refused_signature"),
        _ => counters.of(Kind::Telemetry, "refused_wrong_sender"),
    });
    assert_eq!(refused.iter().sum::<u64>(), u64::try_from(cases.len()).unwrap(), "{refused:?}");
    // What is fine is heard, and nothing before it; its id cannot stand for something else.
    assert_eq!(line.publish(TOPIC, &fine).await, 0);
    assert_eq!(heard(&mut listener).await, (TOPIC.to_owned(), fine));
    let replay = signed(0, "m-telemetry", "{\"celsius\":99}");
    assert_eq!(line.publish(TOPIC, &replay).await, 0x87);
    let refusals = &server.running.app.mqtt.refusals;
    assert!(refusals.of(Part::Publish, "payload_format_invalid") >= 10);
}

#[tokio::test]
async fn a_message_as_deep_as_may_be_is_taken() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    let message = signed(&server, &device, 0, "m-1", &nested(NESTING_MAX));
    assert_eq!(line.publish(TOPIC, &message).await, 0);
}

#[tokio::test]
async fn ten_thousand_levels_do_not_fit_and_end_their_connection_only() {
    let server = start().await;
    let device = server.enrolled("d-1").await;
    let mut line = Line::open(&server, &device, "d-1").await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let body = [&text(TOPIC)[..], &[0], deep.as_bytes()].concat();
    // What was sent and is not read would make the kernel drop the answer.
    line.send(&long_packet(0x30, &body)[..1000]).await;
    assert_eq!(line.packet().await, Some((0xe0, vec![0x95])), "packet too large");
    let refusals = &server.running.app.mqtt.refusals;
    assert_eq!(refusals.of(Part::Connection, "packet_too_large"), 1);
    Line::open(&server, &device, "d-1").await;
}

#[tokio::test]
async fn a_device_that_sends_too_much_is_refused_also_on_its_next_connection() {
    let mut folder = Folder::new();
    (folder.config.mqtt.messages_per_s, folder.config.mqtt.burst_s) = (1, 3);
    let server = start_in(&folder).await;
    let (device, other) = (server.enrolled("d-1").await, server.enrolled("d-2").await);
    let state = "waxwing/v1/d-1/state";
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut line = Line::open(&server, &device, "d-1").await;
        for _ in 0..4 {
            codes.push(line.publish(state, "x").await);
        }
        line.send(&[0xe0, 0]).await;
        assert_eq!(line.packet().await, None);
    }
    assert_eq!(codes, [0, 0, 0, 0x97, 0x97, 0x97, 0x97, 0x97]);
    let mut line = Line::open(&server, &other, "d-2").await;
    assert_eq!(line.publish("waxwing/v1/d-2/state", "x").await, 0, "nobody else is held up");
    server.clock.advance(std::time::Duration::from_secs(3));
    let mut line = Line::open(&server, &device, "d-1").await;
    assert_eq!(line.publish(state, "x").await, 0);
    let metrics = reqwest::get(format!("http://{}/metrics", server.running.addresses.ops));
    let text = metrics.await.unwrap().text().await.unwrap();
    let series = r#"waxwing_mqtt_refused_total{part="publish",reason="quota_exceeded"} 5"#;
    assert!(text.lines().any(|line| line == series), "{text}");
    assert!(text.contains("waxwing_mqtt_missed_total 0"), "{text}");
}
