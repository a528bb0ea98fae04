//! Checks a publication before it is stored: first as a device would, with the device's own verifier
//! and limits, then for what a device cannot see: that versions follow each other, nothing expires
//! soon, every image is here, and every release can be installed by some device of the product.
//!
//! Pure: files in, files and releases out. Not here: storing them, and keys.

mod documents;
mod pins;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use waxwing_tuf::author::release::ROLES_MAX;
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::{Fetch, FetchError, Limits, MemoryStore, Refusal, Repository, Time};
use waxwing_wire::Digest;
use waxwing_wire::bundle::Frame;

pub use self::documents::DocumentFault;
pub use self::pins::pinned;
pub use self::rules::{EXPIRY_MARGIN, Rule};
use crate::domain::document::{Attached, Document};
use crate::domain::{Pins, Product, Release};
use crate::repositories::image_repository;
use crate::store::images::Image;

const TIMESTAMP: &str = "timestamp.json";

/// The files whose names carry no version: the next publication takes their place.
const REPLACED: [&str; 2] = [TIMESTAMP, SERVER_CA_PATH];

/// The files of a repository by the names clients ask for.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A publication that may be stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Files that are new or changed, by name.
    pub files: Files,
    /// All releases that the signed roles list.
    pub listed: Vec<Release>,
    /// All documents that the signed roles list.
    pub attached: Vec<Attached>,
    /// The pins that the top-level targets list.
    pub pins: Option<Pins>,
}

/// Why a publication is refused. Nothing of it is stored.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// A device would not believe it.
    #[error("a device would refuse {}: {}", .0.subject, .0.cause.code_name())]
    Unbelievable(Refusal),
    /// It breaks a rule of ours.
    #[error("{subject}: {rule}")]
    Rule {
        /// The file or target at fault.
        subject: String,
        /// The rule.
        rule: Rule,
    },
}

/// What is known when a publication comes.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whose publication it is.
    pub product: &'a Product,
    /// All files stored so far; the first root is the trusted one.
    pub files: &'a Files,
    /// The images stored for the product.
    pub images: &'a HashMap<Digest, Image>,
    /// The documents stored for the product.
    pub documents: &'a BTreeMap<Digest, Document>,
    /// The CA that signs what this server shows.
    pub server_ca: &'a CertificateDer<'static>,
    /// The releases ever listed.
    pub releases: &'a [Arc<Release>],
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Checks a publication against what is stored.
///
/// # Errors
///
/// [`Refused`] names the first file or target at fault, and the reason.
pub fn check(known: Known<'_>, frames: &[Frame<'_>]) -> Result<Accepted, Refused> {
    let mut offered = Offered { stored: known.files, frames };
    let now = Time::from_millis(known.now_ms);
    let mut repository = open(known)?;
    let before = versions(&repository);
    let root_before = repository.root().header.version;
    repository.refresh(&mut offered, now).map_err(Refused::Unbelievable)?;
    let roles = repository.all_targets(&mut offered, now).map_err(Refused::Unbelievable)?;
    rules::check_versions(&before, &versions(&repository))?;
    rules::check_expiry(&repository, &roles, known.now_ms)?;
    let listed = rules::releases(known, &roles)?;
    let attached = documents::documents(known, &roles, &listed)?;
    let pins = pins::read(known, &roles, frames)?;
    let files = new_files(known.files, frames, &repository, root_before, pins.is_some())?;
    rules::check_answers(known, &files, &listed)?;
    Ok(Accepted { files, listed, attached, pins })
}

/// Opens the repository as a device that has followed every publication so far.
fn open(known: Known<'_>) -> Result<Repository<MemoryStore>, Refused> {
    let name = image_repository(&known.product.id);
    let first_root = known.files.get("1.root.json").map(Vec::as_slice).unwrap_or_default();
    let mut stored = Offered { stored: known.files, frames: &[] };
    let roots_max = Limits::HOST.roots_max;
    // A device looks for one path and so into few roles; here all are read.
    let limits = Limits { roots_max, roles_max: ROLES_MAX, ..Limits::DEVICE_IMAGE };
    let opened = Repository::open(MemoryStore::new(), first_root, Some(&name), limits);
    let mut repository = opened.map_err(Refused::Unbelievable)?;
    if known.files.contains_key(TIMESTAMP) {
        // What was stored has been checked; it may have expired since, which must not keep the next
        // publication out.
        repository.refresh(&mut stored, Time::default()).map_err(Refused::Unbelievable)?;
        repository.all_targets(&mut stored, Time::default()).map_err(Refused::Unbelievable)?;
    }
    Ok(repository)
}

/// Roles and their versions.
fn versions(repository: &Repository<MemoryStore>) -> BTreeMap<String, u64> {
    repository.versions().map(|(role, version)| (role.to_owned(), version)).collect()
}

/// Returns the files to store, and refuses those that belong to nothing: only what the refresh has
/// verified may be stored, for a publisher need not hold a key.
fn new_files(
    stored: &Files,
    frames: &[Frame<'_>],
    repository: &Repository<MemoryStore>,
    root_before: u64,
    has_pins: bool,
) -> Result<Files, Refused> {
    let followed = root_before.saturating_add(1)..=repository.root().header.version;
    let mut trusted = trusted_names(repository);
    trusted.extend(followed.map(|version| format!("{version}.root.json")));
    let mut files = Files::new();
    // They were held against what the top-level targets list.
    trusted.extend(has_pins.then(|| SERVER_CA_PATH.to_owned()));
    for frame in frames {
        if stored.get(frame.name).is_some_and(|bytes| bytes == frame.bytes) {
            continue;
        }
        let is_new = !stored.contains_key(frame.name) || REPLACED.contains(&frame.name);
        if !is_new || !trusted.iter().any(|name| name == frame.name) {
            return Err(Refused::Rule { subject: frame.name.to_owned(), rule: Rule::Unused });
        }
        files.insert(frame.name.to_owned(), frame.bytes.to_vec());
    }
    Ok(files)
}

/// The names of the files that a client trusts now, roots aside.
fn trusted_names(repository: &Repository<MemoryStore>) -> Vec<String> {
    let named = repository.versions().filter(|(role, _)| *role != "root");
    let named = named.map(|(role, version)| match role {
        "timestamp" => TIMESTAMP.to_owned(),
        role => format!("{version}.{role}.json"),
    });
    named.collect()
}

/// The stored files with the new ones laid over them.
struct Offered<'a> {
    stored: &'a Files,
    frames: &'a [Frame<'a>],
}

impl Fetch for Offered<'_> {
    fn metadata(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let new = self.frames.iter().find(|frame| frame.name == name).map(|frame| frame.bytes);
        let found = new.or_else(|| self.stored.get(name).map(Vec::as_slice));
        match found {
            Some(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLong),
            found => Ok(found.map(<[u8]>::to_vec)),
        }
    }
}
