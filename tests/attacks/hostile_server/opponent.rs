//! The hostile server: it plays a script with the Director's key and everything in the library.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use waxwing_agent::download::{ContentRange, Opened};
use waxwing_agent::network::{Message, NoAnswer};
use waxwing_tuf::Time;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_wire::bundle::{BUNDLE_BYTES_MAX, FRAMES_MAX, Kind, MAGIC};
use waxwing_wire::envelope::Envelope;
use waxwing_wire::poll::Request;
use waxwing_wire::report::State;
use waxwing_wire::{Digest, ErrorCode, MessageId, Report};

use super::library::{BEGIN_S, GOOD, LIBRARY, ONLINE_KEY, PINS, Release, pins_target};
use super::script::{self, Answer, Body, Change, Choice, Download, Nonce, Pins, Resets, Said};
use super::tampering::{flip, tamper, with_bomb};
use crate::support::author::{hex, sign, target};
use crate::support::board::Opponent;

/// How long an endless download goes on before the test would call the device caught.
const ENDLESS_BYTES: usize = 4 * 1024 * 1024;
/// The last time that metadata can write.
const END: &str = "9999-12-31T23:59:59Z";
/// The highest version that JSON of ours can hold, and one more.
const VERSION_MAX: u64 = 1 << 53;

/// Length of a bomb in a command; two kilobytes are the most that a device reads.
const COMMAND_BOMB_BYTES: usize = 1500;

/// A file on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The server.
#[derive(Debug)]
pub(super) struct Hostile {
    script: VecDeque<Answer>,
    clock: Rc<Cell<Duration>>,
    /// The Director's targets, without signatures, and their version.
    decision: (Json, u64),
    /// The pins that come with an answer, by their place.
    pins: Option<usize>,
    generation: usize,
    recorded: Vec<Vec<u8>>,
    reports: Vec<MessageId>,
    /// What the device reported, in the order it came.
    pub(super) told: Vec<(State, ErrorCode)>,
    download: Download,
    body: Vec<u8>,
    endless: usize,
    message: Option<Message>,
    commands: u64,
    /// The power cut that the last answer comes with.
    pub(super) power_cut: Option<(u64, usize)>,
    /// The resets that the last answer comes with.
    pub(super) resets: Option<Resets>,
    /// What it did, to be counted.
    pub(super) moves: Vec<String>,
    /// Nothing is left to say.
    pub(super) is_over: bool,
}

impl Hostile {
    /// At first an honest server that wants the second release installed.
    pub(super) fn new(script: Vec<Answer>, clock: &Rc<Cell<Duration>>) -> Self {
        Self {
            script: script.into(),
            clock: Rc::clone(clock),
            decision: (named(&[GOOD]), BEGIN_S * 1000),
            pins: None,
            generation: 1,
            recorded: Vec::new(),
            reports: Vec::new(),
            told: Vec::new(),
            download: Download::Right,
            body: Vec::new(),
            endless: 0,
            message: None,
            commands: 0,
            power_cut: None,
            resets: None,
            moves: Vec::new(),
            is_over: false,
        }
    }

    fn now_ms(&self) -> u64 {
        BEGIN_S * 1000 + u64::try_from(self.clock.get().as_millis()).unwrap()
    }

    /// The time that the Director attests.
    fn attested(&self, lie: script::Time) -> Time {
        let now = self.now_ms();
        match lie {
            script::Time::Right => Time::from_millis(now),
            script::Time::Ahead(seconds) => Time::from_millis(now + seconds * 1000),
            script::Time::Behind(seconds) => Time::from_millis(now - seconds * 1000),
            script::Time::End => Time::parse(END).unwrap(),
        }
    }

    fn decide(&mut self, answer: &Answer) {
        let targets = Self::choose(&answer.choice);
        let targets = self.with_pins(targets, answer.pins);
        let (before, is_new) = (self.decision.1, targets.is_some());
        let targets = targets.unwrap_or_else(|| self.decision.0.clone());
        let version = match answer.version {
            script::Version::Right if is_new => self.now_ms().max(before + 1),
            script::Version::Right | script::Version::Same => before,
            script::Version::Lower => before.saturating_sub(1000),
            script::Version::Highest => VERSION_MAX - 1,
        };
        self.decision = (targets, version);
    }

    fn with_pins(&mut self, targets: Option<Json>, pins: Pins) -> Option<Json> {
        let (named, sent) = match pins {
            Pins::AsBefore => return targets,
            Pins::Right => {
                let right = LIBRARY.generations[self.generation].pins;
                (right, right)
            }
            Pins::Of(named, sent) => (named, sent),
        };
        self.pins = Some(sent);
        let mut targets = targets.unwrap_or_else(|| self.decision.0.clone());
        targets["targets"][SERVER_CA_PATH] = pins_target(named);
        Some(targets)
    }

    fn choose(choice: &Choice) -> Option<Json> {
        match choice {
            Choice::AsBefore => None,
            Choice::Release(release) => Some(named(&[*release])),
            Choice::Nothing => Some(named(&[])),
            Choice::Described(release, change) => Some(described(*release, change)),
            Choice::Disguised(path, image) => {
                let (path, image) = (&LIBRARY.releases[*path], &LIBRARY.releases[*image]);
                Some(entries(vec![entry(&Release { image: image.image.clone(), ..path.clone() })]))
            }
            Choice::Two(one, other) => Some(named(&[*one, *other])),
            Choice::Delegated => {
                let mut targets = named(&[]);
                targets["delegations"] = json!({"keys": {}, "roles": []});
                Some(targets)
            }
            Choice::ForAnother(release) => {
                let text = named(&[*release]).to_string().replace("d-1", "d-2");
                Some(serde_json::from_str(&text).unwrap())
            }
        }
    }

    fn director(&self, nonce: &str, time: Time) -> Vec<Frame> {
        let (targets, version) = &self.decision;
        let listed = |name: &str| json!({ name: {"version": version} });
        let custom = json!({"device": "d-1", "nonce": nonce, "time": time.to_string()});
        let timestamp = json!({"custom": custom, "meta": listed("snapshot.json")});
        let snapshot = json!({"meta": listed("targets.json")});
        let parts = [
            ("timestamp.json".to_owned(), "timestamp", timestamp, time.as_millis()),
            (format!("{version}.snapshot.json"), "snapshot", snapshot, *version),
            (format!("{version}.targets.json"), "targets", targets.clone(), *version),
        ];
        let sign = |(name, role, mut part, version): (String, &str, Json, u64)| {
            part["_type"] = role.into();
            part["expires"] = END.into();
            part["repo"] = "director".into();
            part["spec_version"] = "1.0.34".into();
            part["version"] = version.into();
            Frame { kind: Kind::Director, name, bytes: sign(&part, &[ONLINE_KEY]) }
        };
        parts.map(sign).into()
    }

    fn answer(&mut self, answer: &Answer, request: &Request) -> Result<Vec<u8>, NoAnswer> {
        self.generation = answer.generation.unwrap_or(self.generation);
        self.decide(answer);
        let nonce = match answer.nonce {
            Nonce::Right | Nonce::Replayed(_) => hex(&request.nonce.0),
            Nonce::Wrong => "ab".repeat(16),
        };
        let mut frames = self.director(&nonce, self.attested(answer.time));
        let image = LIBRARY.generations[self.generation].files.iter();
        frames.extend(image.map(|(name, bytes)| frame(Kind::Image, name, bytes)));
        let pins = self.pins.map(|pins| frame(Kind::Image, SERVER_CA_PATH, PINS[pins]));
        frames.extend(pins);
        answer.tampering.iter().for_each(|tampering| tamper(&mut frames, tampering));
        if answer.acknowledges {
            let acknowledged = |id: &MessageId| frame(Kind::Acknowledged, id.as_str(), b"");
            frames.extend(self.reports.drain(..).map(|id| acknowledged(&id)));
        }
        let mut bundle = bundle(&frames, answer.retry_after_s);
        if let Nonce::Replayed(earlier) = answer.nonce
            && !self.recorded.is_empty()
        {
            bundle.clone_from(&self.recorded[earlier % self.recorded.len()]);
        }
        self.recorded.push(bundle.clone());
        body(bundle, &answer.body)
    }

    fn say(&mut self, said: &Said) -> Option<Message> {
        self.commands += u64::from(matches!(said, Said::Poll));
        let device = if matches!(said, Said::ForAnother) { "d-2" } else { "d-1" };
        let command = json!({
            "_type": "command", "command": {"name": "poll", "number": self.commands.to_string()},
            "device": device, "expires": END, "repo": "director", "seq": self.commands,
        });
        Some(match said {
            Said::Poll | Said::Replayed | Said::ForAnother => {
                Message::Command(sign(&command, &[ONLINE_KEY]))
            }
            Said::Garbage(bytes) => Message::Command(bytes.clone()),
            Said::Bomb(bomb) => {
                Message::Command(with_bomb(&command, *bomb, COMMAND_BOMB_BYTES, &[ONLINE_KEY]))
            }
            Said::Acknowledged => Message::Acknowledged(self.reports.pop()?),
        })
    }
}

impl Opponent for Hostile {
    fn poll(&mut self, request: &Request) -> Result<Vec<u8>, NoAnswer> {
        self.reports.clear();
        for text in &request.reports {
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            let report = Report::decode(envelope.payload).unwrap();
            self.told.push((report.state, report.code));
            self.reports.push(envelope.header.message_id);
        }
        let Some(answer) = self.script.pop_front() else {
            self.is_over = true;
            return Err(NoAnswer::Unreachable);
        };
        self.message = answer.message.as_ref().and_then(|said| self.say(said));
        self.power_cut = answer.power_cut;
        self.resets = answer.resets;
        self.moves.extend(answer.moves());
        self.download = answer.download.clone();
        self.answer(&answer, request)
    }

    fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer> {
        let named = LIBRARY.release(sha256);
        let image = match (&self.download, named) {
            (Download::Another(release), _) => &LIBRARY.releases[*release],
            (_, Some(release)) => release,
            (_, None) => return Err(NoAnswer::Refused(404)),
        };
        let mut image = image.image.clone();
        match &self.download {
            Download::Flip(at, bit) => flip(&mut image, *at, *bit),
            Download::Short(at) => image.truncate(at.index(image.len()).max(1)),
            Download::Stalled => return Err(NoAnswer::Stalled),
            Download::Refused(status) => return Err(NoAnswer::Refused(*status)),
            Download::Another(_) | Download::Endless | Download::Right | Download::WrongRange => {}
        }
        self.endless = if matches!(self.download, Download::Endless) { ENDLESS_BYTES } else { 0 };
        let length = u64::try_from(LIBRARY.release(sha256).map_or(1, |named| named.image.len()));
        let length = length.unwrap();
        let first = u64::from(from) + u64::from(matches!(self.download, Download::WrongRange));
        let range = ContentRange { first, last: length - 1, length };
        self.body = image.split_off(image.len().min(usize::try_from(from).unwrap()));
        let status = if from == 0 { 200 } else { 206 };
        Ok(Opened { status, range: (from > 0).then_some(range), ..Opened::default() })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer> {
        if self.body.is_empty() {
            assert!(self.endless == 0 || self.endless > bytes.len(), "the device reads for ever");
            let count = self.endless.min(bytes.len());
            self.endless -= count;
            bytes[..count].fill(0x5a);
            return Ok(count);
        }
        let count = self.body.len().min(bytes.len()).min(1400);
        bytes[..count].copy_from_slice(&self.body[..count]);
        self.body.drain(..count);
        Ok(count)
    }

    fn message(&mut self) -> Option<Message> {
        self.message.take()
    }
}

/// The Director's targets with these releases.
pub(super) fn named(releases: &[usize]) -> Json {
    entries(releases.iter().map(|release| entry(&LIBRARY.releases[*release])).collect())
}

fn entries(entries: Vec<(String, Json)>) -> Json {
    let entries: serde_json::Map<_, _> = entries.into_iter().collect();
    json!({"custom": {"device": "d-1"}, "targets": entries})
}

fn entry(release: &Release) -> (String, Json) {
    let deploy = format!("r-{}", hex(&release.sha256.0[..4]));
    let attributes = &release.attributes;
    let custom = json!({"match": attributes, "deploy": deploy, "device": "d-1", "soak_s": 60});
    (release.path.clone(), target(&release.image, &custom))
}

fn described(release: usize, change: &Change) -> Json {
    let (mut path, mut entry) = entry(&LIBRARY.releases[release]);
    let attributes = &mut entry["custom"]["match"];
    match change {
        Change::SecurityVersion(version) => attributes["security_version"] = (*version).into(),
        Change::SecureVersion(version) => attributes["secure_version"] = (*version).into(),
        Change::Length(length) => entry["length"] = (*length).into(),
        Change::Hardware => attributes["hw"] = json!(["r1"]),
        Change::Version => attributes["version"] = "1.4.0".into(),
        Change::Kind => attributes["kind"] = "data".into(),
        Change::Path => path = path.replace("beta", "stable").replace("acme-x9", "acme-th1"),
        Change::Soak(seconds) => entry["custom"]["soak_s"] = (*seconds).into(),
        Change::NoMatch => *attributes = Json::Null,
    }
    entries(vec![(path, entry)])
}

fn frame(kind: Kind, name: &str, bytes: &[u8]) -> Frame {
    Frame { kind, name: name.to_owned(), bytes: bytes.to_vec() }
}

/// Writes a bundle without the limits of our own writer.
fn bundle(frames: &[Frame], retry_after_s: u32) -> Vec<u8> {
    let mut bundle = MAGIC.to_vec();
    for Frame { kind, name, bytes } in frames {
        let kind = match kind {
            Kind::Acknowledged => b'a',
            Kind::Director => b'd',
            Kind::Image => b'i',
        };
        bundle.extend_from_slice(&[kind, u8::try_from(name.len()).unwrap()]);
        bundle.extend_from_slice(name.as_bytes());
        bundle.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        bundle.extend_from_slice(bytes);
    }
    bundle.push(0);
    bundle.extend_from_slice(&retry_after_s.to_be_bytes());
    bundle
}

/// What becomes of a bundle on its way. TLS is the server's own, so nobody else changes it.
fn body(mut bundle: Vec<u8>, body: &Body) -> Result<Vec<u8>, NoAnswer> {
    match body {
        Body::Whole => {}
        Body::Flip(at, bit) => flip(&mut bundle, *at, *bit),
        Body::Garbage(bytes) => bundle.clone_from(bytes),
        Body::HugeFrame(at) => {
            let at = at.index(bundle.len() - 4);
            bundle[at..at + 4].fill(0xff);
        }
        Body::None(status) => return Err(NoAnswer::Refused(*status)),
        Body::Oversize => bundle.resize(BUNDLE_BYTES_MAX + 1, 0),
        Body::Stalled => return Err(NoAnswer::Stalled),
        Body::TooManyFrames => {
            let empty = [b'i', 0, 0, 0, 0, 0].repeat(FRAMES_MAX + 1);
            bundle.splice(MAGIC.len()..MAGIC.len(), empty);
        }
        Body::Truncate(at) => bundle.truncate(at.index(bundle.len())),
    }
    Ok(bundle)
}
