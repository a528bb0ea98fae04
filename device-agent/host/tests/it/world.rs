//! A board, the agent on it, and a server in the same thread that signs what it answers.
//!
//! Everything a device trusts or runs is real: metadata, verifier, journal, boot loader model. Time
//! passes when the agent waits for it, so nothing here sleeps.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use semver::Version;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use waxwing_agent::download::Opened;
use waxwing_agent::driver::{Driver, Identity, Platform, Ports};
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::ResetReason;
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Firmware};
use waxwing_agent_host::board::{Application, Board, BootPort, JournalPort, Layout, SlotPort};
use waxwing_agent_host::flash::{Flash, FlashFault, PowerCut, SharedSectors};
use waxwing_agent_host::store::Metadata;
use waxwing_esp_image::Chip;
use waxwing_esp_image::model::{BootError, BootLoader, Rollback};
use waxwing_esp_image::write::AppBuilder;
use waxwing_tuf::author::director::{self, Assignment};
use waxwing_tuf::author::{Ed25519Signer, Match, SignedFile, Signer as _};
use waxwing_tuf::uptane::{self, SERVER_CA_PATH};
use waxwing_tuf::{MemoryStore, Store as _, Time};
use waxwing_wire::bundle::{Kind as Frame, Writer};
use waxwing_wire::poll::Request;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, Digest, ErrorCode, Nonce, Report};

use crate::ports::{Counting, Memory, Scribble, Silence, StillClock};

/// When the story begins: 2026-11-20.
const BEGIN_S: u64 = 1_795_132_800;
/// Room for an image that crosses the first mark of progress at 64 KiB.
const SLOT_BYTES: u32 = 128 * 1024;
const PATH: &str = "acme-th1/stable/1.1.0/esp32c3.bin";
/// Turns after which a device that has not settled never will.
const TURNS_MAX: usize = 3000;

/// An image of two sectors with something of its own in it.
pub(crate) fn image(version: &str, content: &[u8]) -> Vec<u8> {
    builder(version, content).build().unwrap()
}

/// An image of 17 sectors: code begins at the second 64 KiB.
pub(crate) fn large_image(version: &str, content: &[u8]) -> Vec<u8> {
    builder(version, content).code(vec![0x13; 100]).build().unwrap()
}

fn builder(version: &str, content: &[u8]) -> AppBuilder {
    let rodata = [content, &[0x5a; 5000]].concat();
    AppBuilder::new(Chip::Esp32c3).version(version).project("acme-th1").rodata(rodata)
}

/// What the server offers, and what it was told.
pub(crate) struct Backend {
    key: Ed25519Signer,
    image_files: MemoryStore,
    new: Vec<u8>,
    clock: Rc<Cell<Duration>>,
    pub(crate) withdrawn: bool,
    /// Answers still to come without the Image repository's files.
    pub(crate) incomplete: usize,
    pub(crate) reports: Vec<(State, ErrorCode)>,
    pub(crate) pins: Told,
    /// What the device said it uses, with each poll.
    pub(crate) pins_in_use: Vec<Option<Digest>>,
    download: usize,
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
    fn new(new: &[u8], clock: &Rc<Cell<Duration>>) -> Self {
        let key = Ed25519Signer::from_seed(&[7; 32]).unwrap();
        let mut backend = Self {
            key,
            image_files: MemoryStore::new(),
            new: new.to_vec(),
            clock: Rc::clone(clock),
            withdrawn: false,
            incomplete: 0,
            reports: Vec::new(),
            pins: Told::default(),
            pins_in_use: Vec::new(),
            download: 0,
        };
        backend.publish();
        backend
    }

    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.clock.get().as_millis()).unwrap();
        BEGIN_S * 1000 + passed
    }

    fn root(&self, repo: &str) -> Vec<u8> {
        let role = json!({"keyids": [self.key.public().key_id()], "threshold": 1});
        self.sign(json!({
            "_type": "root", "consistent_snapshot": true, "keys": self.keys(), "repo": repo,
            "roles": {"root": role, "snapshot": role, "targets": role, "timestamp": role},
            "version": 1,
        }))
    }

    fn keys(&self) -> Value {
        let key = waxwing_tuf::author::Key::from(self.key.public());
        json!({ self.key.public().key_id(): key })
    }

    /// Signs the image repository, with one key for everything.
    pub(crate) fn publish(&mut self) {
        let repo = "image/acme-th1";
        let meta = |name: &str| json!({ name: {"version": 1} });
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
            "repo": repo, "targets": Value::Object(pins.into_iter().collect()), "version": 1,
        });
        let target = json!({
            "custom": {"match": Self::matched()}, "hashes": {"sha256": self.sha256()},
            "length": self.new.len(),
        });
        let stable = json!({
            "_type": "targets", "repo": repo, "targets": { PATH: target }, "version": 1,
        });
        let snapshot = json!({
            "_type": "snapshot", "repo": repo, "version": 1,
            "meta": {"targets.json": {"version": 1}, "acme-th1-stable.json": {"version": 1}},
        });
        let timestamp = json!({
            "_type": "timestamp", "meta": meta("snapshot.json"), "repo": repo, "version": 1,
        });
        for (name, part) in [
            ("timestamp.json", timestamp),
            ("1.snapshot.json", snapshot),
            ("1.targets.json", targets),
            ("1.acme-th1-stable.json", stable),
        ] {
            let bytes = self.sign(part);
            self.image_files.save(name, &bytes).unwrap();
        }
    }

    fn sign(&self, mut part: Value) -> Vec<u8> {
        part["spec_version"] = "1.0.34".into();
        part["expires"] = "2030-01-01T00:00:00Z".into();
        let mut file = SignedFile::unsigned(&serde_json::from_value(part).unwrap()).unwrap();
        file.sign(&self.key).unwrap();
        file.to_bytes().unwrap()
    }

    fn matched() -> Value {
        json!({
            "chip": "esp32c3", "hw": ["r1"], "kind": "app", "secure_version": 0,
            "security_version": 1, "version": "1.1.0",
        })
    }

    fn sha256(&self) -> Digest {
        digest(&self.new)
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
            let id = envelope.header.message_id.as_str().to_owned();
            bundle.push(Frame::Acknowledged, &id, b"").unwrap();
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
        let decided = if self.withdrawn { BEGIN_S + 1 } else { BEGIN_S };
        let version = director::decision_version(decided * 1000, self.now_ms());
        let matched: Match = serde_json::from_value(Self::matched()).unwrap();
        let assignment = Assignment {
            path: PATH,
            length: u64::try_from(self.new.len()).unwrap(),
            sha256: self.sha256().0,
            r#match: &matched,
            deploy: "r-1",
            soak_s: 60,
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

fn device_id() -> DeviceId {
    DeviceId::parse("d-1").unwrap()
}

/// The server, as the agent reaches it.
pub(crate) struct Near(Rc<RefCell<Backend>>);

impl Server for Near {
    async fn poll(&mut self, request: &str) -> Result<Vec<u8>, NoAnswer> {
        Ok(self.0.borrow_mut().answer(request))
    }

    async fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        let mut backend = self.0.borrow_mut();
        assert_eq!(*sha256, backend.sha256());
        backend.download = usize::try_from(from).unwrap();
        let length = u64::try_from(backend.new.len()).unwrap();
        let range = format!("bytes {from}-{}/{length}", length - 1);
        let range = waxwing_agent::download::ContentRange::parse(&range);
        Ok(Opened { status: if from == 0 { 200 } else { 206 }, range, body_bytes: None })
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        let mut backend = self.0.borrow_mut();
        let rest = &backend.new[backend.download..];
        let count = rest.len().min(bytes.len()).min(1000);
        bytes[..count].copy_from_slice(&rest[..count]);
        backend.download += count;
        Ok(count)
    }
}

/// The platform of these tests.
pub(crate) enum Tested {}

impl Platform for Tested {
    type Flash = SlotPort;
    type Boot = BootPort;
    type Journal = JournalPort;
    type App = Application;
    type Server = Near;
    type Messages = Silence;
    type Signer = Scribble;
    type Clock = StillClock;
    type Entropy = Counting;
    type Store = Metadata;
    type Pins = Memory;
}

/// A device and its server.
pub(crate) struct World {
    pub(crate) board: Board,
    pub(crate) backend: Rc<RefCell<Backend>>,
    clock: Rc<Cell<Duration>>,
    stores: (Metadata, Metadata),
    roots: (Vec<u8>, Vec<u8>),
    pins: Memory,
    boots: u8,
}

impl World {
    /// A device that runs `old` and is offered `new`.
    pub(crate) fn new(old: &[u8], new: &[u8], rollback: Rollback) -> Self {
        let layout = Layout::new(SLOT_BYTES);
        let mut flash = Flash::erased(layout.sectors(), &SharedSectors::default());
        layout.manufacture(&mut flash, old).unwrap();
        let board = Board::new(flash, layout, BootLoader { chip: Chip::Esp32c3, rollback });
        let clock = Rc::new(Cell::new(Duration::ZERO));
        let backend = Backend::new(new, &clock);
        let roots = (backend.root("director"), backend.root("image/acme-th1"));
        let stores = (Metadata::in_memory(), Metadata::in_memory());
        let backend = Rc::new(RefCell::new(backend));
        Self { board, backend, clock, stores, roots, pins: Memory::default(), boots: 0 }
    }

    /// Arranges a power cut.
    pub(crate) fn cut_power(&self, operation: u64, after_bytes: usize) {
        self.board.flash().cut_power(Some(PowerCut { operation, after_bytes }));
    }

    /// Lets the device live until it has settled and its server knows, through resets and power
    /// cuts. Returns the image it runs then.
    pub(crate) fn live(&mut self) -> Vec<u8> {
        let (mut reset, mut turns) = (ResetReason::PowerOn, 0);
        loop {
            let running = match self.board.start(reset) {
                Ok(running) => running,
                Err(BootError::Flash(FlashFault::PowerCut)) => {
                    reset = self.switch_on();
                    continue;
                }
                Err(error) => panic!("bricked: {error}"),
            };
            let Some(mut driver) = self.driver(&running) else {
                reset = self.switch_on();
                continue;
            };
            reset = loop {
                let turn = block_on(driver.turn());
                turns += 1;
                assert!(turns < TURNS_MAX, "still {} after so long", driver.agent().state_name());
                if self.power_is_gone() {
                    break self.switch_on();
                }
                if let Some(reason) = self.board.power().take() {
                    break reason;
                }
                let waits = matches!(driver.next(), Action::Wait { .. });
                let settled = driver.agent().record().settled.is_some();
                if waits && settled && driver.agent().unsent().is_empty() {
                    return running.image;
                }
                if waits && self.backend.borrow().withdrawn && turn.action == Action::Poll {
                    return running.image;
                }
            };
        }
    }

    /// Returns by what the device knows its server.
    pub(crate) fn pins(&self) -> Option<Vec<u8>> {
        self.pins.0.borrow().clone()
    }

    fn power_is_gone(&self) -> bool {
        self.board.flash().was_cut()
    }

    fn switch_on(&self) -> ResetReason {
        self.board.flash().cut_power(None);
        self.board.power().take();
        ResetReason::PowerOn
    }

    /// `None` when the power went while the agent started.
    fn driver(&mut self, running: &waxwing_agent_host::board::Running) -> Option<Driver<Tested>> {
        self.boots += 1;
        let ports = Ports {
            flash: self.board.slot_port(running.slot).unwrap(),
            boot: self.board.boot_port(running).unwrap(),
            journal: self.board.journal_port(),
            app: Application::new(&self.board, running),
            server: Near(Rc::clone(&self.backend)),
            messages: Silence(Rc::clone(&self.clock)),
            signer: Scribble,
            clock: StillClock(Rc::clone(&self.clock)),
            entropy: Counting(self.boots.wrapping_mul(10)),
            pins: self.pins.clone(),
        };
        let identity = Identity {
            id: device_id(),
            product: "acme-th1".parse().unwrap(),
            hardware: "r1".parse().unwrap(),
        };
        let firmware = Firmware {
            release: Version::new(1, 0, 0),
            sha256: Digest(Sha256::digest(&running.image).into()),
            security_version: 1,
        };
        let rules = ImageRules {
            chip: Chip::Esp32c3,
            version: VersionRule::Match,
            project: Some("acme-th1".into()),
            secure_version: 0,
        };
        Driver::boot(ports, identity, firmware, Policy::DEVICE, rules, self.trust()).ok()
    }

    fn trust(&self) -> Trust<Metadata> {
        let device = uptane::Device {
            id: "d-1".into(),
            product: "acme-th1".into(),
            channels: vec!["stable".into()],
            hardware: "r1".into(),
            chip: "esp32c3".into(),
            slot_bytes: SLOT_BYTES.into(),
            security_version: 1,
            secure_versions: 0..=16,
        };
        let (director, image) = (self.stores.0.clone(), self.stores.1.clone());
        let client =
            uptane::Client::open(device, (director, &self.roots.0), (image, &self.roots.1));
        Trust::new(client.unwrap(), Time::from_seconds(BEGIN_S - 1))
    }
}

/// Nothing here ever waits for anything outside.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
