//! The MQTT endpoint on real sockets: TLS, certificates, foreign clients, hostile bytes.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod support;

use std::net::Ipv4Addr;

use waxwing_server::mqtt::Delivery;
use waxwing_wire::topic::Kind;

use self::support::{Device, Line, Server, dial_tcp, ended, patient};

/// What `mosquitto_pub` and `mosquitto_sub` call the versions.
const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// Longest string there is in MQTT.
const TEXT_BYTES_MAX: usize = 0xffff;

#[tokio::test]
async fn mosquitto_publishes_on_the_topics_of_its_certificate() {
    let mut server = Server::start().await;
    let device = server.device("d-1");
    for version in VERSIONS {
        for (qos, kind) in [("0", Kind::Telemetry), ("1", Kind::Report), ("2", Kind::State)] {
            let topic = device.topic(kind.as_str());
            let output = device.mosquitto_pub(version, &["-q", qos, "-t", &topic, "-m", "x"]).await;
            assert!(output.status.success(), "{:?}", ended(&output));
            assert_eq!(server.message().await, ("d-1".to_owned(), kind, "x".to_owned()));
        }
    }
}

#[tokio::test]
async fn mosquitto_is_refused_on_every_other_topic() {
    let mut server = Server::start().await;
    let device = server.device("d-1");
    for version in VERSIONS {
        for topic in ["waxwing/v1/d-2/telemetry", "waxwing/v1/d-1/command", "a"] {
            let args = ["-d", "-q", "1", "-t", topic, "-m", "x"];
            let output = device.mosquitto_pub(version, &args).await;
            let (status, _) = ended(&output);
            let said = String::from_utf8_lossy(&output.stdout);
            let refused = !status.success() || said.contains("RC:135");
            assert!(refused, "{version} {topic}: {:?} {said}", ended(&output));
        }
    }
    server.assert_no_message();
}

#[tokio::test]
async fn mosquitto_receives_its_commands() {
    let server = Server::start().await;
    let device = server.device("d-1");
    for version in VERSIONS {
        let args = ["-q", "1", "-C", "1", "-t", &device.topic("command")];
        let listening = device.mosquitto_sub(version, &args);
        let command = server.command_when_it_listens("d-1", "poll");
        let (output, ()) = tokio::join!(listening, command);
        assert!(output.status.success(), "{:?}", ended(&output));
        assert_eq!(output.stdout, b"poll\n");
        gone(&server, "d-1").await;
    }
}

#[tokio::test]
async fn mosquitto_cannot_subscribe_to_anything_else() {
    let server = Server::start().await;
    let device = server.device("d-1");
    for version in VERSIONS {
        for filter in ["#", "waxwing/v1/+/command", "waxwing/v1/d-2/command"] {
            // Without a granted subscription it gives up by itself.
            let output = device.mosquitto_sub(version, &["-W", "15", "-t", filter]).await;
            let (_, errors) = ended(&output);
            assert!(errors.contains("denied"), "{version} {filter}: {errors}");
        }
    }
}

#[tokio::test]
async fn a_name_other_than_the_one_in_the_certificate_is_refused() {
    let mut server = Server::start().await;
    let device = server.device("d-1");
    let topic = device.topic("telemetry");
    for version in VERSIONS {
        let args = ["-i", "d-2", "-t", &topic, "-m", "x"];
        let output = device.mosquitto_pub(version, &args).await;
        assert!(!output.status.success(), "{version}");
    }
    // Nor does a user name make a difference.
    let args = ["-u", "d-2", "-P", "x", "-q", "1", "-t", &topic, "-m", "x"];
    assert!(device.mosquitto_pub("mqttv5", &args).await.status.success());
    assert_eq!(server.message().await.0, "d-1");
}

#[tokio::test]
async fn a_will_on_the_topic_of_another_device_is_refused() {
    let mut server = Server::start().await;
    let device = server.device("d-1");
    for version in VERSIONS {
        for topic in ["waxwing/v1/d-2/state", "waxwing/v1/d-1/command"] {
            let will =
                ["--will-topic", topic, "--will-payload", "x", "-t", "waxwing/v1/d-1/command"];
            let output = device.mosquitto_sub(version, &will).await;
            let (status, errors) = ended(&output);
            assert!(!status.success() && errors.contains("ot authori"), "{version}: {errors}");
        }
    }
    server.assert_no_message();
}

#[tokio::test]
async fn the_will_of_a_device_that_vanishes_is_taken() {
    let mut server = Server::start().await;
    let device = server.device("d-1");
    let mut connect = Connect::new(&device);
    connect.will = Some((device.topic("state"), "gone"));
    let line = device.connect(&connect.bytes()).await;
    drop(line);
    assert_eq!(server.message().await, ("d-1".to_owned(), Kind::State, "gone".to_owned()));
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_worth_nothing() {
    let mut server = Server::start().await;
    let stranger = server.stranger("d-1");
    let topic = stranger.topic("telemetry");
    for version in VERSIONS {
        let output = stranger.mosquitto_pub(version, &["-t", &topic, "-m", "x"]).await;
        assert!(!output.status.success());
    }
    server.assert_no_message();
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_waiting() {
    let mut server = Server::start().await;
    let (idle, device) = (server.device("d-0"), server.device("d-1"));
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(dial_tcp(server.address, Ipv4Addr::new(127, 0, 0, 2)).await);
    }
    let mut secured = Vec::new();
    for _ in 0..20 {
        secured.push(idle.dial_from(Ipv4Addr::new(127, 0, 0, 3)).await);
    }
    let args = ["-q", "1", "-t", &device.topic("telemetry"), "-m", "x"];
    let output = device.mosquitto_pub("mqttv5", &args).await;
    assert!(output.status.success(), "{:?}", ended(&output));
    assert_eq!(server.message().await.0, "d-1");
}

#[tokio::test]
async fn hostile_bytes_end_their_own_connection_only() {
    let mut server = Server::start().await;
    let (device, bystander) = (server.device("d-1"), server.device("d-2"));
    let mut steady = bystander.connect(&Connect::new(&bystander).bytes()).await;
    let connect = Connect::new(&device).bytes();
    let long_topic = publish(0, &"a".repeat(TEXT_BYTES_MAX), 0, "");
    for (first, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
        (vec![0; 5000], None),
        (vec![0x10, 0xff, 0xff, 0xff, 0x7f], None),
        (long_topic.clone(), None),
        ([connect.clone(), connect.clone()].concat(), Some(0x82)),
        ([connect.clone(), vec![0x30, 0xff, 0xff, 0xff, 0x7f]].concat(), Some(0x95)),
        ([connect.clone(), long_topic].concat(), Some(0x95)),
        ([connect.clone(), publish(0b001, &device.topic("telemetry"), 1, "")].concat(), Some(0x9a)),
        ([connect.clone(), vec![0xf0, 0]].concat(), Some(0x82)),
    ] {
        let mut line = device.dial().await;
        // The server may close before everything is sent.
        let _ = line.try_send(&first).await;
        let packets = line.rest().await;
        let disconnect = packets.last().filter(|(header, _)| *header == 0xe0);
        assert_eq!(disconnect.map(|(_, body)| body[0]), expected, "{:02x?}", &first[..5]);
    }
    steady.send(&[0xc0, 0]).await;
    assert_eq!(steady.packet().await, Some((0xd0, Vec::new())));
    server.assert_no_message();
}

#[tokio::test]
async fn a_panic_over_one_message_ends_one_connection() {
    let server = Server::start().await;
    let (device, bystander) = (server.device("d-1"), server.device("d-2"));
    let mut steady = bystander.connect(&Connect::new(&bystander).bytes()).await;
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    line.send(&publish(0b10, &device.topic("telemetry"), 1, "panic")).await;
    assert_eq!(line.rest().await, []);
    steady.send(&[0xc0, 0]).await;
    assert_eq!(steady.packet().await, Some((0xd0, Vec::new())));
    assert_eq!(server.hub().connected(), 1);
    device.connect(&Connect::new(&device).bytes()).await;
}

#[tokio::test]
async fn the_acknowledgement_waits_for_the_sink() {
    let mut server = Server::start_with(0).await;
    let device = server.device("d-1");
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    let message = publish(0b10, &device.topic("report"), 7, "x");
    line.send(&[message, vec![0xc0, 0]].concat()).await;
    // The answer to what came later is there, so the missing one is not on its way.
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())));
    server.assert_no_message();
    server.permit(1);
    assert_eq!(line.packet().await, Some((0x40, vec![0, 7])));
    assert_eq!(server.message().await.1, Kind::Report);
}

#[tokio::test]
async fn a_malformed_message_is_refused_with_its_reason() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    line.send(&publish(0b10, &device.topic("report"), 7, "malformed")).await;
    let (header, body) = line.packet().await.unwrap();
    assert_eq!((header, &body[..3]), (0x40, &[0, 7, 0x99][..]));
}

#[tokio::test]
async fn a_device_that_connects_again_takes_its_session_over() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut connect = Connect::new(&device);
    (connect.clean_start, connect.session_expiry_s) = (false, 60);
    let mut old = device.connect(&connect.bytes()).await;
    subscribe(&mut old, &device).await;
    assert_eq!(server.command("d-1", "poll").await, Delivery::Sent);
    let command = old.packet().await.unwrap();
    assert_eq!(command.0, 0x32);
    // Not acknowledged, so it belongs to the session that goes on.
    let mut new = device.dial().await;
    new.send(&connect.bytes()).await;
    assert_eq!(old.rest().await, [(0xe0, vec![0x8e])]);
    let (_, connack) = new.packet().await.unwrap();
    assert_eq!(connack[..2], [1, 0], "session present");
    assert_eq!(new.packet().await, Some((0x3a, command.1)), "sent again, and marked so");
    assert_eq!(server.hub().connected(), 1);
}

#[tokio::test]
async fn an_unacknowledged_command_comes_again_after_a_broken_connection() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut connect = Connect::new(&device);
    (connect.clean_start, connect.session_expiry_s) = (false, 60);
    let mut line = device.connect(&connect.bytes()).await;
    subscribe(&mut line, &device).await;
    assert_eq!(server.command("d-1", "one").await, Delivery::Sent);
    let first = line.packet().await.unwrap();
    drop(line);
    gone(&server, "d-1").await;
    assert_eq!(server.command("d-1", "two").await, Delivery::Kept);
    let mut line = device.dial().await;
    line.send(&connect.bytes()).await;
    assert_eq!(line.packet().await.unwrap().1[..2], [1, 0]);
    assert_eq!(line.packet().await, Some((0x3a, first.1)));
    line.send(&[0x40, 2, 0x80, 0]).await;
    let (header, second) = line.packet().await.unwrap();
    assert_eq!((header, &second[second.len() - 3..]), (0x32, &b"two"[..]));
}

#[tokio::test]
async fn a_device_that_takes_no_commands_is_let_go() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    subscribe(&mut line, &device).await;
    let mut sent = 0;
    while server.command("d-1", "poll").await == Delivery::Sent {
        sent += 1;
        assert!(sent < 100, "commands for a device that acknowledges none pile up");
        tokio::task::yield_now().await;
    }
    let packets = line.rest().await;
    assert_eq!(packets.last(), Some(&(0xe0, vec![0x97])));
}

#[tokio::test]
async fn revocation_ends_the_connection_and_admits_no_other() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    server.revoke("d-1");
    assert_eq!(line.rest().await, [(0xe0, vec![0x98])]);
    let mut line = device.dial().await;
    line.send(&Connect::new(&device).bytes()).await;
    let packets = line.rest().await;
    assert!(matches!(&packets[..], [(0x20, connack)] if connack[1] == 0x87), "{packets:02x?}");
}

#[tokio::test]
async fn the_end_of_the_server_is_announced() {
    let server = Server::start().await;
    let device = server.device("d-1");
    let mut line = device.connect(&Connect::new(&device).bytes()).await;
    let (rest, ()) = tokio::join!(line.rest(), server.stop());
    assert_eq!(rest, [(0xe0, vec![0x8b])]);
}

/// What a CONNECT of MQTT 5 says.
struct Connect {
    client_id: String,
    clean_start: bool,
    session_expiry_s: u32,
    will: Option<(String, &'static str)>,
}

impl Connect {
    fn new(device: &Device) -> Self {
        Self { client_id: device.id.clone(), clean_start: true, session_expiry_s: 0, will: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.clean_start) << 1 | u8::from(self.will.is_some()) << 2;
        let mut body = [&text("MQTT")[..], &[5, flags, 0, 60, 5, 0x11]].concat();
        body.extend(self.session_expiry_s.to_be_bytes());
        body.extend(text(&self.client_id));
        if let Some((topic, payload)) = &self.will {
            body.push(0);
            body.extend(text(topic));
            body.extend(text(payload));
        }
        packet(0x10, &body)
    }
}

async fn subscribe(line: &mut Line, device: &Device) {
    let body = [&[0, 1, 0], &text(&device.topic("command"))[..], &[1]].concat();
    line.send(&packet(0x82, &body)).await;
    let (header, body) = line.packet().await.unwrap();
    assert_eq!((header, body.last()), (0x90, Some(&1)));
}

/// Waits until the server knows that a device is gone.
async fn gone(server: &Server, device: &str) {
    let device = device.parse().unwrap();
    patient(async {
        while server.hub().is_connected(&device) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn publish(flags: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 0b110 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(0);
    body.extend(payload.as_bytes());
    packet(0x30 | flags, &body)
}

fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![header];
    let mut length = body.len();
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 0x80);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}
