//! The packets of MQTT 5. Not here: anything both versions share.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, Property, Qos, ReceiveMaximum, RetainAvailable,
    ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    SubscriptionIdentifierAvailable, WildcardSubscriptionAvailable, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, MqttError, PubackReasonCode, PubcompReasonCode,
    PubrecReasonCode, SubackReasonCode, UnsubackReasonCode,
};

use super::{
    Connect, Incoming, Outgoing, PACKET_BYTES_MAX, PacketId, Publish, RECEIVE_MAX, Welcome, Will,
    exact, header, packet_id, text,
};
use crate::mqtt::reason::Reason;

pub(super) fn connect(body: &[u8]) -> Result<Connect, Reason> {
    let packet = exact(body, v5_0::Connect::parse)?;
    let mut connect = Connect {
        version: super::Version::V5,
        client_id: text(packet.client_id())?,
        clean_start: packet.clean_start(),
        keep_alive_s: packet.keep_alive(),
        session_expiry_s: 0,
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
        will: will(&packet)?,
        authentication: false,
    };
    for property in packet.props() {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the other properties mean nothing here"
        )]
        match property {
            Property::AuthenticationData(_) | Property::AuthenticationMethod(_) => {
                connect.authentication = true;
            }
            Property::MaximumPacketSize(size) => connect.packet_bytes_max = size.val(),
            Property::ReceiveMaximum(max) => connect.receive_max = max.val(),
            Property::SessionExpiryInterval(expiry) => connect.session_expiry_s = expiry.val(),
            _ => {}
        }
    }
    Ok(connect)
}

fn will(packet: &v5_0::Connect) -> Result<Option<Will>, Reason> {
    let delay = packet.will_props().iter().find_map(|property| {
        if let Property::WillDelayInterval(delay) = property { Some(delay.val()) } else { None }
    });
    let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) else {
        return Ok(None);
    };
    Ok(Some(Will {
        topic: text(topic)?,
        payload: Bytes::copy_from_slice(payload),
        retain: packet.will_retain(),
        delay_s: delay.unwrap_or(0),
    }))
}

pub(super) fn decode(header: u8, body: &[u8]) -> Result<Incoming, Reason> {
    match header {
        header::PUBLISH..=header::PUBLISH_LAST => publish(header, body).map(Incoming::Publish),
        header::PUBACK => {
            let packet = exact(body, v5_0::Puback::parse)?;
            Ok(Incoming::PubAck(packet_id(packet.packet_id())?))
        }
        header::PUBREL => {
            let packet = exact(body, v5_0::Pubrel::parse)?;
            Ok(Incoming::PubRel(packet_id(packet.packet_id())?))
        }
        header::SUBSCRIBE => subscribe(body),
        header::UNSUBSCRIBE => {
            let packet = exact(body, v5_0::Unsubscribe::parse)?;
            let filters = packet.entries().iter().map(|filter| text(filter.as_str()));
            let filters = filters.collect::<Result<_, _>>()?;
            Ok(Incoming::Unsubscribe { id: packet_id(packet.packet_id())?, filters })
        }
        header::PINGREQ => exact(body, v5_0::Pingreq::parse).map(|_| Incoming::Ping),
        header::DISCONNECT => disconnect(body),
        _ => Err(Reason::ProtocolError),
    }
}

fn publish(header: u8, body: &[u8]) -> Result<Publish, Reason> {
    let packet = exact(body, |body| v5_0::Publish::parse(header & 0x0f, body.into()))?;
    for property in packet.props() {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the other properties mean nothing here"
        )]
        match property {
            // No aliases are offered, so every one is above the maximum (MQTT 5, 3.3.2.3.4).
            Property::TopicAlias(_) => return Err(Reason::TopicAliasInvalid),
            // Only for messages to a client (MQTT 5, 3.3.2.3.8).
            Property::SubscriptionIdentifier(_) => return Err(Reason::ProtocolError),
            _ => {}
        }
    }
    Ok(Publish {
        topic: text(packet.topic_name())?,
        payload: Bytes::copy_from_slice(packet.payload().as_slice()),
        qos: packet.qos(),
        retain: packet.retain(),
        id: packet.packet_id().map(packet_id).transpose()?,
    })
}

fn subscribe(body: &[u8]) -> Result<Incoming, Reason> {
    let packet = exact(body, v5_0::Subscribe::parse)?;
    if packet.props().iter().any(|p| matches!(p, Property::SubscriptionIdentifier(_))) {
        return Err(Reason::SubscriptionIdentifiersNotSupported);
    }
    let entries = packet.entries().iter();
    let filters = entries.map(|e| Ok((text(e.topic_filter())?, e.sub_opts().qos())));
    let filters = filters.collect::<Result<_, Reason>>()?;
    Ok(Incoming::Subscribe { id: packet_id(packet.packet_id())?, filters })
}

fn disconnect(body: &[u8]) -> Result<Incoming, Reason> {
    let packet = exact(body, v5_0::Disconnect::parse)?;
    let session_expiry_s = packet.props().iter().flatten().find_map(|property| {
        if let Property::SessionExpiryInterval(expiry) = property {
            Some(expiry.val())
        } else {
            None
        }
    });
    // MQTT 5, 3.1.2.5: only "normal disconnection" takes the will back.
    let reason = packet.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
    let with_will = reason != DisconnectReasonCode::NormalDisconnection;
    Ok(Incoming::Disconnect { with_will, session_expiry_s })
}

pub(super) fn encode(packet: &Outgoing<'_>) -> Result<Vec<u8>, MqttError> {
    match packet {
        Outgoing::Welcome(welcome) => {
            let props = welcome_properties(welcome)?;
            connack(ConnectReasonCode::Success, welcome.session_present, props)
        }
        Outgoing::Refuse(reason) => connack(code(*reason)?, false, Vec::new()),
        Outgoing::PubAck(id, reason) => {
            let builder = v5_0::Puback::builder().packet_id(id.get());
            let builder = match reason {
                Some(reason) => builder.reason_code(code::<PubackReasonCode>(*reason)?),
                None => builder,
            };
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::PubRec(id, reason) => {
            let builder = v5_0::Pubrec::builder().packet_id(id.get());
            let builder = match reason {
                Some(reason) => builder.reason_code(code::<PubrecReasonCode>(*reason)?),
                None => builder,
            };
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::PubComp(id, existed) => {
            let builder = v5_0::Pubcomp::builder().packet_id(id.get());
            let unknown = PubcompReasonCode::PacketIdentifierNotFound;
            let builder = if *existed { builder } else { builder.reason_code(unknown) };
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::SubAck(id, grants) => {
            let codes = grants.iter().copied().map(suback_code).collect::<Result<_, _>>()?;
            let builder = v5_0::Suback::builder().packet_id(id.get()).reason_codes(codes);
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::UnsubAck(id, existed) => {
            let codes = existed.iter().copied().map(unsuback_code).collect();
            let builder = v5_0::Unsuback::builder().packet_id(id.get()).reason_codes(codes);
            builder.build().map(|p| p.to_continuous_buffer())
        }
        Outgoing::Pong => Ok(v5_0::Pingresp::new().to_continuous_buffer()),
        Outgoing::Publish { topic, payload, id, again } => message(topic, payload, *id, *again),
        Outgoing::Disconnect(reason) => {
            let builder = v5_0::Disconnect::builder();
            let builder = builder.reason_code(code::<DisconnectReasonCode>(*reason)?);
            builder.build().map(|p| p.to_continuous_buffer())
        }
    }
}

fn connack(
    code: ConnectReasonCode,
    session_present: bool,
    props: Vec<Property>,
) -> Result<Vec<u8>, MqttError> {
    let builder = v5_0::Connack::builder().reason_code(code).session_present(session_present);
    builder.props(props).build().map(|p| p.to_continuous_buffer())
}

/// MQTT 5, 3.2.2.3: everything a broker may have and this endpoint does not.
fn welcome_properties(welcome: &Welcome<'_>) -> Result<Vec<Property>, MqttError> {
    let packet_bytes_max =
        u32::try_from(PACKET_BYTES_MAX).map_err(|_| MqttError::ValueOutOfRange)?;
    let mut props = vec![
        Property::ReceiveMaximum(ReceiveMaximum::new(RECEIVE_MAX)?),
        Property::RetainAvailable(RetainAvailable::new(0)?),
        Property::MaximumPacketSize(MaximumPacketSize::new(packet_bytes_max)?),
        Property::WildcardSubscriptionAvailable(WildcardSubscriptionAvailable::new(u8::from(
            welcome.wildcards,
        ))?),
        Property::SubscriptionIdentifierAvailable(SubscriptionIdentifierAvailable::new(0)?),
        Property::SharedSubscriptionAvailable(SharedSubscriptionAvailable::new(0)?),
    ];
    if let Some(id) = welcome.assigned_client_id {
        props.push(Property::AssignedClientIdentifier(AssignedClientIdentifier::new(id)?));
    }
    if let Some(seconds) = welcome.keep_alive_s {
        props.push(Property::ServerKeepAlive(ServerKeepAlive::new(seconds)?));
    }
    if let Some(seconds) = welcome.session_expiry_s {
        props.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(seconds)?));
    }
    Ok(props)
}

fn message(
    topic: &str,
    payload: &[u8],
    id: Option<PacketId>,
    again: bool,
) -> Result<Vec<u8>, MqttError> {
    let builder = v5_0::Publish::builder().topic_name(topic)?.payload(payload);
    let builder = match id {
        Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id.get()).dup(again),
        None => builder.qos(Qos::AtMostOnce),
    };
    builder.build().map(|p| p.to_continuous_buffer())
}

fn code<T: TryFrom<u8>>(reason: Reason) -> Result<T, MqttError> {
    T::try_from(reason.code()).map_err(|_| MqttError::ValueOutOfRange)
}

fn suback_code(grant: Result<Qos, Reason>) -> Result<SubackReasonCode, MqttError> {
    match grant {
        Ok(Qos::AtMostOnce) => Ok(SubackReasonCode::GrantedQos0),
        Ok(Qos::AtLeastOnce) => Ok(SubackReasonCode::GrantedQos1),
        Ok(Qos::ExactlyOnce) => Ok(SubackReasonCode::GrantedQos2),
        Err(reason) => code(reason),
    }
}

const fn unsuback_code(existed: bool) -> UnsubackReasonCode {
    if existed { UnsubackReasonCode::Success } else { UnsubackReasonCode::NoSubscriptionExisted }
}
