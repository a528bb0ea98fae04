//! A repository with keys of any kind, RSA too, which our own author does not write.

use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::pss::SigningKey;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use waxwing_tuf::author::{Ed25519Signer, P256Signer, Signer};

/// A key that signs.
pub(crate) enum Key {
    Ours(Box<dyn Signer>),
    Rsa(Box<SigningKey<Sha256>>, String),
}

impl Key {
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ours(Box::new(Ed25519Signer::from_seed(&[seed; 32]).unwrap()))
    }

    pub(crate) fn p256(seed: u8) -> Self {
        Self::Ours(Box::new(P256Signer::from_seed(&[seed; 32]).unwrap()))
    }

    pub(crate) fn rsa() -> Self {
        let key = rsa::RsaPrivateKey::new(&mut OsRng, 2_048).unwrap();
        let public = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        Self::Rsa(Box::new(SigningKey::new(key)), public)
    }

    fn json(&self) -> Value {
        let (kind, scheme, public) = match self {
            Self::Ours(signer) => {
                let public = signer.public();
                (public.key_type(), public.scheme(), public.public_text())
            }
            Self::Rsa(_, public) => ("rsa", "rsassa-pss-sha256", public.clone()),
        };
        json!({"keytype": kind, "scheme": scheme, "keyval": {"public": public}})
    }

    fn id(&self) -> String {
        hex::<Sha256>(self.json().to_string().as_bytes())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ours(signer) => signer.sign(message).unwrap(),
            Self::Rsa(key, _) => key.sign_with_rng(&mut OsRng, message).to_vec(),
        }
    }
}

/// The hash of some bytes, in hex.
pub(crate) fn hex<H: Digest>(bytes: &[u8]) -> String {
    encode(&H::digest(bytes))
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The entry of a target with these hashes.
pub(crate) fn target(content: &[u8], hashes: &[&str]) -> Value {
    let hash = |name: &&str| match *name {
        "sha256" => hex::<Sha256>(content),
        _ => hex::<Sha512>(content),
    };
    let hashes: serde_json::Map<_, _> =
        hashes.iter().map(|name| ((*name).to_owned(), hash(name).into())).collect();
    json!({"length": content.len(), "hashes": hashes})
}

/// One key for everything, and more for the root if a test wants.
pub(crate) struct Repository {
    key: Key,
    pub(crate) root: Value,
    pub(crate) root_keys: Vec<Key>,
    roots: Vec<(u64, Vec<u8>)>,
    pub(crate) targets: Value,
    /// Name, name as it is encoded in URLs, and content of a delegated role.
    role: Option<(String, String, Value)>,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let key = Key::ed25519(1);
        let role = json!({"keyids": [key.id()], "threshold": 1});
        let mut root = part("root");
        root["consistent_snapshot"] = true.into();
        root["keys"] = json!({key.id(): key.json()});
        root["roles"] = json!({"root": role, "timestamp": role, "snapshot": role, "targets": role});
        let mut targets = part("targets");
        targets["targets"] = json!({});
        let root_keys = vec![Key::ed25519(1)];
        Self { key, root, root_keys, roots: Vec::new(), targets, role: None }
    }

    /// Raises the version of everything but the root.
    pub(crate) fn release(&mut self) {
        self.targets["version"] = (self.targets["version"].as_u64().unwrap() + 1).into();
    }

    /// Lets a new role list everything; it lists nothing.
    pub(crate) fn delegate(&mut self, role: &str, encoded: &str) {
        let mut content = part("targets");
        content["targets"] = json!({});
        let delegation = json!({
            "name": role, "paths": ["*"], "terminating": false,
            "keyids": [self.key.id()], "threshold": 1
        });
        let keys = json!({self.key.id(): self.key.json()});
        self.targets["delegations"] = json!({"keys": keys, "roles": [delegation]});
        self.role = Some((role.to_owned(), encoded.to_owned(), content));
    }

    /// Publishes a root that this key must sign too.
    pub(crate) fn add_root_key(&mut self, key: Key) {
        self.next_root();
        self.root["keys"][key.id()] = key.json();
        let ids: Vec<_> = [self.key.id(), key.id()].into();
        self.root["roles"]["root"] = json!({"keyids": ids, "threshold": 2});
        self.root_keys.push(key);
    }

    pub(crate) fn next_root(&mut self) {
        let version = self.root["version"].as_u64().unwrap();
        self.roots.push((version, self.root_file()));
        self.root["version"] = (version + 1).into();
    }

    pub(crate) fn root_file(&self) -> Vec<u8> {
        sign(&self.root, &self.root_keys)
    }

    /// All files, under the paths of their URLs.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let signed = |part: &Value| sign(part, std::slice::from_ref(&self.key));
        let version = self.targets["version"].as_u64().unwrap();
        let (mut snapshot, mut timestamp) = (part("snapshot"), part("timestamp"));
        snapshot["meta"] = json!({"targets.json": {"version": version}});
        snapshot["version"] = version.into();
        timestamp["meta"] = json!({"snapshot.json": {"version": version}});
        timestamp["version"] = version.into();
        let mut files = vec![
            (format!("{version}.targets.json"), signed(&self.targets)),
            ("timestamp.json".to_owned(), signed(&timestamp)),
        ];
        if let Some((role, encoded, content)) = &self.role {
            snapshot["meta"][format!("{role}.json")] = json!({"version": 1});
            files.push((format!("1.{encoded}.json"), signed(content)));
        }
        files.push((format!("{version}.snapshot.json"), signed(&snapshot)));
        if let Some(version) = self.root["version"].as_u64() {
            files.push((format!("{version}.root.json"), self.root_file()));
        }
        let old =
            self.roots.iter().map(|(version, root)| (format!("{version}.root.json"), root.clone()));
        files.extend(old);
        files
    }
}

fn part(kind: &str) -> Value {
    json!({"_type": kind, "spec_version": "1.0.34", "version": 1, "expires": "2099-01-01T00:00:00Z"})
}

fn sign(part: &Value, keys: &[Key]) -> Vec<u8> {
    let text = part.to_string();
    let mut message = Vec::new();
    let value = waxwing_tuf::json::Value::parse(text.as_bytes()).unwrap();
    value.canonical(&mut |piece| message.extend_from_slice(piece));
    let signature = |key: &Key| json!({"keyid": key.id(), "sig": encode(&key.sign(&message))});
    let signatures: Vec<_> = keys.iter().map(signature).collect();
    json!({"signatures": signatures, "signed": part}).to_string().into_bytes()
}
