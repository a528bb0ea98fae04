//! A repository written by hand: any field of any file may be set to anything, which the real author
//! would refuse. What is not said is right.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value as Json, json};
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::{
    Cause, Fetch, FetchError, Limits, MemoryStore, Refusal, Repository, Store, Time, json as scan,
};

/// Everything expires at the end of 2026 unless a test says otherwise.
pub(crate) const NOW: Time = Time::from_seconds(1_795_167_000);
pub(crate) const EXPIRES: &str = "2026-12-31T00:00:00Z";
pub(crate) const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// A key, made from a number.
pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) fn public(number: u8) -> PublicKey {
    PublicKey::ed25519(key(number).verifying_key().as_bytes()).unwrap()
}

pub(crate) fn key_id(number: u8) -> String {
    public(number).key_id()
}

pub(crate) fn key_json(number: u8) -> Json {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public(number).public_text()}})
}

/// `{"keys": ..., ...}` for a list of keys.
pub(crate) fn keys_json(numbers: &[u8]) -> Json {
    numbers
        .iter()
        .map(|number| (key_id(*number), key_json(*number)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(crate) fn role_json(threshold: u64, numbers: &[u8]) -> Json {
    let ids: Vec<String> = numbers.iter().map(|number| key_id(*number)).collect();
    json!({"keyids": ids, "threshold": threshold})
}

/// Signs anything with anything.
pub(crate) fn sign(signed: &Json, numbers: &[u8]) -> Vec<u8> {
    let text = signed.to_string();
    let mut message = Vec::new();
    let value = scan::Value::parse(text.as_bytes()).expect("the test wrote JSON");
    value.canonical(&mut |piece| message.extend_from_slice(piece));
    let signatures: Vec<Json> = numbers
        .iter()
        .map(|number| json!({"keyid": key_id(*number), "sig": hex(&key(*number).sign(&message).to_bytes())}))
        .collect();
    json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A file before it is signed.
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

/// A repository and what it serves. Keys: root 1, 2, 3 (two of them); timestamp 4; snapshot 5;
/// targets 6, 7 (both); delegated roles as their tests say.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) root: Draft,
    pub(crate) timestamp: Draft,
    pub(crate) snapshot: Draft,
    pub(crate) targets: Draft,
    pub(crate) roles: BTreeMap<String, Draft>,
    pub(crate) served: Server,
}

impl Author {
    pub(crate) fn new() -> Self {
        let draft = |kind: &str, keys: &[u8]| Draft {
            signed: json!({"_type": kind, "spec_version": "1.0.31", "version": 1, "expires": EXPIRES}),
            keys: keys.to_vec(),
        };
        let mut author = Self {
            root: draft("root", &[1, 2]),
            timestamp: draft("timestamp", &[4]),
            snapshot: draft("snapshot", &[5]),
            targets: draft("targets", &[6, 7]),
            roles: BTreeMap::new(),
            served: Server::default(),
        };
        author.root["consistent_snapshot"] = true.into();
        author.root["keys"] = keys_json(&[1, 2, 3, 4, 5, 6, 7]);
        author.root["roles"] = json!({
            "root": role_json(2, &[1, 2, 3]),
            "timestamp": role_json(1, &[4]),
            "snapshot": role_json(1, &[5]),
            "targets": role_json(2, &[6, 7]),
        });
        author.targets["targets"] = json!({});
        author.publish();
        author
    }

    /// Adds `"repo": name` to everything.
    pub(crate) fn named(name: &str) -> Self {
        let mut author = Self::new();
        for draft in
            [&mut author.root, &mut author.timestamp, &mut author.snapshot, &mut author.targets]
        {
            draft["repo"] = name.into();
        }
        author.publish();
        author
    }

    /// Delegates `paths` to a new role with one key, and lists nothing in it.
    pub(crate) fn delegate(
        &mut self,
        from: &str,
        role: &str,
        paths: &[&str],
        key: u8,
    ) -> &mut Draft {
        let mut draft = self.targets.clone();
        draft.signed["targets"] = json!({});
        draft.signed.as_object_mut().unwrap().remove("delegations");
        draft.keys = vec![key];
        self.roles.entry(role.into()).or_insert(draft);
        let parent =
            if from == "targets" { &mut self.targets } else { self.roles.get_mut(from).unwrap() };
        if parent["delegations"].is_null() {
            parent["delegations"] = json!({"keys": {}, "roles": []});
        }
        parent["delegations"]["keys"][key_id(key)] = key_json(key);
        let delegation = json!({
            "name": role, "paths": paths, "terminating": false, "keyids": [key_id(key)], "threshold": 1
        });
        parent["delegations"]["roles"].as_array_mut().unwrap().push(delegation);
        self.roles.get_mut(role).unwrap()
    }

    /// The entry of a target with this content.
    pub(crate) fn target(content: &[u8], custom: &Json) -> Json {
        use sha2::Digest;
        let hash = hex(&sha2::Sha256::digest(content));
        json!({"length": content.len(), "hashes": {"sha256": hash}, "custom": custom})
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
        let name = format!("{}.root.json", self.root.version());
        self.served.files.insert(name, self.root.bytes());
    }

    pub(crate) fn publish_targets(&mut self) {
        let mut meta = json!({"targets.json": {"version": self.targets.version()}});
        self.served
            .files
            .insert(format!("{}.targets.json", self.targets.version()), self.targets.bytes());
        for (role, draft) in &self.roles {
            meta[format!("{role}.json")] = json!({"version": draft.version()});
            self.served.files.insert(format!("{}.{role}.json", draft.version()), draft.bytes());
        }
        self.snapshot["meta"] = meta;
    }

    pub(crate) fn publish_snapshot(&mut self) {
        let bytes = self.snapshot.bytes();
        self.served.files.insert(format!("{}.snapshot.json", self.snapshot.version()), bytes);
        self.timestamp["meta"] = json!({"snapshot.json": {"version": self.snapshot.version()}});
    }

    pub(crate) fn publish_timestamp(&mut self) {
        self.served.files.insert("timestamp.json".into(), self.timestamp.bytes());
    }

    /// A client that knows version 1 of the root.
    pub(crate) fn client(&self) -> Repository<MemoryStore> {
        Repository::open(MemoryStore::new(), &self.served.files["1.root.json"], None, Limits::HOST)
            .unwrap()
    }

    /// Restarts a client.
    pub(crate) fn reopen(&self, client: Repository<MemoryStore>) -> Repository<MemoryStore> {
        Repository::open(client.into_store(), &self.served.files["1.root.json"], None, Limits::HOST)
            .unwrap()
    }
}

/// Serves files and remembers what it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) requests: Vec<String>,
}

impl Server {
    pub(crate) fn take_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.requests)
    }
}

impl Fetch for Server {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        self.requests.push(file_name.into());
        match self.files.get(file_name) {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            found => Ok(found.cloned()),
        }
    }
}

/// Checks that something was refused, what and why.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, subject: &str, cause: Cause) {
    assert_eq!(result.expect_err("must be refused"), cause.of(subject));
}

/// Publishes `author` once rightly, then once as `change` wants it.
#[track_caller]
pub(crate) fn refused_after(change: impl FnOnce(&mut Author), subject: &str, cause: Cause) {
    let mut author = Author::new();
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.release();
    change(&mut author);
    let before = client.store().clone();
    refused(client.refresh(&mut author.served, NOW), subject, cause);
    for (name, bytes) in before.files().filter(|(name, _)| *name == subject) {
        assert_eq!(client.store().load(name).unwrap().unwrap(), bytes, "{name} is as it was");
    }
}
