//! The client as the suite drives it: as a process, over HTTP. The numbers of the suite's cases that
//! each test stands for are in `CASES.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code stops at the first surprise"
)]

mod repository;
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use crate::repository::{Key, Repository, hex, target};
use crate::web::Web;

/// A repository on a web server, and a client with an empty folder.
struct World {
    repository: Repository,
    web: Web,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Repository::new())
    }

    /// A client that trusts the first root of `repository`.
    fn with(repository: Repository) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("targets")).unwrap();
        let world = Self { repository, web: Web::start(), folder };
        let root = world.folder.path().join("first-root");
        fs::write(&root, world.repository.root_file()).unwrap();
        world.run(&["init", root.to_str().unwrap()]).good();
        world
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut client = Command::new(env!("CARGO_BIN_EXE_tuf-client"));
        client.arg("--metadata-dir").arg(self.folder.path().join("metadata"));
        Outcome(client.args(arguments).output().unwrap())
    }

    fn refresh(&self) -> Outcome {
        self.publish();
        self.run(&["--metadata-url", &self.web.url("metadata"), "refresh"])
    }

    fn download(&self, names: &[&str]) -> Outcome {
        self.publish();
        let (metadata, targets) = (self.web.url("metadata/"), self.web.url("targets/"));
        let folder = self.folder.path().join("targets");
        let names = names.iter().flat_map(|name| ["--target-name", name]);
        let before = ["--metadata-url", &metadata].into_iter().chain(names);
        let after = ["--target-base-url", &targets, "--target-dir", folder.to_str().unwrap()];
        self.run(&before.chain(after).chain(["download"]).collect::<Vec<_>>())
    }

    fn publish(&self) {
        for (name, bytes) in self.repository.files() {
            self.web.serve(&format!("/metadata/{name}"), bytes);
        }
    }

    /// What lies in a folder of the client.
    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let file = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        };
        entries.map(|entry| file(entry.unwrap())).collect()
    }

    fn downloaded(&self) -> Vec<Vec<u8>> {
        self.files("targets").into_values().collect()
    }
}

/// How the client ended.
struct Outcome(Output);

impl Outcome {
    #[track_caller]
    fn good(&self) {
        assert!(self.0.status.success(), "{}", String::from_utf8_lossy(&self.0.stderr));
    }

    #[track_caller]
    fn refused(&self, why: &str) {
        let said = String::from_utf8_lossy(&self.0.stderr);
        assert_eq!(self.0.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

const FIRST_REFRESH: [&str; 4] = [
    "/metadata/2.root.json",
    "/metadata/timestamp.json",
    "/metadata/1.snapshot.json",
    "/metadata/1.targets.json",
];

#[test]
fn a_refresh_asks_for_each_file_once_and_keeps_its_bytes() {
    let world = World::new();
    world.refresh().good();
    assert_eq!(world.web.requests(), FIRST_REFRESH);
    let kept = world.files("metadata");
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        ["root.json", "snapshot.json", "targets.json", "timestamp.json"]
    );
    let served: BTreeMap<_, _> = world.repository.files().into_iter().collect();
    assert_eq!(kept["timestamp.json"], served["timestamp.json"]);
    assert_eq!(kept["targets.json"], served["1.targets.json"]);
}

#[test]
fn a_first_root_that_is_none_or_not_signed_fails_before_any_request() {
    let mut unsigned = Repository::new();
    unsigned.root_keys = vec![Key::ed25519(9)];
    let mut without_version = Repository::new();
    without_version.root.as_object_mut().unwrap().remove("version");
    for repository in [unsigned, without_version] {
        let world = World::with(repository);
        world.refresh().refused("root.json refused");
        assert_eq!(world.web.requests(), [""; 0]);
    }
}

#[test]
fn a_download_refreshes_first() {
    let world = World::new();
    world.download(&["missing"]).refused("not listed by any role");
    assert_eq!(world.web.requests(), FIRST_REFRESH);
    assert_eq!(world.files("metadata").len(), 4);
}

#[test]
fn role_names_are_encoded_in_urls_and_stay_in_their_folder() {
    for (role, encoded) in [
        ("?", "%3F"),
        ("#", "%23"),
        ("/delegatedrole", "%2Fdelegatedrole"),
        ("../delegatedrole", "..%2Fdelegatedrole"),
    ] {
        let mut world = World::new();
        world.repository.delegate(role, encoded);
        world.download(&["missing"]).refused("not listed by any role");
        let requests = world.web.requests();
        assert_eq!(requests.last().unwrap(), &format!("/metadata/1.{encoded}.json"));
        assert!(world.files("metadata").contains_key(&format!("{encoded}.json")));
        assert_eq!(world.files("metadata").len(), 5);
    }
}

#[test]
fn a_target_is_stored_under_its_signed_content_and_fetched_once() {
    let mut world = World::new();
    world.repository.targets["targets"]["file"] = target(b"content", &["sha256"]);
    world.repository.targets["targets"]["a/b/file"] = target(b"nested", &["sha256"]);
    let (content, nested) = (hex::<sha2::Sha256>(b"content"), hex::<sha2::Sha256>(b"nested"));
    world.web.serve(&format!("/targets/{content}.file"), b"content".to_vec());
    world.web.serve(&format!("/targets/a/b/{nested}.file"), b"nested".to_vec());
    world.download(&["file", "a/b/file"]).good();
    assert_eq!(world.downloaded(), [b"nested".to_vec(), b"content".to_vec()]);
    world.download(&["file"]).good();
    let downloads = world.web.requests();
    let downloads = downloads.iter().filter(|path| path.starts_with("/targets/"));
    assert_eq!(downloads.count(), 2);
}

#[test]
fn content_that_was_not_signed_is_not_kept_and_ends_the_command() {
    let mut world = World::new();
    for name in ["short", "other", "endless", "right"] {
        world.repository.targets["targets"][name] = target(b"content", &["sha256"]);
    }
    let content = hex::<sha2::Sha256>(b"content");
    let serve = |name: &str, bytes: &[u8]| {
        world.web.serve(&format!("/targets/{content}.{name}"), bytes.to_vec());
    };
    serve("short", b"conten");
    serve("other", b"CONTENT");
    serve("endless", &vec![b'c'; 1 << 20]);
    serve("right", b"content");
    world.download(&["short", "right"]).refused("does not have its signed length");
    world.download(&["other", "right"]).refused("does not have its signed hash");
    world.download(&["endless", "right"]).refused("does not have its signed length");
    assert_eq!(world.downloaded(), Vec::<Vec<u8>>::new());
    world.download(&["right", "other"]).refused("does not have its signed hash");
    assert_eq!(world.downloaded(), [b"content"]);
}

#[test]
fn a_target_that_changes_is_fetched_anew_and_never_without_its_metadata() {
    let mut world = World::new();
    for version in 1_u8..=5 {
        let bytes = [b'v', version];
        world.repository.release();
        world.repository.targets["targets"]["file"] = target(&bytes, &["sha256"]);
        let url = format!("/targets/{}.file", hex::<sha2::Sha256>(&bytes));
        world.web.serve(&url, bytes.to_vec());
        world.download(&["file"]).good();
        world.web.serve(&url, b"mv".to_vec());
        world.download(&["file"]).good();
        assert_eq!(world.downloaded(), [bytes]);
    }
}

#[test]
fn every_hash_we_know_is_enough_and_one_we_do_not_know_is_not() {
    for hashes in [&["sha256"][..], &["sha512"], &["sha256", "sha512"]] {
        let mut world = World::new();
        world.repository.targets["targets"]["file"] = target(b"content", hashes);
        let hash = match hashes {
            ["sha512"] => hex::<sha2::Sha512>(b"content"),
            _ => hex::<sha2::Sha256>(b"content"),
        };
        world.web.serve(&format!("/targets/{hash}.file"), b"content".to_vec());
        world.download(&["file"]).good();
        assert_eq!(world.downloaded(), [b"content"]);
    }
    let mut world = World::new();
    world.repository.targets["targets"]["file"] = json!({"length": 7, "hashes": {"unknown": "00"}});
    world.download(&["file"]).refused("`hashes` is missing or not understood");
}

#[test]
fn keys_of_every_kind_in_the_specification_count_and_their_wrong_signatures_do_not() {
    for key in [Key::rsa(), Key::p256(9), Key::ed25519(9)] {
        let mut world = World::new();
        world.repository.add_root_key(key);
        world.refresh().good();
        let kept = world.files("metadata");
        assert!(String::from_utf8_lossy(&kept["root.json"]).contains(r#""version":2"#));
        world.repository.next_root();
        let right = world.repository.root_file();
        // Both keys must sign; the last one signs something else.
        let mut file: serde_json::Value = serde_json::from_slice(&right).unwrap();
        let old: serde_json::Value = serde_json::from_slice(&kept["root.json"]).unwrap();
        file["signatures"][1] = old["signatures"][1].clone();
        world.publish();
        world.web.serve("/metadata/3.root.json", file.to_string().into_bytes());
        let url = world.web.url("metadata");
        world.run(&["--metadata-url", &url, "refresh"]).refused("signed by too few of its keys");
        assert_eq!(world.files("metadata")["root.json"], kept["root.json"]);
    }
}
