//! A repository written by hand: any field of any file may be set to anything, which the real
//! author would refuse. What is not said is right.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::{Ed25519Signer, Signer as _};
use waxwing_tuf::json::Value;
use waxwing_tuf::{Fetch, FetchError};

/// Everything expires then unless a test says otherwise.
pub(crate) const EXPIRES: &str = "2026-12-31T00:00:00Z";
/// Keys of the roots; two of the first three must sign.
pub(crate) const ROOT_KEYS: [u8; 2] = [1, 2];
/// Key of the timestamps; for the Director, its online key.
pub(crate) const TIMESTAMP_KEY: u8 = 4;
/// Key of the snapshots.
pub(crate) const SNAPSHOT_KEY: u8 = 5;
/// Keys of the top-level targets; both must sign.
pub(crate) const TARGETS_KEYS: [u8; 2] = [6, 7];
/// A key that nobody trusts, and the one with the highest number.
pub(crate) const STRANGER: u8 = 99;

static KEYS: LazyLock<Vec<Ed25519Signer>> = LazyLock::new(|| {
    (0..=STRANGER).map(|number| Ed25519Signer::from_seed(&[number; 32]).unwrap()).collect()
});

/// Returns the key made from a number.
pub(crate) fn key(number: u8) -> &'static Ed25519Signer {
    &KEYS[usize::from(number)]
}

pub(crate) fn key_id(number: u8) -> String {
    key(number).key_id().to_owned()
}

pub(crate) fn key_json(number: u8) -> Json {
    let public = key(number).public().public_text();
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

/// Returns `{"<key id>": <key>, ...}`.
pub(crate) fn keys_json(numbers: &[u8]) -> Json {
    let keys = numbers.iter().map(|number| (key_id(*number), key_json(*number)));
    keys.collect::<Map<_, _>>().into()
}

pub(crate) fn role_json(threshold: u64, numbers: &[u8]) -> Json {
    let ids: Vec<_> = numbers.iter().map(|number| key_id(*number)).collect();
    json!({"keyids": ids, "threshold": threshold})
}

/// Signs anything with anything.
pub(crate) fn sign(signed: &Json, numbers: &[u8]) -> Vec<u8> {
    let signatures = signatures(signed, numbers);
    json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
}

/// Returns the list of signatures that these keys make.
pub(crate) fn signatures(signed: &Json, numbers: &[u8]) -> Vec<Json> {
    let text = signed.to_string();
    let mut message = Vec::new();
    let value = Value::parse(text.as_bytes()).expect("tests write JSON");
    value.canonical(&mut |piece| message.extend_from_slice(piece));
    let signature = |number: &u8| {
        let key = key(*number);
        json!({"keyid": key.key_id(), "sig": hex(&key.sign(&message).unwrap())})
    };
    numbers.iter().map(signature).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

/// Returns the entry of a target with this content.
pub(crate) fn target(content: &[u8], custom: &Json) -> Json {
    let hashes = json!({"sha256": hex(&Sha256::digest(content))});
    json!({"length": content.len(), "hashes": hashes, "custom": custom})
}

/// A file before it is signed, and the keys that will sign it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) signed: Json,
    pub(crate) keys: Vec<u8>,
}

impl Draft {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        sign(&self.signed, &self.keys)
    }

    pub(crate) fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap()
    }

    pub(crate) fn bump(&mut self) {
        self.signed["version"] = (self.version() + 1).into();
    }
}

impl Deref for Draft {
    type Target = Json;

    fn deref(&self) -> &Json {
        &self.signed
    }
}

impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut Json {
        &mut self.signed
    }
}

/// A repository and what it serves.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) root: Draft,
    pub(crate) timestamp: Draft,
    pub(crate) snapshot: Draft,
    pub(crate) targets: Draft,
    pub(crate) roles: BTreeMap<String, Draft>,
    pub(crate) served: Served,
}

impl Author {
    /// A repository of this name that lists nothing.
    pub(crate) fn new(repo: &str) -> Self {
        let draft = |kind: &str, keys: &[u8]| Draft {
            signed: json!({
                "_type": kind, "expires": EXPIRES, "repo": repo, "spec_version": "1.0.34",
                "version": 1,
            }),
            keys: keys.to_vec(),
        };
        let mut author = Self {
            root: draft("root", &ROOT_KEYS),
            timestamp: draft("timestamp", &[TIMESTAMP_KEY]),
            snapshot: draft("snapshot", &[SNAPSHOT_KEY]),
            targets: draft("targets", &TARGETS_KEYS),
            roles: BTreeMap::new(),
            served: Served::default(),
        };
        author.root["consistent_snapshot"] = true.into();
        author.root["keys"] = keys_json(&[1, 2, 3, 4, 5, 6, 7]);
        author.root["roles"] = json!({
            "root": role_json(2, &[1, 2, 3]), "timestamp": role_json(1, &[TIMESTAMP_KEY]),
            "snapshot": role_json(1, &[SNAPSHOT_KEY]), "targets": role_json(2, &TARGETS_KEYS),
        });
        author.targets["targets"] = json!({});
        author
    }

    /// Delegates `paths` to a role with one key. A new role lists nothing.
    pub(crate) fn delegate(
        &mut self,
        from: &str,
        role: &str,
        paths: &[&str],
        key: u8,
    ) -> &mut Draft {
        let mut draft = self.targets.clone();
        draft["targets"] = json!({});
        draft.signed.as_object_mut().unwrap().remove("delegations");
        draft.keys = vec![key];
        self.roles.entry(role.to_owned()).or_insert(draft);
        let parent = self.role(from);
        if parent["delegations"].is_null() {
            parent["delegations"] = json!({"keys": {}, "roles": []});
        }
        parent["delegations"]["keys"][key_id(key)] = key_json(key);
        let delegation = json!({
            "name": role, "paths": paths, "terminating": false, "keyids": [key_id(key)],
            "threshold": 1,
        });
        parent["delegations"]["roles"].as_array_mut().unwrap().push(delegation);
        self.role(role)
    }

    /// Returns the draft of a role by its name.
    pub(crate) fn role(&mut self, name: &str) -> &mut Draft {
        match name {
            "root" => &mut self.root,
            "snapshot" => &mut self.snapshot,
            "targets" => &mut self.targets,
            "timestamp" => &mut self.timestamp,
            delegated => self.roles.get_mut(delegated).unwrap(),
        }
    }

    /// Signs and serves everything in the versions it has.
    pub(crate) fn publish(&mut self) {
        self.publish_root();
        self.publish_targets();
        self.publish_snapshot();
        self.publish_timestamp();
    }

    /// Raises the versions of everything but the root, and publishes.
    pub(crate) fn release(&mut self) {
        self.targets.bump();
        self.roles.values_mut().for_each(Draft::bump);
        self.snapshot.bump();
        self.timestamp.bump();
        self.publish();
    }

    pub(crate) fn publish_root(&mut self) {
        self.served.insert(format!("{}.root.json", self.root.version()), self.root.bytes());
    }

    pub(crate) fn publish_targets(&mut self) {
        let mut meta = json!({"targets.json": {"version": self.targets.version()}});
        let name = format!("{}.targets.json", self.targets.version());
        self.served.insert(name, self.targets.bytes());
        for (role, draft) in &self.roles {
            meta[format!("{role}.json")] = json!({"version": draft.version()});
            self.served.insert(format!("{}.{role}.json", draft.version()), draft.bytes());
        }
        self.snapshot["meta"] = meta;
    }

    pub(crate) fn publish_snapshot(&mut self) {
        let name = format!("{}.snapshot.json", self.snapshot.version());
        self.served.insert(name, self.snapshot.bytes());
        self.timestamp["meta"] = json!({"snapshot.json": {"version": self.snapshot.version()}});
    }

    pub(crate) fn publish_timestamp(&mut self) {
        self.served.insert("timestamp.json".into(), self.timestamp.bytes());
    }
}

/// The files that a repository serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(pub(crate) BTreeMap<String, Vec<u8>>);

impl Deref for Served {
    type Target = BTreeMap<String, Vec<u8>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Fetch for Served {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        match self.get(file_name) {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            found => Ok(found.cloned()),
        }
    }
}
