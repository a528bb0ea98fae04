//! Metadata with one byte changed and signed anew, against python-tuf's reading of it.

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use waxwing_tuf::json::Value;
use waxwing_tuf::role::{Header, Signers, Snapshot, Timestamp};
use waxwing_tuf::verify::{verify, verify_targets};

use crate::documents::changed;
use crate::strangers::{amount, python};
use crate::support::{hex, key, key_id, key_json, public};

/// How many files are compared with python-tuf.
const FILES: usize = 2_000;

/// Files of every role but root, which would have to be signed by a key it names itself.
const PARTS: [&[u8]; 4] = [
    include_bytes!("../data/timestamp.json"),
    include_bytes!("../data/1.snapshot.json"),
    include_bytes!("../data/1.targets.json"),
    include_bytes!("../data/1.acme-th1-stable.json"),
];

#[test]
fn metadata_that_we_accept_is_read_alike_by_python_tuf() {
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::sample::select(PARTS.map(part).to_vec()).prop_flat_map(changed);
    let mut sample = |_| strategy.new_tree(&mut runner).unwrap().current();
    let parts: Vec<Vec<u8>> = (0..amount(FILES)).map(&mut sample).collect();
    let files: Vec<Vec<u8>> = parts.iter().filter_map(|part| signed(part)).collect();
    let theirs = ask_python(&files);
    let mut agreed = 0;
    for (file, theirs) in files.iter().zip(&theirs) {
        let Some(ours) = accepted(file) else { continue };
        // It may refuse what we accept: other fields than ours. Reading them otherwise is a fault.
        if theirs != "refused" {
            assert_eq!(&ours, theirs, "{}", String::from_utf8_lossy(file));
            agreed += 1;
        }
    }
    // Most changes make a file that is no metadata any more.
    assert!(agreed > parts.len() / 6, "only {agreed} files were accepted at all");
}

fn ask_python(files: &[Vec<u8>]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("files");
    let mut key = key_json(1);
    key["keyid"] = key_id(1).into();
    let lines: Vec<String> = files.iter().map(|file| hex(file)).collect();
    std::fs::write(&file, format!("{key}\n{}", lines.join("\n"))).unwrap();
    let theirs: Vec<String> = python("metadata.py", &file).lines().map(str::to_owned).collect();
    assert_eq!(theirs.len(), files.len());
    theirs
}

/// The signed part of a file.
fn part(file: &[u8]) -> Vec<u8> {
    let file = Value::parse(file).unwrap();
    file.field("signed").unwrap().as_raw().as_bytes().to_vec()
}

/// A file with this signed part, byte for byte; `None` if it is nothing that could be signed.
fn signed(part: &[u8]) -> Option<Vec<u8>> {
    use ed25519_dalek::Signer as _;

    let mut message = Vec::new();
    Value::parse(part).ok()?.canonical(&mut |piece| message.extend_from_slice(piece));
    let signature = hex(&key(1).sign(&message).to_bytes());
    let id = key_id(1);
    let head = format!(r#"{{"signatures":[{{"keyid":"{id}","sig":"{signature}"}}],"signed":"#);
    Some([head.as_bytes(), part, b"}"].concat())
}

/// What we read in a file that we accept.
fn accepted(file: &[u8]) -> Option<String> {
    let signers = Signers::new(1, vec![(key_id(1), public(1))]);
    let line = |kind: &str, header: Header| {
        format!("{kind} {} {}", header.version, header.expires.as_seconds())
    };
    let timestamp =
        verify::<Timestamp>(file, &signers, None).map(|it| line("timestamp", it.header));
    let snapshot = verify::<Snapshot>(file, &signers, None).map(|it| line("snapshot", it.header));
    let targets =
        verify_targets(file.to_vec(), &signers, None).map(|it| line("targets", it.header));
    timestamp.or(snapshot).or(targets).ok()
}
