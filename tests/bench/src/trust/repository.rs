//! The two repositories of one product as its metadata would be in the field: Ed25519, roots and
//! targets signed by two of three people, one channel that lists a number of releases.
//!
//! Written as plain JSON, so that what is measured does not depend on how we write it. Not here: a
//! server.

use serde_json::{Map, Value, json};
use waxwing_tuf::Time;
use waxwing_tuf::author::{Ed25519Signer, SPEC_VERSION, SignedFile, Signer};

/// The product whose devices are measured.
pub(crate) const PRODUCT: &str = "acme-th1";
/// The device for which a Director signs here; `device/src/scenario.rs` knows it too.
pub(crate) const DEVICE: &str = "th1-000001";
/// The channel that lists the releases.
const CHANNEL: &str = "stable";
/// Life of every file that is not bound to a poll.
const LIFE_MS: u64 = 90 * 24 * 3600 * 1000;

/// Somebody's key, made from a number so that every run signs the same bytes.
fn signer(number: u8) -> anyhow::Result<Ed25519Signer> {
    Ok(Ed25519Signer::from_seed(&[number; 32])?)
}

/// Signs a part with all of these keys.
fn sign(part: &Value, signers: &[&Ed25519Signer]) -> anyhow::Result<Vec<u8>> {
    let unsigned = json!({ "signatures": [], "signed": part });
    let mut file = SignedFile::parse(&serde_json::to_vec(&unsigned)?)?;
    for signer in signers {
        file.sign(*signer)?;
    }
    Ok(file.to_bytes()?)
}

fn keys<'k>(signers: impl IntoIterator<Item = &'k Ed25519Signer>) -> Value {
    let key = |signer: &Ed25519Signer| {
        let public = signer.public();
        let key = json!({
            "keytype": public.key_type(),
            "keyval": { "public": public.public_text() },
            "scheme": public.scheme(),
        });
        (signer.key_id().to_owned(), key)
    };
    Value::Object(signers.into_iter().map(key).collect())
}

fn role(signers: &[Ed25519Signer], threshold: u32) -> Value {
    let ids: Vec<&str> = signers.iter().map(Signer::key_id).collect();
    json!({ "keyids": ids, "threshold": threshold })
}

/// What every signed part begins with.
fn part(kind: &str, repo: &str, version: u64, expires_ms: u64) -> Map<String, Value> {
    Map::from_iter([
        ("_type".to_owned(), kind.into()),
        ("expires".to_owned(), Time::from_millis(expires_ms).to_string().into()),
        ("repo".to_owned(), repo.into()),
        ("spec_version".to_owned(), SPEC_VERSION.into()),
        ("version".to_owned(), version.into()),
    ])
}

fn with(mut part: Map<String, Value>, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        part.extend(fields);
    }
    Value::Object(part)
}

/// A release and where it lies.
pub(crate) struct Release {
    pub(crate) path: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) length: u64,
    pub(crate) attributes: Value,
}

impl Release {
    /// Makes up the release with this number.
    pub(crate) fn new(number: usize) -> Self {
        let version = format!("1.{number}.0");
        Self {
            path: format!("{PRODUCT}/{CHANNEL}/{version}/esp32c3.bin"),
            sha256: [u8::try_from(number % 251).unwrap_or(0); 32],
            length: 1_000_000,
            attributes: json!({
                "chip": "esp32c3", "hw": ["r2"], "kind": "app", "secure_version": 0,
                "security_version": 1, "version": version,
            }),
        }
    }

    fn target(&self, custom: &Value) -> Value {
        let sha256: String =
            self.sha256.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        json!({ "custom": custom, "hashes": { "sha256": sha256 }, "length": self.length })
    }
}

/// The Image repository of the product.
pub(crate) struct Image {
    root: Vec<Ed25519Signer>,
    targets: Vec<Ed25519Signer>,
    channel: Vec<Ed25519Signer>,
    channel_threshold: usize,
    snapshot: Ed25519Signer,
    timestamp: Ed25519Signer,
}

impl Image {
    /// Makes the keys. So many people sign for the channel.
    pub(crate) fn new(channel_threshold: usize) -> anyhow::Result<Self> {
        let three = |first: u8| (first..first + 3).map(signer).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            root: three(1)?,
            targets: three(4)?,
            channel: three(7)?,
            channel_threshold,
            snapshot: signer(10)?,
            timestamp: signer(11)?,
        })
    }

    /// The repository's first root.
    pub(crate) fn root(&self, now_ms: u64) -> anyhow::Result<Vec<u8>> {
        let one = [&self.snapshot, &self.timestamp];
        let roles = json!({
            "root": role(&self.root, 2),
            "snapshot": role(std::slice::from_ref(&self.snapshot), 1),
            "targets": role(&self.targets, 2),
            "timestamp": role(std::slice::from_ref(&self.timestamp), 1),
        });
        let keys = keys(self.root.iter().chain(&self.targets).chain(one));
        let fields = json!({ "consistent_snapshot": true, "keys": keys, "roles": roles });
        sign(&with(image_part("root", 1, now_ms), fields), &two(&self.root))
    }

    /// The files of one publication besides the root, in the order in which a device needs them.
    pub(crate) fn files(
        &self,
        version: u64,
        releases: &[Release],
        now_ms: u64,
    ) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let channel = format!("{PRODUCT}-{CHANNEL}");
        let meta = json!({ "meta": { "snapshot.json": { "version": version } } });
        let timestamp = with(image_part("timestamp", version, now_ms), meta);
        let meta = json!({ "meta": {
            "targets.json": { "version": 1 }, format!("{channel}.json"): { "version": version },
        } });
        let snapshot = with(image_part("snapshot", version, now_ms), meta);
        let delegation = json!({
            "keyids": self.channel.iter().map(Signer::key_id).collect::<Vec<_>>(), "name": channel, "terminating": true,
            "paths": [format!("{PRODUCT}/{CHANNEL}/*/*")], "threshold": self.channel_threshold,
        });
        let delegations = json!({ "keys": keys(&self.channel), "roles": [delegation] });
        let targets = json!({ "delegations": delegations, "targets": {} });
        let targets = with(image_part("targets", 1, now_ms), targets);
        let listed: Map<String, Value> = releases
            .iter()
            .map(|it| (it.path.clone(), it.target(&json!({ "match": it.attributes }))))
            .collect();
        let role = with(image_part("targets", version, now_ms), json!({ "targets": listed }));
        let signers: Vec<_> = self.channel.iter().take(self.channel_threshold).collect();
        Ok(vec![
            ("timestamp.json".to_owned(), sign(&timestamp, &[&self.timestamp])?),
            (format!("{version}.snapshot.json"), sign(&snapshot, &[&self.snapshot])?),
            ("1.targets.json".to_owned(), sign(&targets, &two(&self.targets))?),
            (format!("{version}.{channel}.json"), sign(&role, &signers)?),
        ])
    }
}

fn image_part(kind: &str, version: u64, now_ms: u64) -> Map<String, Value> {
    part(kind, &format!("image/{PRODUCT}"), version, now_ms + LIFE_MS)
}

fn two(signers: &[Ed25519Signer]) -> Vec<&Ed25519Signer> {
    signers.iter().take(2).collect()
}

/// The Director of the fleet.
pub(crate) struct Director {
    root: Vec<Ed25519Signer>,
    online: Vec<Ed25519Signer>,
}

impl Director {
    /// Makes the keys: three people's, the online one, and the one that stands by.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let root = (21..24).map(signer).collect::<Result<_, _>>()?;
        Ok(Self { root, online: vec![signer(24)?, signer(25)?] })
    }

    /// The Director's first root.
    pub(crate) fn root(&self, now_ms: u64) -> anyhow::Result<Vec<u8>> {
        let online = role(&self.online, 1);
        let roles = json!({
            "root": role(&self.root, 2), "snapshot": online, "targets": online,
            "timestamp": online,
        });
        let keys = keys(self.root.iter().chain(&self.online));
        let fields = json!({ "consistent_snapshot": true, "keys": keys, "roles": roles });
        let part = part("root", "director", 1, now_ms + LIFE_MS);
        sign(&with(part, fields), &two(&self.root))
    }

    /// The answer to a poll: the decision of `decided_ms`, signed for a nonce.
    pub(crate) fn files(
        &self,
        nonce: u8,
        release: &Release,
        decided_ms: u64,
        now_ms: u64,
    ) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let online: Vec<_> = self.online.iter().take(1).collect();
        let nonce = format!("{nonce:02x}").repeat(16);
        let time = Time::from_millis(now_ms).to_string();
        let timestamp = json!({
            "custom": { "device": DEVICE, "nonce": nonce, "time": time },
            "meta": { "snapshot.json": { "version": decided_ms } },
        });
        let part = |kind, version| part(kind, "director", version, now_ms + LIFE_MS);
        let timestamp = with(part("timestamp", now_ms), timestamp);
        let snapshot = json!({ "meta": { "targets.json": { "version": decided_ms } } });
        let snapshot = with(part("snapshot", decided_ms), snapshot);
        let custom = json!({
            "deploy": "r-2026-11-20", "device": DEVICE, "match": release.attributes, "soak_s": 600,
        });
        let targets = json!({
            "custom": { "device": DEVICE },
            "targets": { release.path.clone(): release.target(&custom) },
        });
        let targets = with(part("targets", decided_ms), targets);
        Ok(vec![
            ("timestamp.json".to_owned(), sign(&timestamp, &online)?),
            (format!("{decided_ms}.snapshot.json"), sign(&snapshot, &online)?),
            (format!("{decided_ms}.targets.json"), sign(&targets, &online)?),
        ])
    }
}
