//! The signed metadata of every repository, in memory: what polls and plain GETs hand out.
//!
//! The files come from the database, where they were put after the device's own verifier had let
//! them through; here they are bytes with a name and a version. Not here: trust. A device checks
//! every byte of this itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::Search;
use waxwing_tuf::author::release::{METADATA_BYTES_MAX, channel_of_docs};
use waxwing_tuf::role::Targets;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::verify::read_targets;
use waxwing_wire::bundle::{DEVICE_ANSWER_BYTES_MAX, Kind, Writer};
use waxwing_wire::{Digest, ProductId};

use crate::store::metadata::{self, DIRECTOR};
use crate::store::{self, Store, products};

/// Most roots in one answer: a device takes so many steps per poll and comes back for the rest.
const ROOTS_PER_ANSWER_MAX: usize = 8;

/// Most bytes of the roots of one repository in one answer, for the same reason. Every root fits.
const ROOTS_BYTES_PER_ANSWER_MAX: usize = METADATA_BYTES_MAX;

/// Most bytes of an answer that its other parts take: the Director's three files, 10 KiB as a device
/// reads them, and acknowledged reports with the frames of everything.
const DIRECTOR_BYTES_MAX: usize = 12 * 1024;

/// Most bytes of an answer that come from the Image repository, 36 KiB, roots aside: those come before
/// the rest, if need be with polls of their own.
pub const IMAGE_BYTES_MAX: usize = DEVICE_ANSWER_BYTES_MAX - DIRECTOR_BYTES_MAX;

/// The roles that a device needs for whatever it looks for, beside those on the way to it.
const ALWAYS: [&str; 2] = ["timestamp", "snapshot"];

/// The repositories by name: `director` and `image/<product>`.
#[derive(Debug, Default)]
pub struct Repositories {
    by_name: RwLock<HashMap<String, Arc<Files>>>,
}

/// The files of one repository.
#[derive(Debug, Default)]
pub struct Files {
    by_name: HashMap<String, Bytes>,
    /// Version of the latest root; 0 if there is none.
    root: u64,
    /// The current files but the roots, by role.
    current: BTreeMap<String, Current>,
    /// The roles that a device reads to find a target, by the path of the target.
    ways: HashMap<String, Vec<String>>,
    /// The pins of the product (D15).
    pins: Option<PinsFile>,
}

/// The file of pins, with its hash at hand.
#[derive(Debug)]
pub struct PinsFile {
    /// Its hash.
    pub sha256: Digest,
    /// Its content, PEM.
    pub bytes: Bytes,
}

/// A role's current file.
#[derive(Debug)]
struct Current {
    version: u64,
    file_name: String,
}

/// A file that goes into an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct File<'a> {
    /// Its name, such as `7.snapshot.json`.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a Bytes,
}

/// Returns the name of a product's Image repository (D1).
pub fn image_repository(product: &ProductId) -> String {
    format!("image/{product}")
}

impl Repositories {
    /// Loads everything from the database.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let repositories = Self::default();
        let products = products::all(store).await?;
        let images = products.iter().map(|product| image_repository(&product.id));
        for name in images.chain([DIRECTOR.to_owned()]) {
            let files = metadata::all(store, &name).await?;
            repositories.put(&name, files)?;
        }
        Ok(repositories)
    }

    /// Replaces the files of a repository, after they were committed.
    pub fn put(&self, name: &str, files: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let files = Files::read(name, files)?;
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.to_owned(), Arc::new(files));
        Ok(())
    }

    /// Returns the Director's roots; `None` until one is imported (D6).
    pub fn director(&self) -> Option<Arc<Files>> {
        self.files(DIRECTOR).filter(|files| files.root > 0)
    }

    /// Returns the Image repository of a product.
    pub fn image(&self, product: &ProductId) -> Option<Arc<Files>> {
        self.files(&image_repository(product))
    }

    /// Returns all repositories with their names.
    pub fn all(&self) -> Vec<(String, Arc<Files>)> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.iter().map(|(name, files)| (name.clone(), Arc::clone(files))).collect()
    }

    fn files(&self, name: &str) -> Option<Arc<Files>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Files {
    /// Reads the files of a repository, by their names.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for a file that is missing or cannot be read.
    pub fn read(repository: &str, files: Vec<(String, Vec<u8>)>) -> Result<Self, Error> {
        let by_name: HashMap<String, Bytes> =
            files.into_iter().map(|(name, bytes)| (name, Bytes::from(bytes))).collect();
        let root = by_name.keys().filter_map(|name| root_version(name)).max().unwrap_or(0);
        let pins = by_name.get(SERVER_CA_PATH).map(|bytes| PinsFile {
            sha256: Digest(Sha256::digest(bytes).into()),
            bytes: bytes.clone(),
        });
        let (current, ways) = (BTreeMap::new(), HashMap::new());
        let mut files = Self { by_name, root, current, ways, pins };
        files
            .find_current()
            .and_then(|()| files.find_ways())
            .map_err(|file| Error::Damaged { repository: repository.to_owned(), file })?;
        Ok(files)
    }

    /// Returns a file by the name a TUF client asks for.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.by_name.get(name)
    }

    /// Returns the roots that follow the version a device has.
    pub fn roots_after(&self, version: u64) -> impl Iterator<Item = File<'_>> {
        let next = version.saturating_add(1)..=self.root;
        let roots = next.take(ROOTS_PER_ANSWER_MAX).filter_map(|version| self.root_file(version));
        let mut room = ROOTS_BYTES_PER_ANSWER_MAX;
        roots.take_while(move |root| {
            let left = room.checked_sub(root.bytes.len());
            room = left.unwrap_or(0);
            left.is_some()
        })
    }

    /// Returns the current files that a device lacks to find the target at `path`, or to read the
    /// top-level targets if it looks for none, in the order in which it needs them, roots aside.
    /// `have` tells the version the device has of a role.
    pub fn lacking<'a>(
        &'a self,
        path: Option<&str>,
        have: impl Fn(&str) -> u64 + 'a,
    ) -> impl Iterator<Item = File<'a>> {
        let way = path.and_then(|path| self.way_to(path));
        let delegated = way.into_iter().flat_map(|roles| roles.iter().skip(1).map(String::as_str));
        let roles = ALWAYS.into_iter().chain(["targets"]).chain(delegated);
        let current = roles.filter_map(|role| Some((role, self.current.get(role)?)));
        let lacking = current.filter(move |(role, it)| have(role) != it.version);
        lacking.filter_map(|(_, it)| self.file(&it.file_name))
    }

    /// Returns the roles that a device reads to find the target at `path`, the one that lists it
    /// last; `None` if no device would find it.
    pub fn way_to(&self, path: &str) -> Option<&[String]> {
        self.ways.get(path).map(Vec::as_slice)
    }

    /// Tells whether a device that has nothing but the latest root can be sent, in one answer, all that
    /// it needs to find the target at `path`.
    pub fn is_sendable(&self, path: Option<&str>) -> bool {
        let pins = self.pins.as_ref().map(PinsFile::file);
        let mut answer = Writer::for_device();
        let mut files = self.lacking(path, |_| 0).chain(pins);
        files.all(|file| answer.push(Kind::Image, file.name, file.bytes).is_ok())
            && answer.finish(0).len() <= IMAGE_BYTES_MAX
    }

    /// Returns the files that devices need now, by role: the latest root and what is current.
    pub fn in_force(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let root = self.root_file(self.root).map(|file| ("root", file.bytes));
        // SBOMs and provenance: no device looks for them.
        let current = self.current.iter().filter(|(role, _)| channel_of_docs(role).is_none());
        let current =
            current.filter_map(|(role, it)| Some((role.as_str(), self.file(&it.file_name)?.bytes)));
        root.into_iter().chain(current)
    }

    /// Returns the pins of the product, if its keyholders ever signed any.
    pub const fn pins(&self) -> Option<&PinsFile> {
        self.pins.as_ref()
    }

    fn root_file(&self, version: u64) -> Option<File<'_>> {
        let name = format!("{version}.root.json");
        let (name, bytes) = self.by_name.get_key_value(&name)?;
        Some(File { name, bytes })
    }

    fn file(&self, name: &str) -> Option<File<'_>> {
        let (name, bytes) = self.by_name.get_key_value(name)?;
        Some(File { name, bytes })
    }

    /// Follows timestamp and snapshot to what they name. The error is the file that is wrong.
    fn find_current(&mut self) -> Result<(), String> {
        let Some(timestamp) = self.by_name.get("timestamp.json") else { return Ok(()) };
        let timestamp = parse("timestamp.json", timestamp)?;
        let snapshot_version =
            *timestamp.meta.get("snapshot.json").ok_or_else(|| "timestamp.json".to_owned())?;
        let snapshot_name = format!("{}.snapshot.json", snapshot_version.version);
        let snapshot = self.by_name.get(&snapshot_name).ok_or_else(|| snapshot_name.clone())?;
        let snapshot = parse(&snapshot_name, snapshot)?;
        self.current = BTreeMap::from([
            ("timestamp".to_owned(), Current::new(timestamp.version, "timestamp.json".to_owned())),
            ("snapshot".to_owned(), Current::new(snapshot.version, snapshot_name)),
        ]);
        for (name, listed) in snapshot.meta {
            let role = name.strip_suffix(".json").unwrap_or(&name).to_owned();
            let file_name = format!("{}.{name}", listed.version);
            self.current.insert(role, Current::new(listed.version, file_name));
        }
        Ok(())
    }

    /// Finds out which roles lead to each target. The error is the file that is wrong.
    fn find_ways(&mut self) -> Result<(), String> {
        let mut roles: HashMap<&str, Targets> = HashMap::new();
        for (role, current) in &self.current {
            if ALWAYS.contains(&role.as_str()) {
                continue;
            }
            // A role to which nobody delegates need not be here.
            let Some(file) = self.file(&current.file_name) else { continue };
            let targets = read_targets(file.bytes).map_err(|_| file.name.to_owned())?;
            roles.insert(role, targets);
        }
        let mut ways = HashMap::new();
        for path in roles.values().flat_map(|role| role.targets().map(|(path, _)| path.to_string()))
        {
            let search = Search::new(&path, |role| roles.get(role));
            if search.is_found {
                ways.insert(path, search.roles);
            }
        }
        self.ways = ways;
        Ok(())
    }
}

impl PinsFile {
    /// Returns the file as it goes into an answer.
    pub const fn file(&self) -> File<'_> {
        File { name: SERVER_CA_PATH, bytes: &self.bytes }
    }
}

impl Current {
    const fn new(version: u64, file_name: String) -> Self {
        Self { version, file_name }
    }
}

/// What is read of a timestamp or snapshot; the rest is for those who trust it.
#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    version: u64,
    meta: BTreeMap<String, Listed>,
}

#[derive(Clone, Copy, Deserialize)]
struct Listed {
    version: u64,
}

fn parse(name: &str, bytes: &[u8]) -> Result<Signed, String> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|_| name.to_owned())?;
    Ok(envelope.signed)
}

fn root_version(name: &str) -> Option<u64> {
    name.strip_suffix(".root.json")?.parse().ok()
}

/// Why metadata cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or is not what was verified when it was stored.
    #[error("the repository {repository} lacks a usable {file}; publish it again")]
    Damaged {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
    },
    /// The database failed.
    #[error("cannot load metadata from the database")]
    Store(#[from] store::Error),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(name: &str, body: &str) -> (String, Vec<u8>) {
        (name.to_owned(), body.as_bytes().to_vec())
    }

    /// A targets role that lists `path` and delegates everything to `roles`.
    fn role(path: &str, roles: &[&str]) -> String {
        let target = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
        let delegation = |role: &&str| json!({"name": role, "keyids": ["k"], "threshold": 1, "paths": ["*"], "terminating": false});
        let key = json!({"keytype": "x", "scheme": "x", "keyval": {"public": "x"}});
        let roles: Vec<_> = roles.iter().map(delegation).collect();
        let signed = json!({
            "_type": "targets", "spec_version": "1.0.34", "version": 3,
            "expires": "2030-01-01T00:00:00Z", "targets": {path: target},
            "delegations": {"keys": {"k": key}, "roles": roles},
        });
        json!({"signatures": [], "signed": signed}).to_string()
    }

    fn files() -> Files {
        let listed =
            r#"{"a.json":{"version":9},"b.json":{"version":9},"targets.json":{"version":3}}"#;
        Files::read(
            "image/th1",
            vec![
                file("1.root.json", "r1"),
                file("2.root.json", "r2"),
                file("10.root.json", "r10"),
                file(
                    "timestamp.json",
                    r#"{"signed":{"version":12,"meta":{"snapshot.json":{"version":11}}}}"#,
                ),
                file(
                    "11.snapshot.json",
                    &format!(r#"{{"signed":{{"version":11,"meta":{listed}}}}}"#),
                ),
                file("3.targets.json", &role("top", &["b", "a"])),
                file("9.a.json", &role("of-a", &[])),
                file("9.b.json", &role("of-b", &[])),
                file("8.a.json", &role("of-a", &[])),
            ],
        )
        .unwrap()
    }

    fn names<'a>(files: impl Iterator<Item = File<'a>>) -> Vec<&'a str> {
        files.map(|file| file.name).collect()
    }

    #[test]
    fn a_device_gets_what_it_lacks_in_the_order_it_needs_it() {
        let files = files();
        let top = ["timestamp.json", "11.snapshot.json", "3.targets.json"];
        assert_eq!(names(files.lacking(None, |_| 0)), top);
        assert_eq!(names(files.lacking(Some("top"), |_| 0)), top);
        assert_eq!(names(files.lacking(Some("nowhere"), |_| 0)), top);
        assert_eq!(names(files.lacking(Some("of-b"), |_| 0)), [&top[..], &["9.b.json"]].concat());
        let way = ["9.b.json", "9.a.json"];
        assert_eq!(names(files.lacking(Some("of-a"), |_| 0)), [&top[..], &way].concat());
        let have = |role: &str| if role == "targets" { 3 } else { 9 };
        assert_eq!(
            names(files.lacking(Some("of-a"), have)),
            ["timestamp.json", "11.snapshot.json"]
        );
    }

    #[test]
    fn roots_come_one_after_the_other_and_not_too_many() {
        assert_eq!(names(files().roots_after(0)), ["1.root.json", "2.root.json"]);
        assert_eq!(names(files().roots_after(10)), [""; 0]);
        assert_eq!(names(files().roots_after(u64::MAX)), [""; 0]);
    }

    #[test]
    fn long_roots_come_one_by_one() {
        let long = "x".repeat(METADATA_BYTES_MAX / 2);
        let roots = (1..=5).map(|version| file(&format!("{version}.root.json"), &long));
        let files = Files::read("image/th1", roots.collect()).unwrap();
        assert_eq!(names(files.roots_after(1)), ["2.root.json", "3.root.json"]);
        assert_eq!(names(files.roots_after(4)), ["5.root.json"]);
        let longest = [file("1.root.json", &"x".repeat(METADATA_BYTES_MAX))].to_vec();
        assert_eq!(names(Files::read("image/th1", longest).unwrap().roots_after(0)).len(), 1);
    }

    #[test]
    fn a_repository_that_does_not_hang_together_is_refused() {
        let error = Files::read("image/th1", vec![file("timestamp.json", "{}")]).unwrap_err();
        assert!(error.to_string().contains("timestamp.json"), "{error}");
    }

    #[test]
    fn a_repository_without_files_serves_nothing() {
        let files = Files::read("image/th1", Vec::new()).unwrap();
        assert_eq!(names(files.lacking(None, |_| 0)), [""; 0]);
        assert!(Repositories::default().director().is_none());
    }
}
