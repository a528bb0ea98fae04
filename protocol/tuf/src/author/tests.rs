//! What the author writes, read by the verifier that devices run.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::json::Value;
use crate::role::{self, Signers};
use crate::time::Time;
use crate::verify::{Verified, verify, verify_next_root, verify_targets, verify_trusted_root};

/// 2026-11-20T09:30:00Z.
const NOW: Time = Time::from_seconds(1_795_167_000);
const REPO: &str = "image/acme-th1";

fn ed25519(seed: u8) -> SecretKey {
    SecretKey::from_seed(Algorithm::Ed25519, &[seed; SEED_BYTES]).unwrap()
}

fn p256(seed: u8) -> SecretKey {
    SecretKey::from_seed(Algorithm::EcdsaP256, &[seed; SEED_BYTES]).unwrap()
}

fn role_keys(keys: &[&SecretKey], threshold: u32) -> RoleKeys {
    RoleKeys { keyids: keys.iter().map(|key| key.key_id().to_owned()).collect(), threshold }
}

fn root(version: u64, keys: &[&SecretKey], threshold: u32) -> Metadata {
    let all = keys.iter().map(|key| (key.key_id().to_owned(), Key::from(key.public())));
    let one = role_keys(&keys[..1], 1);
    Metadata::Root(Root {
        consistent_snapshot: true,
        expires: expiry(NOW, Duration::from_hours(24)),
        keys: all.collect(),
        repo: Repo::Image("acme-th1".into()),
        roles: RootRoles {
            root: role_keys(keys, threshold),
            snapshot: one.clone(),
            targets: one.clone(),
            timestamp: one,
        },
        spec_version: SpecVersion::default(),
        version,
    })
}

fn signed(metadata: &Metadata, keys: &[&SecretKey]) -> Vec<u8> {
    let mut file = SignedFile::unsigned(metadata).unwrap();
    for key in keys {
        // Each holder gets the file as bytes and hands on bytes.
        file = SignedFile::parse(&file.to_bytes().unwrap()).unwrap();
        file.sign(*key).unwrap();
    }
    file.to_bytes().unwrap()
}

fn release(security_version: u32, secure_version: u32) -> Match {
    Match {
        chip: "esp32c3".into(),
        hw: vec!["r1".into(), "r2".into()],
        kind: "app".into(),
        secure_version,
        security_version,
        version: "1.4.2".parse().unwrap(),
    }
}

fn target(release: Match) -> Target {
    let custom = Some(TargetCustom::image(release));
    Target { custom, hashes: Hashes { sha256: [7; 32] }, length: 1_048_576 }
}

fn channel_role(targets: impl IntoIterator<Item = (String, Target)>) -> Targets {
    Targets {
        custom: None,
        delegations: None,
        expires: NOW,
        repo: Repo::Image("acme-th1".into()),
        spec_version: SpecVersion::default(),
        targets: targets.into_iter().collect(),
        version: 9,
    }
}

#[test]
fn keyholders_sign_in_any_order_with_either_kind_of_key() {
    let (a, b, c) = (ed25519(1), p256(2), ed25519(3));
    let root = root(1, &[&a, &b, &c], 2);
    for signers in [[&a, &b], [&b, &a], [&c, &b], [&a, &c]] {
        let bytes = signed(&root, &signers);
        assert_eq!(verify_trusted_root(&bytes, Some(REPO)).unwrap().header.version, 1);
    }
}

#[test]
fn one_key_signing_twice_counts_once() {
    let (a, b) = (ed25519(1), p256(2));
    let bytes = signed(&root(1, &[&a, &b], 2), &[&a, &a]);
    assert_eq!(SignedFile::parse(&bytes).unwrap().signatures().len(), 1);
    assert!(verify_trusted_root(&bytes, Some(REPO)).is_err());
}

#[test]
fn whoever_collects_signatures_counts_them_as_devices_do() {
    let (a, b) = (ed25519(1), p256(2));
    let file = SignedFile::parse(&signed(&root(1, &[&a, &b], 2), &[&a])).unwrap();
    let is_signed = |threshold, keys: &[&SecretKey]| {
        let keys = keys.iter().map(|key| (key.key_id(), key.public().clone())).collect();
        file.is_signed_by_threshold(&Signers::new(threshold, keys)).unwrap()
    };
    assert!(is_signed(1, &[&a, &b]));
    assert!(!is_signed(2, &[&a, &b]));
    assert!(!is_signed(2, &[&a, &a]), "a key that is listed twice is one");
    assert!(!is_signed(0, &[&a]));
}

#[test]
fn the_next_root_needs_the_old_and_the_new_quorum() {
    let (a, b, c) = (ed25519(1), p256(2), ed25519(3));
    let old = signed(&root(1, &[&a], 1), &[&a]);
    let old = verify_trusted_root(&old, Some(REPO)).unwrap();
    let new = root(2, &[&b, &c], 2);
    for (signers, enough) in
        [(vec![&a, &b, &c], true), (vec![&b, &c], false), (vec![&a, &b], false), (vec![&a], false)]
    {
        assert_eq!(verify_next_root(&signed(&new, &signers), &old, Some(REPO)).is_ok(), enough);
    }
}

#[test]
fn a_changed_byte_takes_a_signature_away_and_signing_keeps_the_bytes_others_signed() {
    let (a, b) = (ed25519(1), p256(2));
    let bytes = signed(&root(1, &[&a, &b], 2), &[&a]);
    // Spaces and unknown fields of another author survive: they are part of what was signed.
    let text = String::from_utf8(bytes).unwrap();
    let spaced = text.replace("\"_type\":", " \"_type\" :  ");
    let mut file = SignedFile::parse(spaced.as_bytes()).unwrap();
    assert!(file.is_signed_by(a.public()).unwrap());
    file.sign(&b).unwrap();
    assert!(String::from_utf8(file.to_bytes().unwrap()).unwrap().contains(" \"_type\" :  "));
    let tampered = text.replace("\"version\":1", "\"version\":2");
    let file = SignedFile::parse(tampered.as_bytes()).unwrap();
    assert!(!file.is_signed_by(a.public()).unwrap());
    assert!(!file.is_signed_by(b.public()).unwrap());
}

#[test]
fn signatures_of_strangers_are_dropped_on_demand() {
    let (a, b) = (ed25519(1), p256(2));
    let bytes = signed(&root(1, &[&a], 1), &[&a, &b]);
    let mut file = SignedFile::parse(&bytes).unwrap();
    file.retain_signatures_of(&[a.public().clone()]).unwrap();
    assert_eq!(file.signatures().len(), 1);
    assert!(file.is_signed_by(a.public()).unwrap());
}

#[test]
fn files_this_program_does_not_understand_in_full_are_not_edited() {
    let a = ed25519(1);
    let text = String::from_utf8(signed(&root(1, &[&a], 1), &[])).unwrap();
    let extra = text.replace("\"version\":1", "\"version\":1,\"x\":0");
    let file = SignedFile::parse(extra.as_bytes()).unwrap();
    assert!(matches!(file.metadata(), Err(Error::Json(_))));
    for bad in ["", "{}", "[]", r#"{"signed":{},"signatures":[],"x":1}"#] {
        assert!(SignedFile::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let many = vec![json!({"keyid": "", "sig": ""}); SIGNATURES_MAX + 1];
    let many = json!({"signatures": many, "signed": {}}).to_string();
    assert!(matches!(SignedFile::parse(many.as_bytes()), Err(Error::Signatures)));
}

#[test]
fn secret_keys_survive_pkcs8() {
    for key in [ed25519(1), p256(2)] {
        let again = SecretKey::from_pkcs8_der(&key.to_pkcs8_der().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.sign(b"m"), key.sign(b"m"));
    }
    assert!(matches!(SecretKey::from_pkcs8_der(b"no"), Err(Error::Pkcs8)));
    assert!(matches!(P256Signer::from_seed(&[0; SEED_BYTES]), Err(Error::Seed)));
    assert!(matches!(P256Signer::from_seed(&[255; SEED_BYTES]), Err(Error::Seed)));
}

#[test]
fn a_fingerprint_is_six_words_that_belong_to_the_key_beside_them() {
    insta::assert_snapshot!(fingerprint(ed25519(1).public()), @"kingdom remind brass grain notable cereal");
    insta::assert_snapshot!(fingerprint(p256(1).public()), @"title detail shaft love ugly violin");
    let file = PublicKeyFile::of(&p256(1), "alice").to_bytes().unwrap();
    assert_eq!(PublicKeyFile::parse(&file).unwrap().public().unwrap(), *p256(1).public());
    let forged = String::from_utf8(file).unwrap();
    let forged = forged.replace(&fingerprint(p256(1).public()), &fingerprint(p256(2).public()));
    assert!(matches!(PublicKeyFile::parse(forged.as_bytes()), Err(Error::Fingerprint)));
}

#[test]
fn a_diff_says_in_words_what_changes() {
    let (a, b, c) = (ed25519(1), p256(2), ed25519(3));
    let names = Names::from([(a.key_id().to_owned(), "alice".to_owned())]);
    let old = root(1, &[&a, &b], 1);
    insta::assert_snapshot!(diff(Some(&old), &root(2, &[&a, &c], 2), &names).join("\n"), @r#"
    + role root, key message pudding draft reunion dash bonus
    ~ role root, signatures needed: 1 of 2 -> 2 of 2
    ~ version: 1 -> 2
    - role root, key rude visit total bag note call
    "#);
    let everything = diff(None, &old, &names).join("\n");
    assert!(everything.contains("+ role root, key alice (kingdom remind "), "{everything}");
    let old = Metadata::Targets(channel_role([("old.bin".to_owned(), target(release(1, 0)))]));
    let new = Metadata::Targets(channel_role([("new.bin".to_owned(), target(release(2, 1)))]));
    insta::assert_snapshot!(diff(Some(&old), &new, &names).join("\n"), @r#"
    + target new.bin: version 1.4.2, security version 2, secure version 1, kind app, chip esp32c3, hardware r1 r2, 1048576 bytes, sha256 0707070707070707070707070707070707070707070707070707070707070707
    - target old.bin: version 1.4.2, security version 1, secure version 0, kind app, chip esp32c3, hardware r1 r2, 1048576 bytes, sha256 0707070707070707070707070707070707070707070707070707070707070707
    "#);
    assert_eq!(diff(Some(&new), &new, &names), [""; 0]);
}

#[test]
fn what_a_diff_quotes_cannot_pretend_to_be_more_than_one_line_nor_hide_one() {
    let path = "a\u{1b}[2J\r\n- target b\u{202e}nib.c";
    let new = Metadata::Targets(channel_role([(path.to_owned(), target(release(1, 0)))]));
    let lines = diff(None, &new, &Names::new());
    let line = lines.iter().find(|line| line.starts_with("+ target a")).unwrap();
    assert!(
        line.starts_with("+ target a\u{fffd}[2J\u{fffd}\u{fffd}- target b\u{fffd}nib.c: "),
        "{line:?}"
    );
}

#[test]
fn releases_of_one_security_version_share_one_efuse_version() {
    let role = |releases: &[(u32, u32)]| {
        let entry =
            |(at, one): (usize, &(u32, u32))| (at.to_string(), target(release(one.0, one.1)));
        channel_role(releases.iter().enumerate().map(entry))
    };
    assert_eq!(release::check(&role(&[(1, 0), (1, 0), (2, 1), (3, 1)])), Ok(()));
    let refusal = release::check(&role(&[(1, 0), (2, 1), (1, 1)]));
    let expected = release::ReleaseRefusal::SecureVersion { security_version: 1, one: 0, other: 1 };
    assert_eq!(refusal, Err(expected));
    let refusal = release::check(&role(&[(1, 2), (5, 1)]));
    let falls = release::ReleaseRefusal::SecureVersionFalls {
        security_version: 5,
        secure_version: 1,
        earlier: 1,
        burned: 2,
    };
    assert_eq!(refusal, Err(falls));
    assert_eq!(release::check(&role(&[(1, 0); release::RELEASES_PER_ROLE_MAX])), Ok(()));
    let refusal = release::check(&role(&[(1, 0); release::RELEASES_PER_ROLE_MAX + 1]));
    assert_eq!(refusal, Err(release::ReleaseRefusal::TooMany { listed: 25 }));
}

mod director_files {
    use super::*;
    use crate::author::director::{
        Assignment, WINDOW_MS, command, decision_version, snapshot, targets, timestamp,
    };

    const NOW_MS: u64 = NOW.as_millis() + 123;

    const DEVICE: &str = "d-1";

    fn signers(key: &SecretKey) -> Signers {
        Signers::new(1, vec![(key.key_id().to_owned(), key.public().clone())])
    }

    /// What is signed must be what is sent: both are the canonical form.
    #[track_caller]
    fn check_canonical(bytes: &[u8]) {
        let mut canonical = Vec::new();
        let file = Value::parse(bytes).unwrap();
        file.canonical(&mut |piece| canonical.extend_from_slice(piece));
        assert_eq!(String::from_utf8(canonical).unwrap(), std::str::from_utf8(bytes).unwrap());
    }

    #[track_caller]
    fn check<R: role::Role>(bytes: &[u8], key: &SecretKey) -> Verified<R> {
        check_canonical(bytes);
        verify(bytes, &signers(key), Some("director")).unwrap()
    }

    #[track_caller]
    fn check_targets(bytes: &[u8], key: &SecretKey) -> Verified<role::Targets> {
        check_canonical(bytes);
        verify_targets(bytes.to_vec(), &signers(key), Some("director")).unwrap()
    }

    #[test]
    fn a_timestamp_is_bound_to_device_nonce_and_time() {
        for key in [ed25519(1), p256(1)] {
            let bytes = timestamp(&key, DEVICE, &[9; 16], NOW_MS, 77).unwrap();
            let read = check::<role::Timestamp>(&bytes, &key);
            assert_eq!(read.header.version, NOW_MS);
            assert_eq!(read.header.expires, Time::from_seconds(NOW.as_seconds() + 600));
            assert_eq!(read.snapshot.version, 77);
            let attestation = read.attestation.clone().unwrap();
            assert_eq!(attestation.device, "d-1");
            assert_eq!(attestation.nonce, [9; 16]);
            assert_eq!(attestation.time, NOW);
        }
        let bytes = timestamp(&ed25519(1), DEVICE, &[9; 16], NOW_MS, 77).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r#"{"signatures":[{"keyid":"7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12","sig":"85861fe907af98f301e6b9cc169895ac9fa58c5b66a6d8f7788e84fb847a4bec184b654389dd3f2d196b5e8078fb5c227ab90db3cf5907288ba2809c3182a606"}],"signed":{"_type":"timestamp","custom":{"device":"d-1","nonce":"09090909090909090909090909090909","time":"2026-11-20T09:30:00Z"},"expires":"2026-11-20T09:40:00Z","meta":{"snapshot.json":{"version":77}},"repo":"director","spec_version":"1.0.34","version":1795167000123}}"#);
    }

    #[test]
    fn a_snapshot_names_the_decision_and_lives_seven_days() {
        let key = ed25519(1);
        let bytes = snapshot(&key, NOW_MS).unwrap();
        let read = check::<role::Snapshot>(&bytes, &key);
        assert_eq!(read.role("targets").unwrap().version, NOW_MS);
        assert_eq!(read.header.expires, Time::from_seconds(NOW.as_seconds() + 7 * 86_400));
    }

    #[test]
    fn targets_carry_the_match_of_the_image_repository_unchanged() {
        let key = ed25519(1);
        let release = release(1, 0);
        let assignment = Assignment {
            path: "acme-th1/stable/1.4.2/esp32c3.bin",
            length: 1_048_576,
            sha256: [7; 32],
            r#match: &release,
            deploy: "r-7",
            soak_s: 60,
            deferrable: crate::uptane::Deferrable::default(),
            chunks: None,
        };
        let bytes = targets(&key, DEVICE, Some(assignment), None, NOW_MS).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap(), @r#"{"signatures":[{"keyid":"7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12","sig":"6246dfccfee15072c7498fe3a9a77d2dd6a6ee9db9d55f5b815e164c7edfa99c793df35f07dc769c10aaf51211e2d389f4ba38d7b6bbdd0726d452216e389c0c"}],"signed":{"_type":"targets","custom":{"device":"d-1"},"expires":"2026-11-27T09:30:00Z","repo":"director","spec_version":"1.0.34","targets":{"acme-th1/stable/1.4.2/esp32c3.bin":{"custom":{"deploy":"r-7","device":"d-1","match":{"chip":"esp32c3","hw":["r1","r2"],"kind":"app","secure_version":0,"security_version":1,"version":"1.4.2"},"soak_s":60},"hashes":{"sha256":"0707070707070707070707070707070707070707070707070707070707070707"},"length":1048576}},"version":1795167000123}}"#);
        let read = check_targets(&bytes, &key);
        let target_read = read.target(assignment.path).unwrap();
        let matched = target_read.custom.unwrap().field("match").unwrap();
        assert_eq!(matched.as_raw(), serde_json::to_string(&release).unwrap());
        assert!(!read.delegates());
        // Everything a replica signs for the same decision is the same.
        assert_eq!(bytes, targets(&key, DEVICE, Some(assignment), None, NOW_MS).unwrap());
    }

    #[test]
    fn targets_without_a_decision_still_name_the_device() {
        let key = ed25519(1);
        let bytes = targets(&key, DEVICE, None, None, NOW_MS).unwrap();
        let read = check_targets(&bytes, &key);
        assert_eq!(read.targets().count(), 0);
        assert_eq!(read.custom().unwrap().as_raw(), r#"{"device":"d-1"}"#);
    }

    #[test]
    fn a_command_is_canonical_and_signed() {
        let key = ed25519(1);
        let what = json!({"name": "poll", "after": 1}).as_object().cloned().unwrap();
        let bytes = command(&key, DEVICE, 5, NOW, &what).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r#"{"signatures":[{"keyid":"7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12","sig":"873de37d7c1eb908aef7de46f9157a1216d85c1f294dd404e50839abefe9c3d42606e7a6853f95af4b76273d0369e09c982d853920a8c445c6d835d8945ab001"}],"signed":{"_type":"command","command":{"after":1,"name":"poll"},"device":"d-1","expires":"2026-11-20T09:30:00Z","repo":"director","seq":5}}"#);
    }

    #[test]
    fn a_decision_keeps_its_version_until_the_next_window() {
        let start = 4 * WINDOW_MS;
        for (decided, now, version) in [
            (start + 5, start + 5, start + 5),
            (start + 5, start + WINDOW_MS - 1, start + 5),
            (start + 5, start + WINDOW_MS, start + WINDOW_MS),
            (start + 5, start + 3 * WINDOW_MS + 9, start + 3 * WINDOW_MS),
            (0, 0, 0),
        ] {
            assert_eq!(decision_version(decided, now), version);
        }
    }
}
