//! Row 55: secrets in logs, arguments, the database, images, or the debug text of a type.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use waxwing_agent_host::random::SystemEntropy;
use waxwing_agent_net::http::Request;
use waxwing_agent_net::identity::DeviceKey;
use waxwing_e2e::ceremony::{PASSPHRASE, Plan};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::world::{EVERYBODY, World};
use waxwing_tuf::author::{Ed25519Signer, P256Signer, SecretKey};
use waxwing_wire::provision;

use crate::support::author::hex;

/// Everything is said, by us and by every library.
const LOG_EVERYTHING: &str = "[log]\nfilter = \"trace\"\n";

/// Shortest piece of a secret that cannot be there by chance.
const PIECE_BYTES: usize = 20;

/// A secret in one of the forms in which it could be written.
pub(super) struct Secret {
    pub(super) name: String,
    /// Bytes as characters, which are searched fast.
    forms: Vec<String>,
}

impl Secret {
    pub(super) fn text(name: &str, text: &str) -> Self {
        let text = text.trim().to_owned();
        Self { name: name.to_owned(), forms: vec![STANDARD.encode(&text), text] }
    }

    /// A key as it lies in a file: raw, or PEM.
    fn key(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let der = match text.split_once("PRIVATE KEY-----") {
            Some((_, rest)) => {
                let base64 = rest.split("-----END").next().unwrap();
                STANDARD.decode(base64.split_whitespace().collect::<String>()).unwrap()
            }
            None => bytes,
        };
        // PKCS#8 of P-256 holds the scalar from byte 36 on; what is before is the same for all.
        let secret = if der.len() > 68 { der[36..68].to_vec() } else { der.clone() };
        let array = secret.iter().map(ToString::to_string).collect::<Vec<_>>();
        let pem = STANDARD.encode(&der);
        let forms = [
            characters(&secret),
            hex(&secret),
            hex(&secret).to_uppercase(),
            STANDARD_NO_PAD.encode(&secret),
            URL_SAFE_NO_PAD.encode(&secret),
            array[..8].join(", "),
            // The second line of a PEM file: half of the secret is in it.
            pem.chars().skip(64).take(64).collect(),
        ];
        let forms = forms.into_iter().filter(|form| form.len() >= PIECE_BYTES).collect();
        Self { name: path.display().to_string(), forms }
    }

    pub(super) fn is_in(&self, content: &str) -> bool {
        self.forms.iter().any(|form| content.contains(form))
    }
}

/// Writes each byte as the character of its number.
pub(super) fn characters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Where secrets belong: nobody looks for them there.
fn is_their_place(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["/secrets/", "/ceremony/keys/", "/profiles/"].iter().any(|folder| text.contains(folder))
        || ["admin-token", "tokens.csv", "identity.pem"].iter().any(|name| text.ends_with(name))
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What everybody on the machine, or whoever has the same user, can read about a process.
pub(super) fn process(id: u32) -> String {
    let read = |name: &str| fs::read(format!("/proc/{id}/{name}")).unwrap();
    characters(&[read("cmdline"), read("environ")].concat())
}

#[test]
fn row_55_no_secret_is_in_a_log_an_argument_an_image_or_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let mut world = World::create_with(folder.path(), plan, LOG_EVERYTHING).unwrap();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    let image = world.make_image("1.1.0", Behaviour::Work).unwrap();
    world.publish("1.1.0", 1, &image).unwrap();
    let mut fleet = world.enrol(2, &factory).unwrap();
    world.start_rollout("r-1", "1.1.0", EVERYBODY, "100").unwrap();
    fleet.wait_for_many(2, |event| event.is_report("r-1", "healthy")).unwrap();
    let unspent = world.register("th1-unspent").unwrap();
    world.operator.ask(&["doctor"]).unwrap();
    let argv = [process(world.server.process_id().unwrap()), process(fleet.process_id())].concat();

    let mut secrets = vec![
        Secret::text("passphrase", PASSPHRASE),
        Secret::text("admin token", &fs::read_to_string(world.server.token()).unwrap()),
        Secret::text("unspent enrolment token", &unspent),
    ];
    let tokens = fs::read_to_string(folder.path().join("fleet/tokens.csv")).unwrap();
    let tokens = tokens.lines().map(|line| line.split_once(',').unwrap());
    secrets.extend(tokens.map(|(device, token)| Secret::text(device, token)));
    let keys = files(&world.server.secrets());
    let keys = keys.into_iter().filter(|path| path.extension().is_some_and(|it| it == "key"));
    secrets.extend(keys.map(|path| Secret::key(&path)));
    secrets.extend(["th1-0001", "th1-0002"].map(|device| Secret::key(&fleet.identity(device))));
    assert!(secrets.len() >= 3 + 2 + 4 + 2, "all kinds of secrets are looked for");
    drop(fleet);
    world.server.stop().unwrap();

    let places: Vec<_> = files(folder.path());
    let log = folder.path().join("server/logs/server.log");
    assert!(fs::read_to_string(&log).unwrap().contains("TRACE"), "everything was said");
    for secret in &secrets {
        assert!(!secret.is_in(&argv), "{} is in arguments or environment", secret.name);
    }
    let mut found = BTreeSet::new();
    for path in &places {
        let content = characters(&fs::read(path).unwrap());
        for secret in secrets.iter().filter(|secret| secret.is_in(&content)) {
            assert!(is_their_place(path), "{} is in {}", secret.name, path.display());
            found.insert(&secret.name);
        }
    }
    // In no file at all: the passphrase, and the token that nobody has used.
    assert_eq!(found.len(), secrets.len() - 2, "the search finds what it looks for: {found:?}");
}

/// A device's key and its token are in types that other types print.
#[test]
fn row_55_what_a_device_prints_shows_neither_its_key_nor_its_token() {
    let text = "a-token-of-a-device";
    let headers = [("authorization", text)];
    let request = Request { method: "POST", path: "/v1", headers: &headers, body: text.as_bytes() };
    let printed = format!("{request:?} {request:#?} {:?}", provision::Secret::new(text.into()));
    assert!(printed.contains("authorization") && !printed.contains(text), "{printed}");
    let key = DeviceKey::generate(&mut SystemEntropy);
    assert_eq!(format!("{key:?}"), "DeviceKey");
}

/// Does not compile once one of these types can be printed: then there are two ways to call `check`.
#[test]
fn row_55_types_that_hold_keys_cannot_be_printed() {
    trait AmbiguousIfDebug<A> {
        fn check() {}
    }
    impl<T: ?Sized> AmbiguousIfDebug<()> for T {}
    impl<T: ?Sized + Debug> AmbiguousIfDebug<u8> for T {}
    <Ed25519Signer as AmbiguousIfDebug<_>>::check();
    <P256Signer as AmbiguousIfDebug<_>>::check();
    <SecretKey as AmbiguousIfDebug<_>>::check();
}
