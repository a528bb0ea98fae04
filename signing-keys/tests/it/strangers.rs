//! What we write, read by python-tuf.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::Match;
use waxwing_tuf::author::director::{Assignment, snapshot, targets, timestamp};
use waxwing_tuf::uptane::Deferrable;
use waxwing_wire::Digest;

use crate::ceremony::{NEXT, ROTATE, director_root};
use crate::common::{Ceremony, ROOT, delegate};

const TARGET: &str = "acme-th1/stable/1.0.0/esp32c3.bin";

#[test]
fn python_tuf_downloads_a_release_and_follows_a_new_root() {
    let ceremony = Ceremony::published();
    ceremony.run(&delegate("beta", "1:dave.pub.json")).good();
    ceremony.run(&ROTATE[..]).good();
    for key in ["alice", "bob", "dave"] {
        ceremony.sign(NEXT, key).good();
    }
    for (file, key) in [("targets", "at"), ("targets", "bt"), ("acme-th1-beta", "dave")] {
        ceremony.sign(&format!("acme-th1/metadata/{file}.json"), key).good();
    }
    ceremony.publish(&[]).good();
    let image = ceremony.bytes("1.0.0.bin");
    let hash = Digest(Sha256::digest(&image).into());
    let ran = ngclient(&ceremony.path("acme-th1"), &ceremony.path(ROOT), &[TARGET]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let expected = format!("{TARGET} {} {hash}\n", image.len());
    assert_eq!(String::from_utf8_lossy(&ran.stdout), expected);
}

#[test]
fn python_tuf_refuses_what_we_refuse() {
    let ceremony = Ceremony::published();
    let role = "acme-th1/metadata/1.acme-th1-stable.json";
    ceremony.edit(role, "\"security_version\":1", "\"security_version\":9");
    let ran = ngclient(&ceremony.path("acme-th1"), &ceremony.path(ROOT), &[TARGET]);
    assert!(!ran.status.success());
}

#[test]
fn python_tuf_reads_what_the_director_signs() {
    let ceremony = Ceremony::new();
    let online = director_root(&ceremony);
    let device = "d-1";
    let image = b"not looked at by anybody here";
    let assignment = Assignment {
        path: TARGET,
        length: u64::try_from(image.len()).unwrap(),
        sha256: Sha256::digest(image).into(),
        r#match: &release(),
        deploy: "r-1",
        soak_s: 60,
        deferrable: Deferrable::default(),
        chunks: None,
    };
    let decided_ms = now_ms(&ceremony);
    let write = |name: &str, bytes: Vec<u8>| ceremony.write(&format!("director/{name}"), bytes);
    let version = decided_ms;
    let signed = targets(&online, device, Some(assignment), None, version).unwrap();
    write(&format!("metadata/{version}.targets.json"), signed);
    let signed = snapshot(&online, version).unwrap();
    write(&format!("metadata/{version}.snapshot.json"), signed);
    let signed = timestamp(&online, device, &[7; 16], decided_ms + 5, version).unwrap();
    write("metadata/timestamp.json", signed);
    let folder = TARGET.rsplit_once('/').unwrap().0;
    write(&format!("targets/{folder}/{}.esp32c3.bin", Digest(assignment.sha256)), image.to_vec());
    let root = ceremony.path("director/metadata/1.root.json");
    let ran = ngclient(&ceremony.path("director"), &root, &[TARGET]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn release() -> Match {
    Match {
        chip: "esp32c3".to_owned(),
        hw: vec!["r1".parse().unwrap()],
        kind: "app".to_owned(),
        secure_version: 0,
        security_version: 1,
        version: "1.0.0".parse().unwrap(),
    }
}

/// The time at which the program wrote the Director's root, in Unix milliseconds.
fn now_ms(ceremony: &Ceremony) -> u64 {
    let file = ceremony.path("director/metadata/1.root.json");
    let written = fs::metadata(file).unwrap().modified().unwrap();
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn ngclient(repository: &Path, first_root: &Path, targets: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/ngclient.py");
    let mut command = Command::new(python());
    command.arg(script).arg(repository).arg(first_root).args(targets).output().unwrap()
}

fn python() -> std::ffi::OsString {
    std::env::var_os("WAXWING_PYTHON").expect(
        "WAXWING_PYTHON must name a Python interpreter with tuf 7.0.0; \
         `cargo xtask test` installs one and sets it",
    )
}
