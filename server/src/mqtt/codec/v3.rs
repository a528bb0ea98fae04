//! The packets of MQTT 3.1.1. Not here: anything both versions share.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};

use super::{Connect, Incoming, Outgoing, PacketId, Publish, Will, exact, header, packet_id, text};
use crate::mqtt::reason::Reason;

pub(super) fn connect(body: &[u8]) -> Result<Connect, Reason> {
    let packet = exact(body, v3_1_1::Connect::parse)?;
    let clean_start = packet.clean_session();
    Ok(Connect {
        version: super::Version::V3,
        client_id: text(packet.client_id())?,
        clean_start,
        keep_alive_s: packet.keep_alive(),
        session_expiry_s: if clean_start { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
        will: will(&packet)?,
        authentication: false,
    })
}

fn will(packet: &v3_1_1::Connect) -> Result<Option<Will>, Reason> {
    let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) else {
        return Ok(None);
    };
    Ok(Some(Will {
        topic: text(topic)?,
        payload: Bytes::copy_from_slice(payload),
        retain: packet.will_retain(),
        delay_s: 0,
    }))
}

pub(super) fn decode(header: u8, body: &[u8]) -> Result<Incoming, Reason> {
    match header {
        header::PUBLISH..=header::PUBLISH_LAST => publish(header, body).map(Incoming::Publish),
        header::PUBACK => {
            let packet = exact(body, v3_1_1::Puback::parse)?;
            Ok(Incoming::PubAck(packet_id(packet.packet_id())?))
        }
        header::PUBREL => {
            let packet = exact(body, v3_1_1::Pubrel::parse)?;
            Ok(Incoming::PubRel(packet_id(packet.packet_id())?))
        }
        header::SUBSCRIBE => subscribe(body),
        header::UNSUBSCRIBE => {
            let packet = exact(body, v3_1_1::Unsubscribe::parse)?;
            let filters = packet.entries().iter().map(|filter| text(filter.as_str()));
            let filters = filters.collect::<Result<_, _>>()?;
            Ok(Incoming::Unsubscribe { id: packet_id(packet.packet_id())?, filters })
        }
        header::PINGREQ => exact(body, v3_1_1::Pingreq::parse).map(|_| Incoming::Ping),
        header::DISCONNECT => exact(body, v3_1_1::Disconnect::parse)
            .map(|_| Incoming::Disconnect { with_will: false, session_expiry_s: None }),
        _ => Err(Reason::ProtocolError),
    }
}

fn publish(header: u8, body: &[u8]) -> Result<Publish, Reason> {
    let packet = exact(body, |body| v3_1_1::Publish::parse(header & 0x0f, body.into()))?;
    Ok(Publish {
        topic: text(packet.topic_name())?,
        payload: Bytes::copy_from_slice(packet.payload().as_slice()),
        qos: packet.qos(),
        retain: packet.retain(),
        id: packet.packet_id().map(packet_id).transpose()?,
    })
}

fn subscribe(body: &[u8]) -> Result<Incoming, Reason> {
    let packet = exact(body, v3_1_1::Subscribe::parse)?;
    let entries = packet.entries().iter();
    let filters = entries.map(|e| Ok((text(e.topic_filter())?, e.sub_opts().qos())));
    let filters = filters.collect::<Result<_, Reason>>()?;
    Ok(Incoming::Subscribe { id: packet_id(packet.packet_id())?, filters })
}

pub(super) fn encode(packet: &Outgoing<'_>) -> Result<Vec<u8>, MqttError> {
    let bytes = match packet {
        Outgoing::Welcome(welcome) => connack(ConnectReturnCode::Accepted, welcome.session_present),
        Outgoing::Refuse(reason) => connack(return_code(*reason), false),
        Outgoing::PubAck(_, Some(_)) | Outgoing::PubRec(_, Some(_)) | Outgoing::Disconnect(_) => {
            Ok(Vec::new())
        }
        Outgoing::PubAck(id, None) => {
            let builder = v3_1_1::Puback::builder().packet_id(id.get());
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::PubRec(id, None) => {
            let builder = v3_1_1::Pubrec::builder().packet_id(id.get());
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::PubComp(id, _) => {
            let builder = v3_1_1::Pubcomp::builder().packet_id(id.get());
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::SubAck(id, grants) => {
            let codes = grants.iter().copied().map(suback_code).collect();
            let builder = v3_1_1::Suback::builder().packet_id(id.get()).return_codes(codes);
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::UnsubAck(id, _) => {
            let builder = v3_1_1::Unsuback::builder().packet_id(id.get());
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::Pong => Ok(v3_1_1::Pingresp::new().to_continuous_buffer()),
        Outgoing::Publish { topic, payload, id, again } => message(topic, payload, *id, *again),
    }?;
    Ok(bytes)
}

fn connack(code: ConnectReturnCode, session_present: bool) -> Result<Vec<u8>, MqttError> {
    let builder = v3_1_1::Connack::builder().return_code(code).session_present(session_present);
    builder.build().map(|p| p.to_continuous_buffer())
}

fn message(
    topic: &str,
    payload: &[u8],
    id: Option<PacketId>,
    again: bool,
) -> Result<Vec<u8>, MqttError> {
    let builder = v3_1_1::Publish::builder().topic_name(topic)?.payload(payload);
    let builder = match id {
        Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id.get()).dup(again),
        None => builder.qos(Qos::AtMostOnce),
    };
    builder.build().map(|p| p.to_continuous_buffer())
}

/// MQTT 3.1.1, table 3.1: it has five refusals, so most reasons are "not authorized".
fn return_code(reason: Reason) -> ConnectReturnCode {
    match reason {
        Reason::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
        Reason::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
        Reason::ServerBusy | Reason::ServerShuttingDown => ConnectReturnCode::ServerUnavailable,
        Reason::AdministrativeAction
        | Reason::BadAuthenticationMethod
        | Reason::ImplementationSpecific
        | Reason::KeepAliveTimeout
        | Reason::MalformedPacket
        | Reason::MaximumConnectTime
        | Reason::NotAuthorized
        | Reason::PacketTooLarge
        | Reason::PayloadFormatInvalid
        | Reason::ProtocolError
        | Reason::QuotaExceeded
        | Reason::ReceiveMaximumExceeded
        | Reason::RetainNotSupported
        | Reason::SessionTakenOver
        | Reason::SharedSubscriptionsNotSupported
        | Reason::SubscriptionIdentifiersNotSupported
        | Reason::TopicAliasInvalid
        | Reason::TopicFilterInvalid => ConnectReturnCode::NotAuthorized,
    }
}

fn suback_code(grant: Result<Qos, Reason>) -> SubackReturnCode {
    match grant {
        Ok(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
        Ok(Qos::AtLeastOnce) => SubackReturnCode::SuccessMaximumQos1,
        Ok(Qos::ExactlyOnce) => SubackReturnCode::SuccessMaximumQos2,
        Err(_) => SubackReturnCode::Failure,
    }
}
