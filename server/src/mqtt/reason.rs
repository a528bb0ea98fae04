//! Reason codes: why the server refuses a packet or ends a connection.
//!
//! Only the codes that this server sends (MQTT 5, 2.4); 3.1.1 has a few of them in CONNACK and
//! none elsewhere.

/// Why a packet is refused or a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// The bytes are no packet.
    MalformedPacket,
    /// A packet that is not allowed here.
    ProtocolError,
    /// An option that this server does not offer, or a message whose time is not now.
    ImplementationSpecific,
    /// Neither 3.1.1 nor 5.
    UnsupportedProtocolVersion,
    /// The client id is not the device's.
    ClientIdentifierNotValid,
    /// A topic that is not the device's, or a device that is not let in.
    NotAuthorized,
    /// The server cannot take a message now.
    ServerBusy,
    /// The server stops.
    ServerShuttingDown,
    /// Text that is no topic filter.
    TopicFilterInvalid,
    /// Authentication other than by the certificate.
    BadAuthenticationMethod,
    /// Nothing came for one and a half times the keep-alive time.
    KeepAliveTimeout,
    /// The device connected again.
    SessionTakenOver,
    /// More unacknowledged messages than allowed.
    ReceiveMaximumExceeded,
    /// A topic alias, although none are offered.
    TopicAliasInvalid,
    /// A packet larger than allowed.
    PacketTooLarge,
    /// The device takes its commands too slowly, or sends too much.
    QuotaExceeded,
    /// An operator revoked the device.
    AdministrativeAction,
    /// The message is not what its topic is for.
    PayloadFormatInvalid,
    /// A retained message.
    RetainNotSupported,
    /// A subscription that several clients would share.
    SharedSubscriptionsNotSupported,
    /// The connection is as old as it may get.
    MaximumConnectTime,
    /// A subscription identifier.
    SubscriptionIdentifiersNotSupported,
}

impl Reason {
    /// Returns the code of MQTT 5, table 2-6.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::MalformedPacket => 0x81,
            Self::ProtocolError => 0x82,
            Self::ImplementationSpecific => 0x83,
            Self::UnsupportedProtocolVersion => 0x84,
            Self::ClientIdentifierNotValid => 0x85,
            Self::NotAuthorized => 0x87,
            Self::ServerBusy => 0x89,
            Self::ServerShuttingDown => 0x8b,
            Self::BadAuthenticationMethod => 0x8c,
            Self::KeepAliveTimeout => 0x8d,
            Self::SessionTakenOver => 0x8e,
            Self::TopicFilterInvalid => 0x8f,
            Self::ReceiveMaximumExceeded => 0x93,
            Self::TopicAliasInvalid => 0x94,
            Self::PacketTooLarge => 0x95,
            Self::QuotaExceeded => 0x97,
            Self::AdministrativeAction => 0x98,
            Self::PayloadFormatInvalid => 0x99,
            Self::RetainNotSupported => 0x9a,
            Self::SharedSubscriptionsNotSupported => 0x9e,
            Self::MaximumConnectTime => 0xa0,
            Self::SubscriptionIdentifiersNotSupported => 0xa1,
        }
    }

    /// Returns the word for metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedPacket => "malformed_packet",
            Self::ProtocolError => "protocol_error",
            Self::ImplementationSpecific => "implementation_specific",
            Self::UnsupportedProtocolVersion => "unsupported_protocol_version",
            Self::ClientIdentifierNotValid => "client_identifier_not_valid",
            Self::NotAuthorized => "not_authorized",
            Self::ServerBusy => "server_busy",
            Self::ServerShuttingDown => "server_shutting_down",
            Self::BadAuthenticationMethod => "bad_authentication_method",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::SessionTakenOver => "session_taken_over",
            Self::TopicFilterInvalid => "topic_filter_invalid",
            Self::ReceiveMaximumExceeded => "receive_maximum_exceeded",
            Self::TopicAliasInvalid => "topic_alias_invalid",
            Self::PacketTooLarge => "packet_too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::AdministrativeAction => "administrative_action",
            Self::PayloadFormatInvalid => "payload_format_invalid",
            Self::RetainNotSupported => "retain_not_supported",
            Self::SharedSubscriptionsNotSupported => "shared_subscriptions_not_supported",
            Self::MaximumConnectTime => "maximum_connect_time",
            Self::SubscriptionIdentifiersNotSupported => "subscription_identifiers_not_supported",
        }
    }
}
