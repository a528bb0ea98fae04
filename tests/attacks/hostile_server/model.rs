//! What must be true of a device, by what was signed and by what it did before. It shares no code
//! with the device.

use std::collections::BTreeMap;

use waxwing_agent::Action;
use waxwing_agent::driver::Turn;
use waxwing_agent::journal::Phase;
use waxwing_wire::Digest;

use super::library::{LIBRARY, PINS, version_of};
use crate::support::board::{Subject, digest};

/// The files of a repository that a device keeps.
const FILES: [&str; 5] =
    ["root.json", "timestamp.json", "snapshot.json", "targets.json", "acme-th1-stable.json"];

/// One device, as it has to be.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The highest security version that the journal held.
    floor: u32,
    /// What the device kept last: the Director's files and the Image repository's.
    kept: [BTreeMap<&'static str, Kept>; 2],
    /// The pins it kept last, by their place; those of the firmware before any.
    pins: Option<usize>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    version: u64,
}

impl Model {
    /// Only images that were signed for this device are ever started, and none below the floor.
    pub(super) fn started(&self, image: &[u8]) {
        let sha256 = digest(image);
        let mut signed = LIBRARY.generations.iter().flat_map(|one| &one.installable);
        let is_signed = signed.any(|installable| *installable == sha256);
        assert!(is_signed || image == LIBRARY.make.factory, "an image nobody signed was started");
        let version = LIBRARY.security_version(&sha256);
        assert!(version >= self.floor, "started {version} below the floor {}", self.floor);
    }

    /// Judges the next action. If it activates the new image of an update, the newest metadata of
    /// the device must list it, the slot must hold it, and it must not be below the floor.
    pub(super) fn watch_activation(&self, subject: &Subject) -> bool {
        let driver = subject.driver().unwrap();
        let Action::Activate { sha256, .. } = driver.next() else { return false };
        let update = driver.agent().record().update.as_ref();
        let is_new = update.is_some_and(|update| matches!(update.phase, Phase::Activating(_)));
        if is_new {
            self.activates(subject, &sha256);
        }
        is_new
    }

    fn activates(&self, subject: &Subject, sha256: &Digest) {
        let release = LIBRARY.release(sha256).expect("an image of the library");
        assert!(
            digest(&subject.target_slot(release.image.len())) == *sha256,
            "not what was signed"
        );
        assert!(release.security_version >= self.floor, "below the floor {}", self.floor);
        let snapshot = self.snapshot();
        let mut generations = LIBRARY.generations.iter();
        let generation = generations.find(|one| one.snapshot_version == snapshot);
        let listed = generation.is_some_and(|one| one.installable.contains(sha256));
        assert!(listed, "snapshot {snapshot} does not list it");
    }

    fn snapshot(&self) -> u64 {
        let [_, image] = &self.kept;
        image.get("snapshot.json").map_or(0, |kept| kept.version)
    }

    /// What a device keeps is genuine and never gets older.
    pub(super) fn keeps(&mut self, subject: &Subject) {
        for name in FILES {
            for (repository, file) in subject.kept(name).into_iter().enumerate() {
                self.keeps_file(repository, name, file);
            }
        }
        self.keeps_pins(subject);
        let driver = subject.driver().unwrap();
        let floor = driver.agent().record().security_version;
        assert!(floor >= self.floor, "the floor went down");
        assert!(driver.agent().security_version() >= floor, "the floor is not kept to");
        if driver.next() != Action::Save {
            self.floor = floor;
        }
    }

    /// A file may be forgotten, after a root that says so; but what comes after it is newer still,
    /// for that is what the keyholders do. The server's own files need only get newer.
    fn keeps_file(&mut self, repository: usize, name: &'static str, file: Option<Vec<u8>>) {
        let Some(bytes) = file else { return };
        let before = self.kept[repository].entry(name).or_default();
        if before.bytes == bytes {
            return;
        }
        let is_servers = repository == 0 && name != "root.json";
        let version = if is_servers {
            version_of(&bytes)
        } else if repository == 0 {
            assert!(bytes == LIBRARY.make.roots.0, "the Director's root was forged");
            1
        } else {
            LIBRARY.genuine(&bytes).unwrap_or_else(|| panic!("{name} was forged"))
        };
        // Two answers of the Director within a millisecond have one version and two nonces.
        let may_be_equal = is_servers && name == "timestamp.json";
        let is_new = version > before.version || may_be_equal && version == before.version;
        assert!(is_new, "{name} went from version {} to {version}", before.version);
        *before = Kept { bytes, version };
    }

    /// Pins are those of a generation that the device has seen, and do not get older.
    fn keeps_pins(&mut self, subject: &Subject) {
        let Some(pem) = subject.pins() else { return };
        let place = PINS.iter().position(|pins| *pins == pem);
        if place == self.pins {
            return;
        }
        let snapshot = self.snapshot();
        let seen = LIBRARY.generations.iter().filter(|one| one.snapshot_version <= snapshot);
        let is_signed = seen.map(|one| Some(one.pins)).any(|pins| pins == place);
        assert!(is_signed && place > self.pins, "pins {place:?} after {:?}", self.pins);
        self.pins = place;
    }
}

/// Tells whether a turn may have changed anything. Thousands of a story do not.
pub(super) const fn is_eventful(turn: &Turn) -> bool {
    !matches!(turn.action, Action::Wait { .. } | Action::CheckHealth)
}
