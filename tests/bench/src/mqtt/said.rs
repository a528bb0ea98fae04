//! What devices say: messages that pass all five checks, made before anything is timed.
//!
//! Not here: how they are sent.

use anyhow::Context as _;
use hmac::{Hmac, Mac as _};
use rcgen::SigningKey as _;
use sha2::Sha256;
use waxwing_wire::envelope::{Envelope, Header};
use waxwing_wire::existing;
use waxwing_wire::topic::{Kind, Topic};
use waxwing_wire::{DeviceId, MessageId};

use super::line;
use crate::fleet::Poller;

/// What a sensor reads.
const PAYLOAD: &str = r#"{"celsius":21.5,"humidity":65,"battery":{"volts":3.1},"door":"open"}"#;

/// How a device signs.
#[derive(Clone, Debug)]
pub(super) enum Signing {
    /// HMAC-SHA256 with a secret.
    Hs256(String),
    /// ECDSA over P-256 with the key of its certificate.
    Es256,
}

/// Returns the packets of so many messages of a device, sent now, with ids that begin with a number.
pub(super) fn packets(
    device: &DeviceId,
    poller: &Poller,
    signing: &Signing,
    (first, count): (u64, u16),
    now_ms: u64,
) -> anyhow::Result<Vec<u8>> {
    let topic = Topic { device: device.clone(), kind: Kind::Telemetry }.to_string();
    let mut packets = Vec::new();
    for id in 1..=count {
        let message_id = MessageId::parse(&format!("m-{}", first + u64::from(id)))?;
        let header = Header { device_id: device.clone(), timestamp: now_ms / 1000, message_id };
        let sealed = match signing {
            Signing::Hs256(secret) => seal_with_secret(&header, secret)?,
            Signing::Es256 => seal_with_key(&header, poller)?,
        };
        packets.extend(line::publish(&topic, id, &sealed)?);
    }
    Ok(packets)
}

fn seal_with_key(header: &Header, poller: &Poller) -> anyhow::Result<String> {
    let signed = header.signed_prefix(Kind::Telemetry) + PAYLOAD;
    Ok(header.seal(PAYLOAD, &hex(&poller.key.sign(signed.as_bytes())?)))
}

fn seal_with_secret(header: &Header, secret: &str) -> anyhow::Result<String> {
    let unsigned = header.seal(PAYLOAD, "00");
    let envelope = Envelope::parse(unsigned.as_bytes()).ok().context("an envelope of ours")?;
    let text = existing::signed_text(&envelope).ok().context("a payload of ours")?;
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?.chain_update(text);
    Ok(header.seal(PAYLOAD, &hex(&mac.finalize().into_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
