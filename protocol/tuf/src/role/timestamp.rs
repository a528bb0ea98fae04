//! `timestamp.json` (spec 4.6): which snapshot is the newest.

use alloc::string::String;

use crate::hex;
use crate::json::Value;
use crate::refusal::Cause;
use crate::role::{FileMeta, Header, Role, name};
use crate::time::Time;

/// The newest snapshot and, from a Director, for whom and when this was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timestamp {
    /// Version and expiry.
    pub header: Header,
    /// What it says about `snapshot.json`.
    pub snapshot: FileMeta,
    /// What a Director adds.
    pub attestation: Option<Attestation>,
}

/// A Director's answer to one poll: `custom` of its timestamp.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attestation {
    /// The device that asked.
    pub device: String,
    /// The number that it made up for this poll.
    pub nonce: [u8; 16],
    /// The Director's time.
    pub time: Time,
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn decode(header: Header, signed: Value<'_>) -> Result<Self, Cause> {
        let meta = signed.field("meta").ok_or(Cause::BadField("meta"))?;
        let snapshot = meta.field("snapshot.json").ok_or(Cause::BadField("meta"))?;
        Ok(Self {
            header,
            snapshot: FileMeta::decode(snapshot)?,
            attestation: signed.field("custom").and_then(Attestation::decode),
        })
    }
}

impl Attestation {
    /// `custom` is free for anyone to use, so anything else in it is simply no attestation.
    fn decode(custom: Value<'_>) -> Option<Self> {
        Some(Self {
            device: name(custom.field("device")?)?,
            nonce: hex::decode(custom.field("nonce")?.as_plain()?)?,
            time: Time::parse(custom.field("time")?.as_plain()?)?,
        })
    }
}
