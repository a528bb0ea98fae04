//! Everything that was ever signed off line, as a hostile server may have kept it: four generations
//! of one product's Image repository, another product's repository, and all images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use semver::Version;
use serde_json::{Value as Json, json};
use waxwing_tuf::Time;
use waxwing_tuf::uptane::{Device, SERVER_CA_PATH};
use waxwing_wire::Digest;

use crate::support::author::{Author, key_id, key_json, role_json, target};
use crate::support::board::{Make, SLOT_BYTES, digest, image};

/// When the story begins: 2026-11-20.
pub(crate) const BEGIN_S: u64 = 1_795_132_800;
/// Nothing expires while it goes on, unless the server lies about the time.
const FAR: &str = "2036-01-01T00:00:00Z";
/// Everything that the Director signs is signed by this key, which the server holds.
pub(crate) const ONLINE_KEY: u8 = 4;
/// Keys of the Image repository's timestamp, before and after the root was rotated.
const IMAGE_TIMESTAMP_KEYS: [u8; 2] = [14, 15];

/// Files of a repository under the names they are served by.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A release, or what the server would like to be one.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) path: String,
    pub(crate) image: Vec<u8>,
    pub(crate) sha256: Digest,
    /// What is said about it to devices.
    pub(crate) attributes: Json,
    pub(crate) security_version: u32,
}

/// One state of the Image repository.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) files: Files,
    /// The images that the device may install by it.
    pub(crate) installable: BTreeSet<Digest>,
    pub(crate) snapshot_version: u64,
    /// The pins that its top-level targets list, by their place in [`PINS`].
    pub(crate) pins: usize,
}

/// By what a device may know its server: as the first root's keyholders said, as the second's did,
/// and as nobody did but the other product's.
pub(crate) const PINS: [&[u8]; 3] = [b"first pins", b"second pins", b"pins of a thief"];
/// The pins that were never signed for the device.
const PINS_OF_NOBODY: usize = 2;

/// Everything.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) make: Make,
    pub(crate) releases: Vec<Release>,
    pub(crate) generations: Vec<Generation>,
    /// Another product's repository, by the same keys and with paths of this product.
    pub(crate) foreign: Files,
    /// The version of each file that was signed for the device, by its bytes.
    genuine: HashMap<Vec<u8>, u64>,
}

/// Releases by name, as they stand in [`Library::releases`].
pub(crate) const OLD: usize = 0;
pub(crate) const GOOD: usize = 1;
pub(crate) const CRASHES: usize = 2;
pub(crate) const FAILS: usize = 3;
pub(crate) const NEWEST: usize = 4;
pub(crate) const OTHER_HARDWARE: usize = 5;
pub(crate) const OTHER_CHANNEL: usize = 6;
pub(crate) const OTHER_PRODUCT: usize = 7;
pub(crate) const CLAIMED_BY_OTHER_PRODUCT: usize = 8;
pub(crate) const NEVER_RELEASED: usize = 9;
/// Images that nobody signed, with the path and the version of releases that somebody did.
pub(crate) const TWIN_OF_GOOD: usize = 10;
pub(crate) const TWIN_OF_NEWEST: usize = 11;
pub(crate) const RELEASES: usize = 12;

/// The stable releases of each generation.
const STABLE: [&[usize]; GENERATIONS] = [
    &[OLD, OTHER_HARDWARE],
    &[OLD, GOOD, CRASHES, OTHER_HARDWARE],
    &[GOOD, FAILS, OTHER_HARDWARE],
    &[FAILS, NEWEST, OTHER_HARDWARE],
];
/// How many generations there are.
pub(crate) const GENERATIONS: usize = 4;
/// The generation that comes with the second root.
const ROTATION: usize = 2;

pub(crate) static LIBRARY: LazyLock<Library> = LazyLock::new(Library::new);

impl Library {
    fn new() -> Self {
        let releases = releases();
        let mut author = repository("image/acme-th1", "acme-th1");
        let mut generations: Vec<Generation> = Vec::new();
        for (number, stable) in STABLE.into_iter().enumerate() {
            if number == ROTATION {
                author.root.bump();
                rotate_timestamp(&mut author, IMAGE_TIMESTAMP_KEYS[1]);
            }
            let pins = usize::from(number >= ROTATION);
            author.targets["targets"] = list_of_pins(pins);
            author.role("acme-th1-stable")["targets"] = list(&releases, stable);
            author.role("acme-th1-beta")["targets"] = list(&releases, &[OTHER_CHANNEL]);
            author.release();
            let installable = stable.iter().filter(|release| **release != OTHER_HARDWARE);
            generations.push(Generation {
                files: author.served.0.clone(),
                installable: installable.map(|release| releases[*release].sha256).collect(),
                snapshot_version: author.snapshot.version(),
                pins,
            });
        }
        let first = &generations[0].files;
        let make = Make {
            factory: image("1.0.0", ""),
            roots: (director_root(), first["1.root.json"].clone()),
            built_at: Time::from_seconds(BEGIN_S - 1),
            compiled,
            device: device(),
        };
        let files = generations.iter().flat_map(|generation| generation.files.values());
        let genuine =
            files.map(|file| (file.trim_ascii_end().to_vec(), version_of(file))).collect();
        Self { make, foreign: foreign(&releases), releases, generations, genuine }
    }

    /// Returns the version of a file of the Image repository, if it was signed for the device's
    /// product.
    pub(crate) fn genuine(&self, bytes: &[u8]) -> Option<u64> {
        // Blanks behind a file are no part of what is signed.
        self.genuine.get(bytes.trim_ascii_end()).copied()
    }

    /// Returns the security version that the developers gave an image.
    pub(crate) fn security_version(&self, sha256: &Digest) -> u32 {
        // The image of the factory was never released.
        self.release(sha256).map_or(1, |release| release.security_version)
    }

    /// Returns the release with this image.
    pub(crate) fn release(&self, sha256: &Digest) -> Option<&Release> {
        self.releases.iter().find(|release| release.sha256 == *sha256)
    }
}

/// Returns the version of a metadata file, which need not be genuine.
pub(crate) fn version_of(file: &[u8]) -> u64 {
    let file: Json = serde_json::from_slice(file).expect("devices keep JSON");
    file["signed"]["version"].as_u64().expect("with a version")
}

/// Returns what is said of pins, by whichever repository.
pub(crate) fn pins_target(pins: usize) -> Json {
    target(PINS[pins], &json!({"device": "d-1", "match": {"kind": "server-ca"}}))
}

fn list_of_pins(pins: usize) -> Json {
    json!({ SERVER_CA_PATH: pins_target(pins) })
}

/// The security version that the developers compiled into an image.
fn compiled(version: &Version) -> u32 {
    match version.minor {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 3,
    }
}

fn device() -> Device {
    Device {
        id: "d-1".into(),
        product: "acme-th1".into(),
        channels: vec!["stable".into()],
        hardware: "r1".into(),
        chip: "esp32c3".into(),
        slot_bytes: SLOT_BYTES.into(),
        security_version: 1,
        secure_versions: 0..=16,
    }
}

fn releases() -> Vec<Release> {
    let release = |of: &str, version: &str, hardware: &str, content: &str| {
        let image = image(version, content);
        let security_version = compiled(&version.parse().unwrap());
        let attributes = json!({
            "chip": "esp32c3", "hw": [hardware], "kind": "app", "secure_version": 0,
            "security_version": security_version, "version": version,
        });
        let path = format!("{of}/{version}/esp32c3.bin");
        Release { path, sha256: digest(&image), image, attributes, security_version }
    };
    let stable = |version: &str, content: &str| release("acme-th1/stable", version, "r1", content);
    let releases: [Release; RELEASES] = [
        stable("1.1.0", ""),
        stable("1.2.0", ""),
        stable("1.2.5", "waxwing-sim:crash"),
        stable("1.3.0", "waxwing-sim:self-test=fail"),
        stable("1.4.0", ""),
        release("acme-th1/stable", "1.5.0", "r9", ""),
        release("acme-th1/beta", "1.6.0", "r1", ""),
        release("acme-x9/stable", "1.7.0", "r1", ""),
        stable("1.8.0", "of the other product"),
        stable("1.9.0", "of nobody"),
        stable("1.2.0", "of nobody"),
        stable("1.4.0", "of nobody"),
    ];
    releases.into()
}

fn list(releases: &[Release], listed: &[usize]) -> Json {
    let entry = |index: &usize| {
        let release = &releases[*index];
        let custom = json!({"match": release.attributes});
        (release.path.clone(), target(&release.image, &custom))
    };
    listed.iter().map(entry).collect::<serde_json::Map<_, _>>().into()
}

fn repository(name: &str, product: &str) -> Author {
    let mut author = Author::new(name);
    for role in ["root", "timestamp", "snapshot", "targets"] {
        author.role(role)["expires"] = FAR.into();
    }
    rotate_timestamp(&mut author, IMAGE_TIMESTAMP_KEYS[0]);
    for (channel, key) in [("stable", 8), ("beta", 9)] {
        let paths = format!("{product}/{channel}/*/*");
        author.delegate("targets", &format!("{product}-{channel}"), &[&paths], key);
    }
    author
}

fn rotate_timestamp(author: &mut Author, key: u8) {
    author.root["keys"][key_id(key)] = key_json(key);
    author.root["roles"]["timestamp"] = role_json(1, &[key]);
    author.timestamp.keys = vec![key];
}

/// The other product's people may say what they like in their own repository.
fn foreign(releases: &[Release]) -> Files {
    let mut author = repository("image/acme-x9", "acme-th1");
    let claims = [OTHER_PRODUCT, CLAIMED_BY_OTHER_PRODUCT, NEVER_RELEASED];
    author.role("acme-th1-stable")["targets"] = list(releases, &claims);
    author.targets["targets"] = list_of_pins(PINS_OF_NOBODY);
    for _ in 0..=GENERATIONS {
        author.release();
    }
    author.served.0
}

fn director_root() -> Vec<u8> {
    let mut author = Author::new("director");
    author.root["expires"] = FAR.into();
    for role in ["timestamp", "snapshot", "targets"] {
        author.root["roles"][role] = role_json(1, &[ONLINE_KEY]);
    }
    author.root.bytes()
}
