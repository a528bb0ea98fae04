//! A server in the same thread: it signs what it answers, and remembers what it was told and asked.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use waxwing_agent::download::{ContentRange, Opened};
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_esp_image::App;
use waxwing_tuf::author::director::{self, Assignment};
use waxwing_tuf::author::{Ed25519Signer, Match, SignedFile, Signer as _};
use waxwing_tuf::uptane::{Deferrable, SERVER_CA_PATH};
use waxwing_tuf::{MemoryStore, Store as _, Time};
use waxwing_wire::bundle::{Kind as Frame, Writer};
use waxwing_wire::command::Order;
use waxwing_wire::poll::Request;
use waxwing_wire::report::{Deferral, State};
use waxwing_wire::{DeviceId, Digest, ErrorCode, Nonce, Report};

/// When the story begins: 2026-11-20.
pub(crate) const BEGIN_S: u64 = 1_795_132_800;
const PATH: &str = "acme-th1/stable/1.1.0/esp32c3.bin";
const CHUNK_BYTES: usize = 64 * 1024;

/// What the server offers, and what it was told.
pub(crate) struct Backend {
    key: Ed25519Signer,
    image_files: MemoryStore,
    /// What is known of the image, once it is published.
    sha256: Digest,
    secure_version: u32,
    /// Version of the Image repository.
    published: u64,
    pub(crate) new: Vec<u8>,
    clock: Rc<Cell<Duration>>,
    pub(crate) withdrawn: bool,
    /// How many roots of the Director follow the device's first.
    pub(crate) roots: u64,
    /// Answers still to come without the Image repository's files.
    pub(crate) incomplete: usize,
    pub(crate) reports: Vec<(State, ErrorCode)>,
    /// What the device's user is said to have put off, each once.
    pub(crate) put_off: Vec<Deferral>,
    pub(crate) pins: Told,
    /// What the device said it uses, with each poll.
    pub(crate) pins_in_use: Vec<Option<Digest>>,
    /// The rollout that is offered, and when that was decided, after the beginning.
    pub(crate) rollout: (String, u64),
    /// How far the device's user may put the restart off.
    pub(crate) deferrable: Deferrable,
    /// The chunk list, where the server has one (D8).
    pub(crate) chunks: Option<Vec<u8>>,
    /// Bytes of the image that were sent.
    pub(crate) fetched: usize,
    /// How often the chunk list was asked for.
    pub(crate) lists: usize,
    /// What is odd about the answers to come, and about the present one.
    pub(crate) quirks: VecDeque<Quirk>,
    quirk: Option<Quirk>,
    /// What is being sent, and how much of it has been.
    body: (Rc<[u8]>, usize),
}

/// What the device is told about the pins of the server, by whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Listed by the Image repository.
    pub(crate) signed: Option<Vec<u8>>,
    /// Named by the Director.
    pub(crate) named: Option<Vec<u8>>,
    /// Sent along.
    pub(crate) sent: Option<Vec<u8>>,
}

impl Backend {
    pub(crate) fn new(new: &[u8], clock: &Rc<Cell<Duration>>) -> Self {
        let key = Ed25519Signer::from_seed(&[7; 32]).unwrap();
        let mut backend = Self {
            key,
            image_files: MemoryStore::new(),
            sha256: Digest([0; 32]),
            secure_version: 0,
            published: 0,
            new: new.to_vec(),
            clock: Rc::clone(clock),
            withdrawn: false,
            roots: 0,
            incomplete: 0,
            reports: Vec::new(),
            put_off: Vec::new(),
            pins: Told::default(),
            pins_in_use: Vec::new(),
            rollout: ("r-1".into(), 0),
            deferrable: Deferrable::default(),
            chunks: None,
            fetched: 0,
            lists: 0,
            quirks: VecDeque::new(),
            quirk: None,
            body: (Rc::default(), 0),
        };
        backend.publish();
        backend
    }

    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.clock.get().as_millis()).unwrap();
        BEGIN_S * 1000 + passed
    }

    pub(crate) fn root(&self, repo: &str) -> Vec<u8> {
        self.root_of_version(repo, 1)
    }

    fn root_of_version(&self, repo: &str, version: u64) -> Vec<u8> {
        let role = json!({"keyids": [self.key.public().key_id()], "threshold": 1});
        self.sign(json!({
            "_type": "root", "consistent_snapshot": true, "keys": self.keys(), "repo": repo,
            "roles": {"root": role, "snapshot": role, "targets": role, "timestamp": role},
            "version": version,
        }))
    }

    fn keys(&self) -> Value {
        let key = waxwing_tuf::author::Key::from(self.key.public());
        json!({ self.key.public().key_id(): key })
    }

    /// Signs the image repository, with one key for everything.
    pub(crate) fn publish(&mut self) {
        let repo = "image/acme-th1";
        self.published += 1;
        self.sha256 = digest(&self.new);
        let descriptor = App::parse(&self.new).ok().and_then(|app| app.descriptor);
        self.secure_version = descriptor.map_or(0, |descriptor| descriptor.secure_version);
        let version = self.published;
        let listed = json!({"version": version});
        let key_id = self.key.public().key_id();
        let delegation = json!({
            "keyids": [key_id], "name": "acme-th1-stable", "paths": ["acme-th1/stable/*/*"],
            "terminating": true, "threshold": 1,
        });
        let pins = self.pins.signed.as_ref().map(|pem| {
            let target = json!({
                "custom": {"match": {"kind": "server-ca"}}, "hashes": {"sha256": digest(pem)},
                "length": pem.len(),
            });
            (SERVER_CA_PATH.to_owned(), target)
        });
        let targets = json!({
            "_type": "targets", "delegations": {"keys": self.keys(), "roles": [delegation]},
            "repo": repo, "targets": Value::Object(pins.into_iter().collect()), "version": version,
        });
        let target = json!({
            "custom": {"match": self.matched()}, "hashes": {"sha256": self.sha256()},
            "length": self.new.len(),
        });
        let stable = json!({
            "_type": "targets", "repo": repo, "targets": { PATH: target }, "version": version,
        });
        let snapshot = json!({
            "_type": "snapshot", "repo": repo, "version": version,
            "meta": {"targets.json": listed, "acme-th1-stable.json": listed},
        });
        let timestamp = json!({
            "_type": "timestamp", "meta": {"snapshot.json": listed}, "repo": repo,
            "version": version,
        });
        self.image_files = MemoryStore::new();
        for (name, part) in [
            ("timestamp.json".to_owned(), timestamp),
            (format!("{version}.snapshot.json"), snapshot),
            (format!("{version}.targets.json"), targets),
            (format!("{version}.acme-th1-stable.json"), stable),
        ] {
            let bytes = self.sign(part);
            self.image_files.save(&name, &bytes).unwrap();
        }
    }

    fn sign(&self, mut part: Value) -> Vec<u8> {
        part["spec_version"] = "1.0.34".into();
        part["expires"] = "2030-01-01T00:00:00Z".into();
        let mut file = SignedFile::unsigned(&serde_json::from_value(part).unwrap()).unwrap();
        file.sign(&self.key).unwrap();
        file.to_bytes().unwrap()
    }

    fn matched(&self) -> Value {
        json!({
            "chip": "esp32c3", "hw": ["r1"], "kind": "app",
            "secure_version": self.secure_version,
            "security_version": 1, "version": "1.1.0",
        })
    }

    pub(crate) fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Signs a command that is good for five minutes.
    pub(crate) fn command(&self, seq: u64, order: &Order) -> Vec<u8> {
        let fields = order.fields().into_iter();
        let content = fields.map(|(name, text)| (name.to_owned(), text.into())).collect();
        let expires = Time::from_millis(self.now_ms() + 300_000);
        director::command(&self.key, device_id().as_str(), seq, expires, &content).unwrap()
    }

    /// Answers a poll as the server does, but with all metadata every time.
    fn answer(&mut self, request: &str) -> Vec<u8> {
        let request = Request::decode(request.as_bytes()).unwrap();
        self.pins_in_use.push(request.pins);
        let mut bundle = Writer::new();
        for envelope in &request.reports {
            let envelope = waxwing_wire::envelope::Envelope::parse(envelope.as_bytes()).unwrap();
            let report = Report::decode(envelope.payload).unwrap();
            self.reports.push((report.state, report.code));
            let new = report.deferred.filter(|it| !self.put_off.contains(it));
            self.put_off.extend(new);
            // What the network did is tried again later.
            self.withdrawn |= report.state == State::Failed && report.code.is_network();
            let id = envelope.header.message_id.as_str().to_owned();
            bundle.push(Frame::Acknowledged, &id, b"").unwrap();
        }
        for version in 2..2 + self.roots {
            let root = self.root_of_version("director", version);
            bundle.push(Frame::Director, &format!("{version}.root.json"), &root).unwrap();
        }
        for (name, bytes) in self.decision(request.nonce) {
            bundle.push(Frame::Director, &name, &bytes).unwrap();
        }
        let lost = self.incomplete > 0;
        self.incomplete = self.incomplete.saturating_sub(1);
        for (name, bytes) in self.image_files.files().filter(|_| !lost) {
            bundle.push(Frame::Image, name, bytes).unwrap();
        }
        if let Some(pem) = &self.pins.sent {
            bundle.push(Frame::Image, SERVER_CA_PATH, pem).unwrap();
        }
        bundle.finish(60)
    }

    fn decision(&self, nonce: Nonce) -> [(String, Vec<u8>); 3] {
        let device = device_id();
        let decided = BEGIN_S + self.rollout.1 + u64::from(self.withdrawn);
        let version = director::decision_version(decided * 1000, self.now_ms());
        let matched: Match = serde_json::from_value(self.matched()).unwrap();
        let assignment = Assignment {
            path: PATH,
            length: u64::try_from(self.new.len()).unwrap(),
            sha256: self.sha256().0,
            r#match: &matched,
            deploy: &self.rollout.0,
            soak_s: 60,
            deferrable: self.deferrable,
            chunks: self.chunks.as_deref().map(|list| digest(list).0),
        };
        let assignment = (!self.withdrawn).then_some(assignment);
        let pins = self.pins.named.as_ref().map(|pem| director::ServerCa {
            length: u64::try_from(pem.len()).unwrap(),
            sha256: digest(pem).0,
        });
        let key = &self.key;
        [
            (
                "timestamp.json".into(),
                director::timestamp(key, device.as_str(), &nonce.0, self.now_ms(), version)
                    .unwrap(),
            ),
            (format!("{version}.snapshot.json"), director::snapshot(key, version).unwrap()),
            (
                format!("{version}.targets.json"),
                director::targets(key, device.as_str(), assignment, pins, version).unwrap(),
            ),
        ]
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::parse("d-1").unwrap()
}

/// The server, as the agent reaches it.
pub(crate) struct Near(pub(crate) Rc<RefCell<Backend>>);

impl Server for Near {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        Ok(self.0.borrow_mut().answer(request))
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        let mut backend = self.0.borrow_mut();
        let list = backend.chunks.clone().filter(|list| digest(list) == *sha256);
        backend.lists += usize::from(list.is_some());
        let file: Rc<[u8]> = if let Some(list) = list {
            list.into()
        } else {
            assert_eq!(*sha256, backend.sha256());
            backend.new.as_slice().into()
        };
        backend.quirk = backend.quirks.pop_front();
        let length = file.len();
        let mut range = ContentRange::parse(&format!("bytes {from}-{}/{length}", length - 1));
        backend.body = (Rc::clone(&file), usize::try_from(from).unwrap());
        let mut opened = Opened { status: if from == 0 { 200 } else { 206 }, ..Opened::default() };
        match backend.quirk {
            Some(Quirk::Busy(wait)) => {
                return Ok(Opened { status: 503, retry_after: Some(wait), ..opened });
            }
            Some(Quirk::OtherImage) => {
                range = range.map(|range| ContentRange { length: 1 << 20, ..range });
            }
            Some(Quirk::OtherRange) => {
                range = range.map(|range| ContentRange { first: 0, ..range });
            }
            Some(Quirk::Unreachable) => return Err(NoAnswer::Unreachable),
            Some(Quirk::Whole) => (opened.status, backend.body.1) = (200, 0),
            Some(Quirk::Endless | Quirk::Stalls | Quirk::Truncated) | None => {}
        }
        Ok(Opened { range, ..opened })
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let mut backend = self.0.borrow_mut();
        let (file, from) = backend.body.clone();
        let is_half = matches!(backend.quirk, Some(Quirk::Stalls | Quirk::Truncated));
        let end = if is_half { from.max(file.len() / 2) } else { file.len() };
        if from == end && backend.quirk == Some(Quirk::Stalls) {
            return Err(NoAnswer::Stalled);
        }
        if from == end && backend.quirk == Some(Quirk::Endless) {
            bytes.fill(0);
            return Ok(bytes.len());
        }
        let count = (end - from).min(bytes.len()).min(1000);
        bytes[..count].copy_from_slice(&file[from..from + count]);
        backend.body.1 += count;
        backend.fetched += count;
        Ok(count)
    }
}

/// What is odd about the answer to a download.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Quirk {
    /// 503 with `Retry-After`.
    Busy(Duration),
    /// Nothing ends it.
    Endless,
    /// The range is of something longer.
    OtherImage,
    /// Another range than was asked for.
    OtherRange,
    /// It stops coming in the middle.
    Stalls,
    /// It ends in the middle.
    Truncated,
    /// There is no connection.
    Unreachable,
    /// 200 and everything, as when the `ETag` has changed.
    Whole,
}

/// Returns the chunk list of an image.
pub(crate) fn chunks_of(image: &[u8]) -> Vec<u8> {
    image.chunks(CHUNK_BYTES).flat_map(|chunk| digest(chunk).0).collect()
}
