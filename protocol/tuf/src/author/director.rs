//! What the Director tells one device, signed for it on every poll.
//!
//! Each function is pure: the same arguments and key give the same bytes, on every replica of the
//! server and after every restart (D3; Ed25519 and our P-256 sign deterministically). Fields are
//! written straight into the buffer, no tree between: an idle poll costs one [`timestamp`].
//! Not here: which release a device should run, and where versions are remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Error;
use super::metadata::{Hashes, SPEC_VERSION};
use super::signer::Signer;
use super::target::{Match, ServerCaKind, ServerCaMatch};
use super::time::expiry;
use crate::hex;
use crate::time::Time;
use crate::uptane::{DIRECTOR, Deferrable, SERVER_CA_PATH};

/// Life of a Director timestamp: a device acts on it at once, so only clocks and slow links count.
pub const TIMESTAMP_LIFE: Duration = Duration::from_mins(10);

/// Life of a Director snapshot or targets file, counted from its version; longer than
/// [`WINDOW_MS`] by enough days to find and mend a Director that stopped signing.
pub const DECISION_LIFE: Duration = Duration::from_hours(7 * 24);

/// Every decision is signed anew once per window, so that it never expires (D3).
pub const WINDOW_MS: u64 = 3 * 24 * 3600 * 1000;

/// Returns the version of snapshot and targets for a decision: the time it was made, or the start
/// of the current window if that is later; all in Unix milliseconds (D3).
pub fn decision_version(decided_ms: u64, now_ms: u64) -> u64 {
    decided_ms.max(now_ms - now_ms % WINDOW_MS)
}

/// What a device should run.
#[derive(Clone, Copy, Debug)]
pub struct Assignment<'a> {
    /// Target path in the Image repository.
    pub path: &'a str,
    /// Length of the image in bytes.
    pub length: u64,
    /// Hash of the image.
    pub sha256: [u8; 32],
    /// The `match` object of the Image repository, field for field.
    pub r#match: &'a Match,
    /// The rollout this device takes part in.
    pub deploy: &'a str,
    /// Seconds for which the device must stay healthy before it says so.
    pub soak_s: u32,
    /// How far the device's user may put the restart off.
    pub deferrable: Deferrable,
    /// Hash of the list of the image's chunks, if there is one (D8).
    pub chunks: Option<[u8; 32]>,
}

/// The pins of the server's CA (D15), as the Image repository lists them at
/// [`SERVER_CA_PATH`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerCa {
    /// Length of the file in bytes.
    pub length: u64,
    /// Hash of the file.
    pub sha256: [u8; 32],
}

/// Signs the answer to one poll: `version` is `now_ms`, bound to the device and its nonce (D4).
///
/// # Errors
///
/// [`Error::Sign`] when the signer fails.
pub fn timestamp(
    signer: &dyn Signer,
    device: &str,
    nonce: &[u8; 16],
    now_ms: u64,
    snapshot_version: u64,
) -> Result<Vec<u8>, Error> {
    let now = Time::from_millis(now_ms);
    let part = Part {
        custom: Some(Custom { device, nonce: Some(hex::encode(nonce)), time: Some(now) }),
        expires: expiry(now, TIMESTAMP_LIFE),
        meta: Some(Meta { snapshot: Some(Listed { version: snapshot_version }), targets: None }),
        ..Part::new("timestamp", now_ms)
    };
    sign(signer, &part)
}

/// Signs the snapshot of a decision; `version` as [`decision_version`] gives it. It names no
/// device: all devices with decisions of the same millisecond may share its bytes.
///
/// # Errors
///
/// [`Error::Sign`] when the signer fails.
pub fn snapshot(signer: &dyn Signer, version: u64) -> Result<Vec<u8>, Error> {
    let part = Part {
        meta: Some(Meta { snapshot: None, targets: Some(Listed { version }) }),
        ..Part::new("snapshot", version)
    };
    sign(signer, &part)
}

/// Signs a decision: what this device should run, or that there is nothing for it, and by what it
/// knows its server, if the Image repository lists that; `version` as [`decision_version`] gives it.
///
/// # Errors
///
/// [`Error::Sign`] when the signer fails.
pub fn targets<'a>(
    signer: &dyn Signer,
    device: &'a str,
    assignment: Option<Assignment<'a>>,
    server_ca: Option<ServerCa>,
    version: u64,
) -> Result<Vec<u8>, Error> {
    let image = assignment.map(|image| (image.path, Target::image(device, image)));
    let server_ca = server_ca.map(|pins| (SERVER_CA_PATH, Target::server_ca(device, pins)));
    let part = Part {
        custom: Some(Custom { device, nonce: None, time: None }),
        targets: Some(image.into_iter().chain(server_ca).collect()),
        ..Part::new("targets", version)
    };
    sign(signer, &part)
}

/// Signs a command to a device (D7). `seq` rises with every command to that device; `expires`
/// is compared with attested time.
///
/// # Errors
///
/// [`Error::Sign`] when the signer fails.
pub fn command(
    signer: &dyn Signer,
    device: &str,
    seq: u64,
    expires: Time,
    command: &Map<String, Value>,
) -> Result<Vec<u8>, Error> {
    // Sorted here, whatever order the map keeps.
    let content = command.iter().collect();
    sign(signer, &Command { kind: "command", content, device, expires, repo: DIRECTOR, seq })
}

/// Wraps a part, whose fields are written in canonical order, into a signed envelope.
fn sign(signer: &dyn Signer, part: &impl Serialize) -> Result<Vec<u8>, Error> {
    let part = serde_json::to_vec(part).map_err(Error::Json)?;
    let signature = hex::encode(&signer.sign(&part)?);
    let head = [r#"{"signatures":[{"keyid":""#, signer.key_id(), r#"","sig":""#, &signature];
    let head = head.concat();
    Ok([head.as_bytes(), br#""}],"signed":"#, &part, b"}"].concat())
}

/// The signed part of timestamp, snapshot and targets: fields in canonical order.
#[derive(Serialize)]
struct Part<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Custom<'a>>,
    expires: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    repo: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<BTreeMap<&'a str, Target<'a>>>,
    version: u64,
}

impl Part<'_> {
    fn new(kind: &'static str, version: u64) -> Self {
        Self {
            kind,
            custom: None,
            expires: expiry(Time::from_millis(version), DECISION_LIFE),
            meta: None,
            repo: DIRECTOR,
            spec_version: SPEC_VERSION,
            targets: None,
            version,
        }
    }
}

#[derive(Serialize)]
struct Custom<'a> {
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "snapshot.json", skip_serializing_if = "Option::is_none")]
    snapshot: Option<Listed>,
    #[serde(rename = "targets.json", skip_serializing_if = "Option::is_none")]
    targets: Option<Listed>,
}

#[derive(Serialize)]
struct Listed {
    version: u64,
}

#[derive(Serialize)]
struct Target<'a> {
    custom: TargetCustom<'a>,
    hashes: Hashes,
    length: u64,
}

#[derive(Serialize)]
struct TargetCustom<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    defer: Option<Defer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy: Option<&'a str>,
    device: &'a str,
    r#match: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soak_s: Option<u32>,
}

#[derive(Serialize)]
struct Defer {
    times: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Attributes<'a> {
    Image(&'a Match),
    ServerCa(ServerCaMatch),
}

impl Defer {
    fn of(Deferrable { times, until }: Deferrable) -> Option<Self> {
        (times > 0).then_some(Self { times, until: (until < u64::MAX).then_some(until) })
    }
}

impl<'a> Target<'a> {
    fn image(device: &'a str, assignment: Assignment<'a>) -> Self {
        let Assignment { length, sha256, r#match, deploy, soak_s, .. } = assignment;
        let r#match = Attributes::Image(r#match);
        let custom = TargetCustom {
            chunks: assignment.chunks.map(|hash| hex::encode(&hash)),
            defer: Defer::of(assignment.deferrable),
            deploy: Some(deploy),
            device,
            r#match,
            soak_s: Some(soak_s),
        };
        Self { custom, hashes: Hashes { sha256 }, length }
    }

    fn server_ca(device: &'a str, ServerCa { length, sha256 }: ServerCa) -> Self {
        let r#match = Attributes::ServerCa(ServerCaMatch { kind: ServerCaKind::ServerCa });
        let custom =
            TargetCustom { chunks: None, defer: None, deploy: None, device, r#match, soak_s: None };
        Self { custom, hashes: Hashes { sha256 }, length }
    }
}

#[derive(Serialize)]
struct Command<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "command")]
    content: BTreeMap<&'a String, &'a Value>,
    device: &'a str,
    expires: Time,
    repo: &'static str,
    seq: u64,
}
