//! The Director's key in the wrong hands: it signs whatever its thief wants devices to hear.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use waxwing_e2e::ceremony::{Ceremony, PRODUCT, Repository};
use waxwing_e2e::fleet::Event;
use waxwing_tuf::author::director::{self, Assignment};
use waxwing_tuf::author::{Ed25519Signer, Match, Metadata, SignedFile, Signer, TargetCustom};
use waxwing_tuf::uptane::Deferrable;
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Kind, Writer};
use waxwing_wire::poll;

use super::hostile::{Answers, Asked, Reply};

/// How the rollouts of a thief are called; each order is one of its own.
const HOSTILE: &str = "hostile-";

/// Metadata files by the names devices ask for.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A Director who obeys a thief.
pub(crate) struct Puppet {
    signer: Box<dyn Signer>,
    orders: Mutex<Orders>,
}

/// What it is to say. Each change is a new decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    /// The roots of the Director.
    pub(crate) roots: Files,
    /// The Image repository.
    pub(crate) image: Files,
    /// What devices shall run.
    pub(crate) offer: Option<Offer>,
    /// Images by their hash.
    pub(crate) images: BTreeMap<Digest, Vec<u8>>,
    /// By how much it lies about the time, in milliseconds.
    pub(crate) lie_ms: i64,
    /// Answers nothing at all.
    pub(crate) withhold: bool,
    /// Version of the decision.
    version: u64,
    count: u64,
}

/// An image with the attributes that the Director claims for it.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    path: String,
    attributes: Match,
    sha256: [u8; 32],
    length: u64,
}

impl Puppet {
    /// Takes the key from the server's disk, and what is public from the ceremony.
    pub(crate) fn steal(secrets: &Path, ceremony: &Ceremony) -> Result<Self> {
        let seed = fs::read(secrets.join("director.key"))?;
        let seed = seed.first_chunk().context("the key is a seed")?;
        Self::with_key(Box::new(Ed25519Signer::from_seed(seed)?), ceremony)
    }

    /// Speaks with any key.
    pub(crate) fn with_key(signer: Box<dyn Signer>, ceremony: &Ceremony) -> Result<Self> {
        let roots = files(&ceremony.metadata(Repository::Director))?;
        let image = files(&ceremony.metadata(Repository::Image))?;
        let orders = Orders { roots, image, version: now_ms(), ..Orders::default() };
        Ok(Self { signer, orders: Mutex::new(orders) })
    }

    /// Gives new orders.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders();
        change(&mut orders);
        // Later than any honest decision; a lie about the past does not make it older.
        orders.count += 1;
        let now_ms = now_ms().saturating_add_signed(orders.lie_ms.max(0));
        orders.version = now_ms + orders.count;
    }

    /// Orders a listed release to be installed.
    pub(crate) fn offer_listed(&self, channel: &str, version: &str, image: Vec<u8>) -> Result<()> {
        let path = target_path(channel, version);
        let listed = listed(&self.orders().image, channel, &path)?;
        self.order(|orders| orders.offer_image(path, listed, image));
        Ok(())
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says to a device what the orders say, for its nonce.
    pub(crate) fn bundle(&self, device: &str, request: &poll::Request) -> Result<Vec<u8>> {
        let orders = self.orders().clone();
        let now_ms = now_ms().saturating_add_signed(orders.lie_ms);
        let version = orders.version;
        let signer = self.signer.as_ref();
        let rollout = format!("{HOSTILE}{version}");
        let assignment = orders.offer.as_ref().map(|offer| Assignment {
            path: &offer.path,
            length: offer.length,
            sha256: offer.sha256,
            r#match: &offer.attributes,
            deploy: &rollout,
            soak_s: 1,
            deferrable: Deferrable::default(),
            chunks: None,
        });
        let mut bundle = Writer::new();
        for (name, bytes) in &orders.roots {
            bundle.push(Kind::Director, name, bytes)?;
        }
        let timestamp = director::timestamp(signer, device, &request.nonce.0, now_ms, version)?;
        bundle.push(Kind::Director, "timestamp.json", &timestamp)?;
        let name = format!("{version}.snapshot.json");
        bundle.push(Kind::Director, &name, &director::snapshot(signer, version)?)?;
        let targets = director::targets(signer, device, assignment, None, version)?;
        bundle.push(Kind::Director, &format!("{version}.targets.json"), &targets)?;
        for (name, bytes) in &orders.image {
            bundle.push(Kind::Image, name, bytes)?;
        }
        Ok(bundle.finish(1))
    }
}

impl Orders {
    /// Orders an image, listed or not.
    pub(crate) fn offer_image(&mut self, path: String, attributes: Match, image: Vec<u8>) {
        let sha256 = Sha256::digest(&image).into();
        self.offer = Some(Offer { path, attributes, sha256, length: image.len() as u64 });
        self.images.insert(Digest(sha256), image);
    }
}

impl Answers for Puppet {
    fn answer(&self, asked: &Asked) -> Result<Reply> {
        anyhow::ensure!(!self.orders().withhold, "withheld");
        if asked.path == "/v1/poll" {
            let request = poll::Request::decode(&asked.body)?;
            return Ok(Reply::whole(200, self.bundle(&asked.device, &request)?));
        }
        let sha256 = asked.path.strip_prefix("/v1/images/").and_then(|hash| hash.parse().ok());
        let orders = self.orders();
        let image = sha256.and_then(|sha256: Digest| orders.images.get(&sha256));
        let Some(image) = image else { return Ok(Reply::whole(404, Vec::new())) };
        let status = if asked.from == 0 { 200 } else { 206 };
        let body = image.get(asked.from..).unwrap_or_default().to_vec();
        Ok(Reply { status, body, total: image.len() })
    }
}

/// A state that a device reached on a thief's orders.
pub(crate) fn obeyed(state: &str) -> impl FnMut(&Event) -> bool {
    move |event| is_hostile(event, state)
}

/// A thief's order that a device refused for this reason.
pub(crate) fn refused(reason: &str) -> impl FnMut(&Event) -> bool {
    move |event| is_hostile(event, "failed") && event.text("reason") == reason
}

fn is_hostile(event: &Event, state: &str) -> bool {
    let rollout = event.text("rollout");
    rollout.starts_with(HOSTILE) && event.is_report(rollout, state)
}

/// Path of a release.
pub(crate) fn target_path(channel: &str, version: &str) -> String {
    format!("{PRODUCT}/{channel}/{version}/esp32c3.bin")
}

/// What a repository says about an image.
pub(crate) fn listed(image: &Files, channel: &str, path: &str) -> Result<Match> {
    let role = newest(image, &format!("{PRODUCT}-{channel}")).context("there is such a role")?;
    let Metadata::Targets(role) = SignedFile::parse(&image[&role])?.metadata()? else {
        bail!("{role} lists no targets");
    };
    match role.targets.get(path).and_then(|target| target.custom.clone()) {
        Some(TargetCustom::Image(image)) => Ok(image.r#match),
        other => bail!("{path} is no image that is listed: {other:?}"),
    }
}

/// The name of the newest file of a role.
pub(crate) fn newest(files: &Files, role: &str) -> Option<String> {
    let suffix = format!(".{role}.json");
    let versions = files.keys().filter_map(|name| name.strip_suffix(&suffix)?.parse::<u64>().ok());
    versions.max().map(|version| format!("{version}{suffix}"))
}

/// Reads the public files of a repository: those that carry a version, and the timestamp.
pub(crate) fn files(metadata: &Path) -> Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(metadata)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "timestamp.json" || name.starts_with(|first: char| first.is_ascii_digit()) {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// The present time in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "a hostile server has a clock of its own")]
pub(crate) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
