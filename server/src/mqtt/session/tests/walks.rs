//! Any order of packets against what must never happen.

use proptest::prelude::*;

use super::*;

/// Something that happens to a session in a random test.
#[derive(Clone, Debug)]
enum Step {
    Answer(Result<(), Refused>),
    Bytes(Vec<u8>),
    Command,
    Lost,
    Packet(Vec<u8>),
    Stop,
    Wait(u64),
}

fn step(version: Version) -> impl Strategy<Value = Step> {
    let topics = ["telemetry", "report", "state", "response", "command"];
    let topic =
        (prop::sample::select(vec!["d-1", "d-2", "+"]), prop::sample::select(topics.to_vec()))
            .prop_map(|(device, kind)| format!("waxwing/v1/{device}/{kind}"));
    let filter = topic.clone();
    let refused = prop::sample::select(vec![
        Ok(()),
        Err(Refused::Forbidden),
        Err(Refused::Malformed),
        Err(Refused::Unavailable),
    ]);
    prop_oneof![
        // The payload names the topic, so that the test can tell where a message came from.
        8 => (0..=0x0f_u8, topic, any::<u16>())
            .prop_map(move |(flags, t, id)| Step::Packet(publish(version, flags & 0b1110, &t, id, &t))),
        1 => (any::<u8>(), any::<u16>())
            .prop_map(move |(flags, id)| Step::Packet(publish(version, flags & 0xf, TELEMETRY, id, TELEMETRY))),
        2 => (filter, 0..4_u8, 1..u16::MAX)
            .prop_map(move |(f, qos, id)| Step::Packet(subscribe(version, id, &f, qos))),
        1 => Just(Step::Packet(unsubscribe(version, 1, COMMAND))),
        2 => (1..20_u16).prop_map(|id| Step::Packet(puback(id))),
        2 => (1..20_u16).prop_map(|id| Step::Packet(pubrel(id))),
        2 => Just(Step::Packet(PING.to_vec())),
        1 => Just(Step::Packet(DISCONNECT.to_vec())),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Bytes),
        8 => refused.prop_map(Step::Answer),
        4 => Just(Step::Command),
        1 => Just(Step::Lost),
        1 => Just(Step::Stop),
        2 => (0..50_u64).prop_map(Step::Wait),
    ]
}

fn steps() -> impl Strategy<Value = (Version, Vec<Step>)> {
    prop::sample::select(BOTH.to_vec())
        .prop_flat_map(|version| (Just(version), prop::collection::vec(step(version), 0..60)))
}

proptest! {
    #[test]
    fn no_sequence_of_packets_acts_outside_the_topics_of_the_device((version, steps) in steps()) {
        let mut device = Device::open(version);
        let (mut out, mut closed) = (0, false);
        for step in steps {
            let actions = match step {
                Step::Answer(answer) if out > 0 => {
                    out -= 1;
                    device.on(Event::Answered(answer))
                }
                Step::Answer(_) => continue,
                // The listener reads only what is wanted.
                Step::Bytes(_) | Step::Packet(_) if !device.session.wants_bytes() => continue,
                Step::Bytes(bytes) | Step::Packet(bytes) => device.receive(&bytes),
                Step::Command => device.command("c"),
                Step::Lost => device.on(Event::Lost),
                Step::Stop => device.on(Event::Stop(Reason::SessionTakenOver)),
                Step::Wait(seconds) => device.after(Duration::from_secs(seconds), Event::Tick),
            };
            prop_assert!(!closed || actions.is_empty(), "acts after its end: {actions:?}");
            for action in actions {
                prop_assert!(!closed, "acts after its end: {action:?}");
                match action {
                    Action::Attach(_) => prop_assert!(false, "attached twice"),
                    Action::Close { will } => {
                        prop_assert_eq!(will, None);
                        closed = true;
                    }
                    Action::Deliver(message) => {
                        prop_assert!(out <= RECEIVE_MAX, "too many messages at a time");
                        let topic = format!("waxwing/v1/d-1/{}", message.kind);
                        prop_assert_eq!(&message.payload, topic.as_bytes());
                        prop_assert_ne!(message.kind, Kind::Command);
                        out += 1;
                    }
                    Action::Listen(_) => {}
                    Action::Hear(_) => prop_assert!(false, "devices hear nobody"),
                    Action::Note(_) | Action::Taken(_) => prop_assert!(false, "nothing is kept"),
                    Action::Send(bytes) => prop_assert!(is_packet_of_a_server(&bytes), "{bytes:02x?}"),
                }
            }
        }
    }
}

fn is_packet_of_a_server(bytes: &[u8]) -> bool {
    matches!(bytes[0], 0x20 | 0x30 | 0x32 | 0x3a | 0x40 | 0x50 | 0x70 | 0x90 | 0xb0 | 0xd0 | 0xe0)
        && bytes.len() == 2 + usize::from(bytes[1])
}
