//! A poll's answer: a bundle of files, each properly signed, through the client of a device.
//!
//! The signatures are made anew over whatever the fuzzer wrote, so this is a server that holds every
//! key. What it cannot do even then: have something installed that its files do not say in both
//! repositories, for another device, or below the floor.

use std::sync::LazyLock;

use serde_json::Value as Json;
use waxwing_tuf::uptane::{Answer, Client, Device, Install};
use waxwing_tuf::{Fetch, FetchError, MemoryStore, Time};
use waxwing_wire::bundle::{Bundle, Kind};

use crate::metadata::hex;
use crate::signed::{DEVICE, PRODUCT, root, sign};

/// The nonce of the poll.
pub(crate) const NONCE: [u8; 16] = [0xab; 16];
/// No image below it is taken.
const SECURITY_VERSION: u32 = 3;
/// Length of an OTA slot.
const SLOT_BYTES: u64 = 1 << 20;

type Files = Vec<Vec<u8>>;

/// The roots that the firmware came with.
static ROOTS: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let sign = |repository: &str| sign(&root(repository)).expect("a root");
    (sign("director"), sign(&format!("image/{PRODUCT}")))
});

static FIRST: LazyLock<Client<MemoryStore>> =
    LazyLock::new(|| open(MemoryStore::new(), MemoryStore::new()));

/// What is installed is what both repositories say of this device; what was refused does no harm.
pub fn check(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    let (mut director, mut image) =
        (Served::new(&bundle, Kind::Director), Served::new(&bundle, Kind::Image));
    let mut client = FIRST.clone();
    let answer = client.check(&NONCE, Time::default(), &mut director, &mut image);
    match answer {
        Ok(Answer::Install(install)) => check_install(&install, &director.asked, &image.asked),
        Ok(Answer::Idle) => panic!("idle at first contact"),
        Ok(Answer::Nothing) => {
            assert!(parts(&director.asked).any(|it| it["custom"]["device"] == DEVICE));
        }
        Err(_) => {}
    }
    if client.have().eq(FIRST.have()) {
        return;
    }
    let have: Vec<_> = client.have().map(|(kind, role, at)| (kind, role.to_owned(), at)).collect();
    let (director, image) = client.into_stores();
    let again = open(director, image);
    let again: Vec<_> = again.have().map(|(kind, role, at)| (kind, role.to_owned(), at)).collect();
    assert_eq!(have, again, "a restart remembers something else");
}

fn check_install(install: &Install, director: &Files, image: &Files) {
    let says = |part: &Json| {
        let target = &part["targets"][&install.path];
        target["length"].as_u64() == Some(install.length)
            && target["hashes"]["sha256"] == *hex(&install.sha256)
            && target["custom"]["match"]["security_version"].as_u64()
                == Some(install.security_version.into())
    };
    let named = |part: &Json| part["targets"][&install.path]["custom"]["device"] == DEVICE;
    assert!(parts(director).any(|it| says(&it) && named(&it)), "the Director did not say so");
    assert!(parts(image).any(|it| says(&it)), "the Image repository did not say so");
    assert!(install.security_version >= SECURITY_VERSION, "below the floor");
    assert!((1..=SLOT_BYTES).contains(&install.length), "does not fit");
    assert!(install.path.starts_with("acme-th1/stable/"), "another product or channel");
}

fn parts(files: &Files) -> impl Iterator<Item = Json> {
    files.iter().filter_map(|file| {
        let mut file: Json = serde_json::from_slice(file).ok()?;
        Some(file["signed"].take())
    })
}

/// A file whose signed part is signed anew, if it has one; else the file as it is.
fn signed(file: &[u8]) -> Vec<u8> {
    let part = waxwing_tuf::json::Value::parse(file).ok().and_then(|it| it.field("signed"));
    part.and_then(|part| sign(part.as_raw().as_bytes())).unwrap_or_else(|| file.to_vec())
}

fn open(director: MemoryStore, image: MemoryStore) -> Client<MemoryStore> {
    let (of_director, of_image) = &*ROOTS;
    Client::open(device(), (director, of_director), (image, of_image)).expect("a whole store")
}

fn device() -> Device {
    Device {
        id: DEVICE.to_owned(),
        product: PRODUCT.to_owned(),
        channels: vec!["stable".to_owned()],
        hardware: "r1".to_owned(),
        chip: "esp32c3".to_owned(),
        slot_bytes: SLOT_BYTES,
        security_version: SECURITY_VERSION,
        secure_versions: 0..=16,
    }
}

/// The files of one repository, the first of each name, and those that were asked for: only they are
/// signed, which is what takes the time.
struct Served<'f> {
    bundle: &'f Bundle<'f>,
    kind: Kind,
    asked: Files,
}

impl<'f> Served<'f> {
    fn new(bundle: &'f Bundle<'f>, kind: Kind) -> Self {
        Self { bundle, kind, asked: Files::new() }
    }
}

impl Fetch for Served<'_> {
    fn metadata(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let Some(file) = self.bundle.find(self.kind, name).map(signed) else { return Ok(None) };
        if file.len() > bytes_max {
            return Err(FetchError::TooLong);
        }
        self.asked.push(file.clone());
        Ok(Some(file))
    }
}
