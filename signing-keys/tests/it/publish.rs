//! Releases and publishing with the real program, up to a device's own client.
use crate::common::{Ceremony, ROOT, STABLE, TARGETS, app, delegate};
use sha2::{Digest as _, Sha256};
use waxwing_esp_image::Chip;
use waxwing_tuf::client::{Limits, Repository};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::{MemoryStore, Time};
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Bundle, Kind};

/// A moment at which everything that these tests sign is valid: now, give or take a day.
fn soon(ceremony: &Ceremony) -> Time {
    let timestamp: serde_json::Value =
        serde_json::from_slice(&ceremony.bytes("acme-th1/metadata/timestamp.json")).unwrap();
    let expires = Time::parse(timestamp["signed"]["expires"].as_str().unwrap()).unwrap();
    Time::from_seconds(expires.as_seconds() - 29 * 86_400)
}

/// What a device that knows only the first root finds in a bundle.
fn paths(ceremony: &Ceremony, bundle: &str) -> Vec<String> {
    let bytes = ceremony.bytes(bundle);
    let bundle = Bundle::parse(&bytes).unwrap();
    assert!(bundle.frames.iter().all(|frame| frame.kind == Kind::Image));
    let mut fetch: MemoryStore = bundle.frames.iter().map(|f| (f.name, f.bytes)).collect();
    let root = ceremony.bytes(ROOT);
    let limits = Limits::DEVICE_IMAGE;
    let mut client =
        Repository::open(MemoryStore::new(), &root, Some("image/acme-th1"), limits).unwrap();
    let now = soon(ceremony);
    client.refresh(&mut fetch, now).unwrap();
    let roles = client.all_targets(&mut fetch, now).unwrap();
    roles.iter().flat_map(|role| &role.targets).map(|target| target.path.clone()).collect()
}

#[test]
fn what_is_published_is_what_a_device_finds() {
    let ceremony = Ceremony::signed();
    ceremony.publish(&["-o", "bundle"]).good();
    assert_eq!(paths(&ceremony, "bundle"), ["acme-th1/stable/1.0.0/esp32c3.bin"]);
    let image = ceremony.path("acme-th1/targets/acme-th1/stable/1.0.0");
    let image = std::fs::read_dir(image).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read(image.path()).unwrap(), ceremony.bytes("1.0.0.bin"));
}

#[test]
fn publishing_again_changes_nothing_and_needs_no_key() {
    let ceremony = Ceremony::published();
    let before = ceremony.metadata();
    ceremony.run(&["publish", "--dir", "acme-th1"]).good();
    ceremony.publish(&[]).good();
    assert_eq!(ceremony.metadata(), before);
}

#[test]
fn a_refresh_signs_snapshot_and_timestamp_anew_and_nothing_else() {
    let ceremony = Ceremony::published();
    let before = ceremony.metadata();
    ceremony.publish(&["--refresh", "-o", "bundle"]).good();
    let changed: Vec<_> = ceremony.metadata();
    let changed =
        changed.iter().filter(|file| !before.contains(file)).map(|(name, _)| name.as_str());
    assert_eq!(changed.collect::<Vec<_>>(), ["2.snapshot.json", "timestamp.json"]);
    assert_eq!(paths(&ceremony, "bundle").len(), 1);
}

#[test]
fn a_removed_release_is_gone_for_devices() {
    let ceremony = Ceremony::published();
    let path = "acme-th1/stable/1.0.0/esp32c3.bin";
    let remove = ["release", "remove", "--dir", "acme-th1", "--role", "acme-th1-stable"];
    let missing = [&remove[..], &["acme-th1/stable/0.9.0/esp32c3.bin"]].concat();
    ceremony.run(&missing).refused("0.9.0/esp32c3.bin is not listed");
    ceremony.run(&[&remove[..], &[path]].concat()).good();
    ceremony.publish(&[]).refused("a device would refuse this repository");
    let shown = ceremony.run(&["check", STABLE]);
    assert!(String::from_utf8_lossy(&shown.0.stdout).contains(&format!("- target {path}: ")));
    ceremony.sign(STABLE, "ar").good();
    ceremony.sign(STABLE, "br").good();
    ceremony.run(&["publish", "--dir", "acme-th1"]).refused("name --snapshot-key");
    ceremony.publish(&["-o", "bundle"]).good();
    assert_eq!(paths(&ceremony, "bundle"), [""; 0]);
}

#[test]
fn an_unsigned_or_tampered_list_is_never_published() {
    let ceremony = Ceremony::delegated();
    ceremony.image("1.0.0.bin", "1.0.0", 0);
    ceremony.add("1.0.0").good();
    ceremony.sign(TARGETS, "at").good();
    ceremony.sign(TARGETS, "bt").good();
    ceremony.sign(STABLE, "ar").good();
    let before = ceremony.metadata();
    ceremony.publish(&[]).refused("a device would refuse this repository");
    ceremony.sign(STABLE, "br").good();
    let signed = ceremony.bytes(STABLE);
    ceremony.edit(STABLE, "\"security_version\":1", "\"security_version\":9");
    ceremony.publish(&[]).refused("a device would refuse this repository");
    ceremony.run(&["check", STABLE]).refused("not a file that devices would trust");
    ceremony.write(STABLE, &signed);
    ceremony.edit(STABLE, "\"version\":\"1.0.0\"", "\"version\":\"1.0.0\",\"x\":1");
    ceremony.publish(&[]).refused("no metadata that this program understands");
    // Nothing but the role file itself was touched by the refusals.
    let after = ceremony.metadata();
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
}

#[test]
fn a_published_version_never_changes() {
    let ceremony = Ceremony::published();
    ceremony.edit(STABLE, "\"security_version\":1", "\"security_version\":9");
    ceremony.publish(&[]).refused("was changed after its version was published");
    let ceremony = Ceremony::published();
    ceremony.run(&["renew", "acme-th1-stable", "--dir", "acme-th1"]).good();
    ceremony.sign(STABLE, "ar").good();
    ceremony.sign(STABLE, "br").good();
    ceremony.publish(&[]).good();
    ceremony.write(STABLE, ceremony.bytes("acme-th1/metadata/1.acme-th1-stable.json"));
    ceremony.publish(&[]).refused("is older than version 2, which was published");
}

#[test]
fn a_late_signature_does_not_change_what_was_published() {
    let ceremony = Ceremony::published();
    let before = ceremony.bytes("acme-th1/metadata/1.acme-th1-stable.json");
    ceremony.run(&["renew", "targets", "--dir", "acme-th1"]).good();
    ceremony.sign(TARGETS, "at").good();
    ceremony.sign(TARGETS, "bt").good();
    ceremony.sign(STABLE, "ar").good();
    ceremony.publish(&[]).good();
    assert_eq!(ceremony.bytes("acme-th1/metadata/1.acme-th1-stable.json"), before);
}

#[test]
fn files_without_seven_days_of_life_are_not_published() {
    let ceremony = Ceremony::signed();
    ceremony.run(&["renew", "acme-th1-stable", "--dir", "acme-th1", "--expires", "6d"]).good();
    ceremony.sign(STABLE, "ar").good();
    ceremony.sign(STABLE, "br").good();
    ceremony.publish(&[]).refused("in less than 7 days; `waxwing-keys renew acme-th1-stable`");
}

#[test]
fn a_repository_whose_root_expires_within_seven_days_is_not_published() {
    let ceremony = Ceremony::signed();
    let next = "acme-th1/metadata/2.root.json";
    ceremony.run(&["root", "rotate", "--from", ROOT, "--expires", "6d", "-o", next]).good();
    ceremony.sign(next, "alice").good();
    ceremony.sign(next, "bob").good();
    ceremony.publish(&[]).refused("2.root.json expires at");
}

#[test]
fn a_missing_or_changed_image_is_not_published() {
    let ceremony = Ceremony::signed();
    let folder = ceremony.path("acme-th1/targets/acme-th1/stable/1.0.0");
    let image = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&image).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&image, bytes).unwrap();
    ceremony.publish(&[]).refused("is not the image that its name says");
    std::fs::remove_file(&image).unwrap();
    ceremony.publish(&[]).refused("cannot read");
    assert!(!ceremony.path("acme-th1/metadata/timestamp.json").exists());
}

#[test]
fn an_image_that_is_not_what_its_definition_says_is_refused() {
    let ceremony = Ceremony::delegated();
    let good = app(Chip::Esp32c3, "1.0.0", "acme-th1", 0, 4096);
    let mut flipped = good.clone();
    flipped[1000] ^= 1;
    for (image, reason) in [
        (app(Chip::Esp32s3, "1.0.0", "acme-th1", 0, 4096), "image is for esp32s3"),
        (app(Chip::Esp32c3, "1.0.1", "acme-th1", 0, 4096), "1.0.1"),
        (app(Chip::Esp32c3, "1.0.0", "acme-th2", 0, 4096), "acme-th2"),
        (app(Chip::Esp32c3, "1.0.0", "acme-th1", 17, 4096), "17"),
        (app(Chip::Esp32c3, "1.0.0", "acme-th1", 0, 65_536), "65536"),
        (flipped, "the file is no app image"),
        (good[..good.len() - 1].to_vec(), "the file is no app image"),
        (Vec::new(), "the file is no app image"),
    ] {
        ceremony.write("1.0.0.bin", image);
        let before = ceremony.bytes(STABLE);
        ceremony.add("1.0.0").refused(reason);
        assert_eq!(ceremony.bytes(STABLE), before);
    }
}

#[test]
fn images_built_elsewhere_are_taken_where_the_product_says_so() {
    let ceremony = Ceremony::delegated();
    ceremony.write("1.0.0.bin", app(Chip::Esp32c3, "v5.1-dirty", "hello_world", 0, 4096));
    ceremony.add("1.0.0").refused("the image does not fit its definition");
    let product = ceremony.text("releases/acme-th1/product.toml");
    let ignore = "image_version = \"ignore\"\nimage_project = \"ignore\"\n";
    ceremony.write("releases/acme-th1/product.toml", product + ignore);
    ceremony.add("1.0.0").good();
}

#[test]
fn a_version_is_released_once_and_only_to_channels_that_exist() {
    let ceremony = Ceremony::signed();
    ceremony.add("1.0.0").refused("is listed already; a new image needs a new version");
    ceremony.define("1.1.0", "beta", 1);
    ceremony.image("1.1.0.bin", "1.1.0", 0);
    ceremony.add("1.1.0").refused("the repository has no role `acme-th1-beta`");
    ceremony.define("1.2.0", "nightly", 1);
    ceremony.add("1.2.0").refused("is not a good definition");
}

#[test]
fn releases_of_one_security_version_share_one_efuse_version_across_channels() {
    let ceremony = Ceremony::signed();
    ceremony.run(&delegate("beta", "1:dave.pub.json")).good();
    for channel in ["stable", "beta"] {
        ceremony.define("1.1.0", channel, 1);
        ceremony.image("1.1.0.bin", "1.1.0", 1);
        ceremony.add("1.1.0").refused("carry both secure_version");
    }
    ceremony.define("1.1.0", "beta", 2);
    ceremony.add("1.1.0").good();
}

#[test]
fn no_more_releases_are_listed_than_a_device_has_room_for() {
    let ceremony = Ceremony::delegated();
    for patch in 0..24 {
        let version = format!("1.0.{patch}");
        ceremony.define(&version, "stable", 1);
        ceremony.image(&format!("{version}.bin"), &version, 0);
        ceremony.add(&version).good();
    }
    ceremony.define("1.1.0", "stable", 1);
    ceremony.image("1.1.0.bin", "1.1.0", 0);
    ceremony.add("1.1.0").refused("25 releases are listed, at most 24 may be");
    for (file, key) in [(STABLE, "br"), (TARGETS, "at"), (STABLE, "ar"), (TARGETS, "bt")] {
        ceremony.sign(file, key).good();
    }
    ceremony.publish(&["-o", "bundle"]).good();
    assert_eq!(paths(&ceremony, "bundle").len(), 24);
}

#[test]
fn a_list_too_long_for_a_device_is_refused() {
    let ceremony = Ceremony::delegated();
    let revisions: Vec<_> = (0..60).map(|n| format!("\"{n}-{}\"", "r".repeat(60))).collect();
    for patch in 0..4 {
        let version = format!("1.0.{patch}");
        ceremony.define(&version, "stable", 1);
        let hardware = format!("hardware = [{}]", revisions.join(", "));
        ceremony.edit("releases/acme-th1/product.toml", "hardware = [\"r1\"]", &hardware);
        ceremony.image(&format!("{version}.bin"), &version, 0);
        if patch < 3 {
            ceremony.add(&version).good();
        } else {
            ceremony.add(&version).refused("bytes with signatures, at most 16384 are allowed");
        }
    }
}

#[test]
fn a_definition_without_an_image_wants_one_named() {
    let ceremony = Ceremony::delegated();
    ceremony.edit("releases/acme-th1/1.0.0.toml", "image = \"1.0.0.bin\"\n", "");
    ceremony.add("1.0.0").refused("name it with --file");
}

#[test]
fn a_release_of_another_product_is_refused() {
    let ceremony = Ceremony::delegated();
    ceremony.image("1.0.0.bin", "1.0.0", 0);
    ceremony.edit(STABLE, "image/acme-th1", "image/acme-th2");
    ceremony.add("1.0.0").refused("the list belongs to repository image/acme-th2");
}

#[test]
fn a_delegated_role_without_a_file_is_not_published() {
    let ceremony = Ceremony::signed();
    std::fs::remove_file(ceremony.path(STABLE)).unwrap();
    ceremony.publish(&[]).refused("acme-th1-stable.json is missing");
}

/// Signs a change that `release add` would not have made.
fn signed_by_hand(file: &str, from: &str, to: &str) -> Ceremony {
    let ceremony = Ceremony::signed();
    ceremony.edit(file, from, to);
    for key in if file == STABLE { ["ar", "br"] } else { ["at", "bt"] } {
        ceremony.sign(file, key).good();
    }
    ceremony
}

#[test]
fn a_release_outside_its_channel_is_not_published() {
    let ceremony = signed_by_hand(STABLE, "acme-th1/stable/1.0.0/", "acme-th1/beta/1.0.0/");
    let targets = ceremony.path("acme-th1/targets/acme-th1");
    std::fs::rename(targets.join("stable"), targets.join("beta")).unwrap();
    ceremony.publish(&[]).refused("acme-th1/beta/1.0.0/esp32c3.bin, which is not delegated to it");
}

#[test]
fn a_path_that_two_roles_list_is_not_published() {
    let image = app(Chip::Esp32c3, "1.0.0", "acme-th1", 0, 512);
    let hash = Digest(Sha256::digest(&image).into());
    let other = format!(
        r#""targets":{{"acme-th1/stable/1.0.0/esp32c3.bin":{{"hashes":{{"sha256":"{hash}"}},"length":{}}}}}"#,
        image.len()
    );
    let ceremony = signed_by_hand(TARGETS, "\"targets\":{}", &other);
    ceremony.write(&format!("acme-th1/targets/acme-th1/stable/1.0.0/{hash}.esp32c3.bin"), image);
    ceremony.publish(&[]).refused("two roles list it");
}

#[test]
fn a_path_that_leads_out_of_the_folder_is_not_looked_at() {
    for path in ["acme-th1/stable/../", "acme-th1//1.0.0/", "/stable/1.0.0/"] {
        let ceremony = signed_by_hand(STABLE, "acme-th1/stable/1.0.0/", path);
        ceremony.publish(&[]).refused("is no target path");
    }
}

/// CA certificates of P-256 in PEM, by openssl.
fn authorities(count: usize) -> String {
    let made = || {
        let output = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-subj", "/CN=server CA", "-keyout", "/dev/null"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    (0..count).map(|_| made()).collect()
}

#[test]
fn pins_of_the_server_are_signed_by_the_keyholders_of_targets_and_travel_with_the_metadata() {
    let ceremony = Ceremony::published();
    for (count, version) in [(2, 2), (1, 3)] {
        let pem = authorities(count);
        ceremony.write("server-ca.pem", &pem);
        let trust = ["trust", "server-ca", "--dir", "acme-th1", "--file", "server-ca.pem"];
        let said = ceremony.run(&trust).good();
        assert_eq!(said.matches("CN=server CA, serial number").count(), count, "{said}");
        ceremony.publish(&[]).refused("a device would refuse this repository");
        ceremony.sign(TARGETS, "at").good();
        ceremony.sign(TARGETS, "bt").good();
        ceremony.publish(&["-o", "bundle"]).good();
        let bytes = ceremony.bytes("bundle");
        let bundle = Bundle::parse(&bytes).unwrap();
        assert_eq!(bundle.find(Kind::Image, SERVER_CA_PATH), Some(pem.as_bytes()));
        assert!(bundle.find(Kind::Image, &format!("{version}.targets.json")).is_some());
        assert!(paths(&ceremony, "bundle").contains(&SERVER_CA_PATH.to_owned()));
    }
}

#[test]
fn a_file_with_a_key_in_it_never_becomes_pins() {
    let ceremony = Ceremony::published();
    let before = ceremony.metadata();
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    ceremony.write("server-ca.pem", authorities(1) + key);
    let trust = ["trust", "server-ca", "--dir", "acme-th1", "--file", "server-ca.pem"];
    ceremony.run(&trust).refused("PRIVATE KEY");
    assert_eq!(ceremony.metadata(), before);
}
