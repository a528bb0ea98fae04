//! Keys in a token: `SoftHSM`, through the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde_json::Value;

use crate::common::{Ceremony, ROOT, Ran, STABLE, TARGETS, delegate, root_init};

const PIN: &str = "4711-0815";
const OFFICER_PIN: &str = "0000-1111";

/// A folder with one token, `ota`, and the program's idea of where to find it.
struct Hsm {
    ceremony: Ceremony,
}

impl Hsm {
    fn new() -> Self {
        let hsm = Self { ceremony: Ceremony::new() };
        hsm.configure("");
        hsm.add_token("ota");
        hsm
    }

    fn configure(&self, more: &str) {
        let tokens = self.ceremony.path("tokens");
        fs::create_dir_all(&tokens).unwrap();
        let text =
            format!("directories.tokendir = {}\nlog.level = ERROR\n{more}", tokens.display());
        self.ceremony.write("softhsm2.conf", text);
    }

    fn add_token(&self, label: &str) {
        let mut init = Command::new("softhsm2-util");
        init.env("SOFTHSM2_CONF", self.ceremony.path("softhsm2.conf"));
        init.args(["--init-token", "--free", "--label", label, "--pin", PIN]);
        Ran::of(init.args(["--so-pin", OFFICER_PIN]), "").good();
    }

    fn run(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.ceremony.command();
        command.env("SOFTHSM2_CONF", self.ceremony.path("softhsm2.conf"));
        command.env("WAXWING_PKCS11_MODULE", module());
        Ran::of(command.args(args), input)
    }

    fn new_key(&self, label: &str, algorithm: &str) -> Ran {
        let args = ["key", "new", "--token", "ota", "--label", label, "--alg", algorithm];
        self.run(&[&args[..], &["--passphrase-fd", "0"]].concat(), &format!("{PIN}\n"))
    }

    fn sign(&self, file: &str, key: &str, pin: &str) -> Ran {
        let args = ["sign", file, "--key", key, "--yes", "--passphrase-fd", "0"];
        self.run(&args, &format!("{pin}\n"))
    }

    /// Runs `key pub` with the PIN.
    fn public(&self, key: &str, more: &[&str]) -> Ran {
        let args = [&["key", "pub", key, "--passphrase-fd", "0"], more].concat();
        self.run(&args, &format!("{PIN}\n"))
    }

    fn words(&self, key: &str) -> String {
        let public: Value = serde_json::from_str(&self.public(key, &[]).good()).unwrap();
        public["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Runs this test once more in a child process that sees the token: the module reads where it
    /// is from the environment, which a test cannot change for itself.
    fn inside(&self, test: &str) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &format!("token::{test}")]).env(INSIDE, "1");
        child.env("SOFTHSM2_CONF", self.ceremony.path("softhsm2.conf"));
        Ran::of(&mut child, "").good();
    }
}

/// Tells the child process of [`Hsm::inside`] that it is one.
const INSIDE: &str = "WAXWING_KEYS_TEST_INSIDE";

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// A session of our own, to do to the token what the program never does.
fn session() -> Session {
    let module = Pkcs11::new(module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    session
}

/// The object identifier of P-256.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Makes a P-256 key as other programs do, and returns its public and its secret half.
fn make_foreign_key(
    session: &Session,
    label: &str,
    extractable: bool,
) -> (ObjectHandle, ObjectHandle) {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [Attribute::Token(true), label.clone(), Attribute::EcParams(P256.to_vec())];
    let public = [&public[..], &[Attribute::Private(false)]].concat();
    let rules = [Attribute::Sensitive(true), Attribute::Extractable(extractable)];
    let secret = [&[Attribute::Token(true), label][..], &rules].concat();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &secret).unwrap()
}

/// Brings a secret P-256 key into the token that was somewhere else before.
fn import_key(session: &Session, label: &str) {
    let key = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Value(vec![7; 32]),
    ];
    session.create_object(&key).unwrap();
}

/// The module that the environment names, or Debian's.
fn module() -> PathBuf {
    let named = std::env::var_os("WAXWING_PKCS11_MODULE").map(PathBuf::from);
    let module = named.unwrap_or_else(|| PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
    assert!(module.exists(), "install softhsm2, or name a module with WAXWING_PKCS11_MODULE");
    module
}

fn uri(object: &str) -> String {
    format!("pkcs11:token=ota;object={object}")
}

/// `root init` with two keys of the token and bob's file, two of three.
fn root_of_both_kinds(hsm: &Hsm) {
    for (label, algorithm) in [("root-alice", "ed25519"), ("root-carol", "p256")] {
        hsm.new_key(label, algorithm).good();
        let out = format!("{label}.pub.json");
        hsm.public(&uri(label), &["-o", &out]).good();
    }
    let mut args = root_init("image/acme-th1", ROOT);
    args[5] = "2:root-alice.pub.json,bob.pub.json,root-carol.pub.json";
    hsm.ceremony.run(&args).good();
}

#[test]
fn keys_in_a_token_and_in_files_sign_the_same_root() {
    for pair in [["root-alice", "root-carol"], ["root-carol", "bob"], ["bob", "root-alice"]] {
        let hsm = Hsm::new();
        root_of_both_kinds(&hsm);
        for key in pair {
            match key {
                "bob" => hsm.ceremony.sign(ROOT, key).good(),
                _ => hsm.sign(ROOT, &uri(key), PIN).good(),
            };
        }
        let shown = hsm.ceremony.run(&["check", ROOT]).good();
        assert!(shown.contains("2 of 2 signatures"), "{shown}");
    }
}

#[test]
fn a_new_key_in_a_token_shows_the_same_words_as_its_public_half() {
    let hsm = Hsm::new();
    for (label, algorithm) in [("root alice", "ed25519"), ("root/carol", "p256")] {
        let shown = hsm.new_key(label, algorithm).good();
        let uri = shown.lines().next().unwrap().rsplit_once(' ').unwrap().1.to_owned();
        assert!(shown.contains(&hsm.words(&uri)), "{shown}");
        assert!(!shown.contains(PIN));
        hsm.new_key(label, algorithm).refused(&format!("already has a key `{label}`"));
    }
}

#[test]
fn a_key_in_a_token_cannot_leave_it() {
    if is_inside() {
        let session = session();
        for secret in session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap() {
            let rules = [
                AttributeType::Sensitive,
                AttributeType::AlwaysSensitive,
                AttributeType::NeverExtractable,
                AttributeType::Private,
                AttributeType::Sign,
            ];
            let found = session.get_attributes(secret, &rules).unwrap();
            for rule in [
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::NeverExtractable(true),
                Attribute::Private(true),
                Attribute::Sign(true),
            ] {
                assert!(found.contains(&rule), "{rule:?}");
            }
            let value = session.get_attributes(secret, &[AttributeType::Value]);
            assert!(value.unwrap().is_empty());
        }
        return;
    }
    let hsm = Hsm::new();
    hsm.new_key("a", "ed25519").good();
    hsm.new_key("b", "p256").good();
    hsm.inside("a_key_in_a_token_cannot_leave_it");
}

#[test]
fn a_key_that_can_be_copied_out_of_its_token_is_of_no_use() {
    if is_inside() {
        make_foreign_key(&session(), "loose", true);
        return;
    }
    let hsm = Hsm::new();
    hsm.inside("a_key_that_can_be_copied_out_of_its_token_is_of_no_use");
    hsm.ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    let before = hsm.ceremony.bytes(ROOT);
    hsm.public(&uri("loose"), &[]).refused("can be copied out of it");
    hsm.sign(ROOT, &uri("loose"), PIN).refused("can be copied out of it");
    assert_eq!(hsm.ceremony.bytes(ROOT), before);
}

#[test]
fn a_key_that_was_ever_outside_its_token_is_of_no_use() {
    if is_inside() {
        let session = session();
        import_key(&session, "imported");
        let (_, secret) = make_foreign_key(&session, "once-loose", true);
        session.update_attributes(secret, &[Attribute::Extractable(false)]).unwrap();
        return;
    }
    let hsm = Hsm::new();
    hsm.inside("a_key_that_was_ever_outside_its_token_is_of_no_use");
    hsm.ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    for key in ["imported", "once-loose"] {
        let reason = format!("key `{key}` was not made in token `ota` or could once be copied");
        hsm.public(&uri(key), &[]).refused(&reason);
        hsm.sign(ROOT, &uri(key), PIN).refused(&reason);
    }
}

#[test]
fn a_public_half_that_is_another_keys_is_never_handed_over() {
    if is_inside() {
        let session = session();
        let label = |label: &str| Attribute::Label(label.as_bytes().to_vec());
        let id = |id: u8| Attribute::Id(vec![id]);
        for (object, forged) in [("mixed", id(2)), ("forged", id(1))] {
            let (public, secret) = make_foreign_key(&session, object, false);
            session.update_attributes(secret, &[id(1)]).unwrap();
            session.destroy_object(public).unwrap();
            let (public, _) = make_foreign_key(&session, &format!("other {object}"), false);
            session.update_attributes(public, &[label(object), forged]).unwrap();
        }
        return;
    }
    let hsm = Hsm::new();
    hsm.inside("a_public_half_that_is_another_keys_is_never_handed_over");
    hsm.public(&uri("mixed"), &["-o", "x.pub.json"]).refused("do not belong together");
    let reason = "made a signature with key `forged` that does not verify";
    hsm.public(&uri("forged"), &["-o", "x.pub.json"]).refused(reason);
    assert!(!hsm.ceremony.path("x.pub.json").exists());
}

#[test]
fn a_key_that_was_made_but_could_not_be_shown_is_in_the_transcript() {
    let hsm = Hsm::new();
    let mut new = hsm.ceremony.command();
    new.env("SOFTHSM2_CONF", hsm.ceremony.path("softhsm2.conf"));
    new.env("WAXWING_PKCS11_MODULE", module());
    new.args(["key", "new", "--token", "ota", "--label", "a", "--passphrase-fd", "0"]);
    Ran::to_a_full_disk(&mut new, &format!("{PIN}\n")).refused("cannot talk to you");
    let lines = hsm.ceremony.transcript();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["begun", "failed"]);
    assert_eq!(lines[0]["keys"].as_array().unwrap().len(), 0);
    assert_eq!(lines[1]["keys"][0]["use"], "made");
    assert_eq!(lines[1]["keys"][0]["fingerprint"], hsm.words(&uri("a")).as_str());
}

#[test]
fn a_label_that_two_keys_have_is_refused() {
    if is_inside() {
        let session = session();
        make_foreign_key(&session, "twin", false);
        make_foreign_key(&session, "twin", false);
        return;
    }
    let hsm = Hsm::new();
    hsm.inside("a_label_that_two_keys_have_is_refused");
    hsm.public(&uri("twin"), &[]).refused("has more than one key `twin`");
}

#[test]
fn what_is_not_there_is_named() {
    let hsm = Hsm::new();
    hsm.ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    let elsewhere = "pkcs11:token=attic;object=root-alice";
    hsm.sign(ROOT, elsewhere, PIN).refused("no token is called `attic`; present: ota");
    hsm.sign(ROOT, &uri("nobody"), PIN).refused("token `ota` has no key `nobody`");
    hsm.public(&uri("nobody"), &[]).refused("token `ota` has no key `nobody`");
    hsm.new_key("stranger", "p256").good();
    hsm.sign(ROOT, &uri("stranger"), PIN).refused("this key may not sign role root");
}

#[test]
fn tokens_of_one_name_are_told_apart_by_serial_number() {
    let hsm = Hsm::new();
    hsm.add_token("ota");
    hsm.new_key("a", "ed25519").refused("more than one token is called `ota`");
    let none = "pkcs11:token=ota;serial=0;object=a";
    hsm.public(none, &[]).refused("no token is called `ota`; present: ota, ota");
}

#[test]
fn a_wrong_pin_says_how_near_the_token_is_to_locking_itself() {
    let hsm = Hsm::new();
    root_of_both_kinds(&hsm);
    let before = hsm.ceremony.bytes(ROOT);
    let wrong = hsm.sign(ROOT, &uri("root-alice"), "1234-5678");
    let shown = String::from_utf8_lossy(&wrong.0.stderr).into_owned();
    assert!(!shown.contains("1234-5678"), "{shown}");
    wrong.refused("wrong PIN for token `ota`; the token counts wrong PINs and locks itself");
    assert_eq!(hsm.ceremony.bytes(ROOT), before);
    hsm.sign(ROOT, &uri("root-alice"), PIN).good();
}

#[test]
fn a_mechanism_that_the_token_lacks_is_named() {
    let hsm = Hsm::new();
    hsm.new_key("ed", "ed25519").good();
    hsm.configure("slots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_ECDSA\n");
    hsm.new_key("other", "ed25519").refused("token `ota` does not support Ed25519");
    let mut args = root_init("image/acme-th1", ROOT);
    args[5] = "1:ed.pub.json";
    hsm.public(&uri("ed"), &["-o", "ed.pub.json"]).refused("does not support Ed25519");
    hsm.configure("");
    hsm.public(&uri("ed"), &["-o", "ed.pub.json"]).good();
    hsm.configure("slots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_ECDSA\n");
    hsm.ceremony.run(&args).good();
    hsm.sign(ROOT, &uri("ed"), PIN).refused("token `ota` does not support Ed25519");
    hsm.new_key("other", "p256").good();
}

#[test]
fn a_module_is_named_by_a_path_that_leads_to_it() {
    let hsm = Hsm::new();
    let key = uri("a");
    hsm.ceremony.run(&["key", "pub", &key]).refused("which PKCS#11 module?");
    let relative = ["key", "pub", &key, "--pkcs11-module", "libsofthsm2.so"];
    hsm.ceremony.run(&relative).refused("must be named by its absolute path");
    let absent = ["key", "pub", &key, "--pkcs11", "/nowhere/module.so"];
    hsm.ceremony.run(&absent).refused("cannot load the PKCS#11 module /nowhere/module.so");
    hsm.new_key("a", "ed25519").good();
    let named = format!("{key}?module-path={}", module().display());
    hsm.public(&named, &["--pkcs11", "/nowhere/module.so"]).good();
}

#[test]
fn a_pin_comes_from_a_file_that_others_cannot_read_and_never_from_a_uri() {
    let hsm = Hsm::new();
    root_of_both_kinds(&hsm);
    hsm.ceremony.write("pin", format!("{PIN}\n"));
    let readable_by = |mode| {
        let path = hsm.ceremony.path("pin");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = uri("root-alice");
    let args = ["sign", ROOT, "--key", &key, "--yes", "--pin-file", "pin"];
    readable_by(0o644);
    hsm.run(&args, "").refused("others may read pin");
    readable_by(0o600);
    hsm.run(&args, "").good();
    let key = format!("{key}?pin-value={PIN}");
    let told = hsm.run(&["sign", ROOT, "--key", &key, "--yes"], "");
    assert!(!String::from_utf8_lossy(&told.0.stderr).contains(PIN));
    told.refused("a PIN does not belong into a key URI");
}

#[test]
fn one_pin_opens_two_keys_of_one_token_for_publishing() {
    let hsm = Hsm::new();
    for label in ["snap", "time"] {
        hsm.new_key(label, "p256").good();
        let out = format!("{label}.pub.json");
        hsm.public(&uri(label), &["-o", &out]).good();
    }
    let ceremony = &hsm.ceremony;
    let mut args = root_init("image/acme-th1", ROOT);
    for (role, keys) in [("--snapshot", "1:snap.pub.json"), ("--timestamp", "1:time.pub.json")] {
        let at = args.iter().position(|arg| *arg == role).unwrap();
        args[at + 1] = keys;
    }
    ceremony.run(&args).good();
    ceremony.run(&delegate("stable", "1:ar.pub.json")).refused("not a root");
    for (file, keys) in [(ROOT, ["alice", "bob"])] {
        for key in keys {
            ceremony.sign(file, key).good();
        }
    }
    ceremony.run(&delegate("stable", "1:ar.pub.json")).good();
    for (file, key) in [(TARGETS, "at"), (TARGETS, "bt"), (STABLE, "ar")] {
        ceremony.sign(file, key).good();
    }
    let (snapshot, timestamp) = (uri("snap"), uri("time"));
    let args = ["publish", "--dir", "acme-th1", "--snapshot-key", &snapshot, "--timestamp-key"];
    let args = [&args[..], &[&timestamp, "--passphrase-fd", "0"]].concat();
    hsm.run(&args, &format!("{PIN}\n")).good();
}
