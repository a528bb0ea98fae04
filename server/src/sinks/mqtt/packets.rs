//! The few packets of MQTT 5 that a client needs which only publishes.

use mqtt_protocol_core::mqtt::packet::{Property, Qos, UserProperty, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use waxwing_wire::envelope::ENVELOPE_BYTES_MAX;
use waxwing_wire::topic::Topic;
use zeroize::Zeroizing;

use crate::domain::sink::progress::Outcome;
use crate::sinks::Parcel;

/// Longest packet that is read: a broker has little to say to who subscribes to nothing.
pub(super) const PACKET_BYTES_MAX: usize = ENVELOPE_BYTES_MAX;

/// First bytes of packets.
const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;
const DISCONNECT: u8 = 0xe0;

/// Reason codes from which on a packet is refused (MQTT 5, 2.4).
const FAILURE: u8 = 0x80;

/// Reason codes of PUBACK that are about the message itself (MQTT 5, 3.4.2.1): topic name invalid, payload
/// format invalid, and about nothing that is known: unspecified, implementation specific.
const TOPIC_INVALID: u8 = 0x90;
const PAYLOAD_INVALID: u8 = 0x99;
const UNSPECIFIED: u8 = 0x80;
const SPECIFIC: u8 = 0x83;

/// Who we are to a broker.
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
}

/// What a broker lets us do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Welcome {
    /// Messages that may be unacknowledged.
    pub(super) receive_max: u16,
    packet_bytes_max: usize,
}

/// What a broker says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Incoming {
    Acknowledged { id: u16, outcome: Outcome },
    Other,
    Refused(String),
    Welcome(Welcome),
}

/// A message, but for the id of its packet.
pub(super) struct Publish {
    topic: String,
    payload: Vec<u8>,
    properties: Vec<(&'static str, String)>,
}

pub(super) fn connect(login: &Login) -> Option<Vec<u8>> {
    let build = || -> Result<Vec<u8>, MqttError> {
        // Without keep alive: a broker that is silent is found out with the next message.
        let packet = v5_0::Connect::builder().client_id(&login.client_id)?.clean_start(true);
        let packet = match &login.user {
            Some(user) => packet.user_name(user)?,
            None => packet,
        };
        let packet = match &login.password {
            Some(password) => packet.password(password.as_bytes().to_vec())?,
            None => packet,
        };
        Ok(packet.keep_alive(0).build()?.to_continuous_buffer())
    };
    build().ok()
}

pub(super) fn publish(prefix: &str, parcel: &Parcel<'_>) -> Publish {
    let message = &parcel.logged.message;
    let topic = Topic { device: message.device.clone(), kind: message.kind };
    let mut properties = vec![
        ("waxwing-position", parcel.position().to_string()),
        ("waxwing-received-at", message.received_at.to_string()),
        ("waxwing-signed-by", message.signed_by.clone()),
    ];
    properties.extend(parcel.product.as_ref().map(|it| ("waxwing-product", it.to_string())));
    properties.extend(parcel.again.then(|| ("waxwing-redelivered", "true".to_owned())));
    let payload = message.envelope.clone().into_bytes();
    Publish { topic: format!("{prefix}{topic}"), payload, properties }
}

impl Welcome {
    /// Writes a message as the packet of this id, unless the broker takes none so long.
    pub(super) fn fits(self, publish: &Publish, id: usize) -> Result<Vec<u8>, &'static str> {
        let bytes = u16::try_from(id).ok().and_then(|id| publish.encode(id).ok());
        let bytes = bytes.ok_or("no MQTT packet can hold it")?;
        if bytes.len() <= self.packet_bytes_max { Ok(bytes) } else { Err("packet_too_large") }
    }
}

impl Publish {
    fn encode(&self, id: u16) -> Result<Vec<u8>, MqttError> {
        let properties = self.properties.iter();
        let properties = properties
            .map(|(name, value)| Ok(Property::UserProperty(UserProperty::new(*name, value)?)));
        let packet = v5_0::Publish::builder()
            .topic_name(&self.topic)?
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .props(properties.collect::<Result<Vec<_>, MqttError>>()?)
            .payload(self.payload.clone());
        Ok(packet.build()?.to_continuous_buffer())
    }
}

/// Reads a packet, if it is one.
pub(super) fn decode(header: u8, body: &[u8]) -> Option<Incoming> {
    match header {
        CONNACK => connack(body),
        PUBACK => {
            let (packet, _) = v5_0::Puback::parse(body).ok()?;
            // MQTT 5, 3.4.2.1: without a reason code it is success.
            let code = body.get(2).copied().unwrap_or_default();
            Some(Incoming::Acknowledged { id: packet.packet_id(), outcome: outcome(code) })
        }
        DISCONNECT => {
            let code = body.first().copied().unwrap_or_default();
            Some(Incoming::Refused(format!("disconnected_{code:#04x}")))
        }
        _ => Some(Incoming::Other),
    }
}

fn connack(body: &[u8]) -> Option<Incoming> {
    let (packet, _) = v5_0::Connack::parse(body).ok()?;
    let code = body.get(1).copied()?;
    if code >= FAILURE {
        return Some(Incoming::Refused(format!("connect_{code:#04x}")));
    }
    let mut welcome = Welcome { receive_max: u16::MAX, packet_bytes_max: usize::MAX };
    for property in packet.props() {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the other properties mean nothing to who only publishes"
        )]
        match property {
            Property::MaximumPacketSize(size) => {
                welcome.packet_bytes_max = usize::try_from(size.val()).unwrap_or(usize::MAX);
            }
            Property::MaximumQos(qos) if qos.val() == 0 => {
                return Some(Incoming::Refused("the broker takes no QoS 1".to_owned()));
            }
            Property::ReceiveMaximum(max) => welcome.receive_max = max.val().max(1),
            _ => {}
        }
    }
    Some(Incoming::Welcome(welcome))
}

fn outcome(code: u8) -> Outcome {
    let reason = format!("puback_{code:#04x}");
    match code {
        PAYLOAD_INVALID | TOPIC_INVALID => Outcome::Refused(reason),
        SPECIFIC | UNSPECIFIED => Outcome::Failed(reason),
        ..FAILURE => Outcome::Taken,
        // We may not publish, or not so much: that is not about this message.
        FAILURE.. => Outcome::Unreachable { reason, retry_after_ms: None },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_broker_says_of_a_message_is_about_the_message_or_about_us() {
        let of = |code: u8| match decode(PUBACK, &[0, 7, code]) {
            Some(Incoming::Acknowledged { id: 7, outcome }) => outcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(0), Outcome::Taken);
        assert_eq!(of(0x10), Outcome::Taken, "nobody listens, which is not our business");
        assert!(matches!(of(0x99), Outcome::Refused(_)) && matches!(of(0x80), Outcome::Failed(_)));
        assert!(matches!(of(0x87), Outcome::Unreachable { .. }), "not authorized");
        assert_eq!(
            decode(PUBACK, &[0, 7]).unwrap(),
            Incoming::Acknowledged { id: 7, outcome: Outcome::Taken }
        );
    }

    #[test]
    fn what_a_broker_lets_us_do_is_kept() {
        // Session not present, success, receive maximum 3, maximum packet size 20.
        let welcome = decode(CONNACK, &[0, 0, 8, 0x21, 0, 3, 0x27, 0, 0, 0, 20]).unwrap();
        let Incoming::Welcome(welcome) = welcome else { panic!("{welcome:?}") };
        assert_eq!((welcome.receive_max, welcome.packet_bytes_max), (3, 20));
        let long = Publish { topic: "t".into(), payload: vec![0; 20], properties: Vec::new() };
        assert_eq!(welcome.fits(&long, 1), Err("packet_too_large"));
        for refused in [&[0, 0x87, 0][..], &[0, 0, 2, 0x24, 0]] {
            assert!(matches!(decode(CONNACK, refused), Some(Incoming::Refused(_))), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_broker_says_is_read_or_refused(
            header in prop_oneof![Just(CONNACK), Just(PUBACK), Just(DISCONNECT), any::<u8>()],
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = decode(header, &body);
        }
    }
}
