//! One device of the vectors: what it trusts, and one update of it.

use std::io::Read;
use std::time::SystemTime;

use ureq::{Agent, Body};
use waxwing_tuf::json::Value;
use waxwing_tuf::role::{Listed, Targets};
use waxwing_tuf::{Fetch, FetchError, Limits, MemoryStore, Repository, Time, Verified, verify};

use super::Outcome;

/// The device of a server that was started with `--ecu-identifier 123 --hardware-id abc`.
const DEVICE: &str = "123";
const HARDWARE: &str = "abc";

/// Longest Director targets and image read, in bytes: more than any vector has.
const FILE_BYTES_MAX: usize = 1 << 20;

const TOP_LEVEL: [&str; 3] = ["timestamp.json", "snapshot.json", "targets.json"];

/// What a device keeps from step to step of one vector.
pub(crate) struct Device {
    director: Web,
    image: Web,
    director_repository: Option<Repository<MemoryStore>>,
    image_repository: Option<Repository<MemoryStore>>,
    /// Version of the last Director targets trusted.
    director_version: u64,
}

impl Device {
    pub(crate) fn new(agent: &Agent, url: &str) -> Self {
        let web = |repository| Web { agent: agent.clone(), url: format!("{url}/{repository}") };
        Self {
            director: web("director"),
            image: web("image_repo"),
            director_repository: None,
            image_repository: None,
            director_version: 0,
        }
    }

    /// Updates metadata and brings every target the Director names.
    pub(crate) fn update(&mut self) -> Outcome<()> {
        let now = now()?;
        let chosen = self.director_targets(now)?;
        let image = opened(&mut self.image_repository, &mut self.image)?;
        image.refresh(&mut self.image, now)?;
        for (path, _) in chosen.targets() {
            let named = chosen.listed("targets", &path.to_string()).ok_or("not listed")?;
            let listed = image.target(&named.path, &mut self.image, now)?;
            verify::check_agreement(&named, &listed)?;
            let is_ours = |value: Value<'_>| value.as_plain() == Some(HARDWARE);
            let hardware = listed.custom().and_then(|custom| custom.field("hardwareIds"));
            // Delegated targets of the vectors name no hardware.
            let fits = match hardware {
                Some(hardware) => hardware.elements().is_some_and(|mut all| all.any(is_ours)),
                None => listed.role != "targets",
            };
            if !fits {
                return Err(format!("{path} is not for this hardware").into());
            }
            self.image.bring(&listed)?;
        }
        Ok(())
    }

    /// What the Director wants, without the timestamp and snapshot that it does not have here.
    fn director_targets(&mut self, now: Time) -> Outcome<Verified<Targets>> {
        let repository = opened(&mut self.director_repository, &mut self.director)?;
        repository.update_root(&mut self.director)?;
        let file = self.director.metadata("targets.json", FILE_BYTES_MAX)?;
        let signers = &repository.root().targets;
        let targets = verify::verify_targets(file.ok_or("no targets")?, signers, None)?;
        if repository.root().header.expires <= now || targets.header.expires <= now {
            return Err("the Director's metadata expired".into());
        }
        if targets.header.version < self.director_version {
            return Err("the Director's targets went back".into());
        }
        check_choice(&targets)?;
        self.director_version = targets.header.version;
        Ok(targets)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that asks for the time"
)]
fn now() -> Outcome<Time> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Time::from_seconds(now.as_secs()))
}

/// Opens a repository by its first root at the first step, as the vectors want it.
fn opened<'r>(
    repository: &'r mut Option<Repository<MemoryStore>>,
    web: &mut Web,
) -> Outcome<&'r mut Repository<MemoryStore>> {
    let opened = if let Some(opened) = repository.take() {
        opened
    } else {
        let root = web.metadata("1.root.json", FILE_BYTES_MAX)?.ok_or("no root")?;
        Repository::open(MemoryStore::new(), &root, None, Limits::HOST)?
    };
    Ok(repository.insert(opened))
}

/// No delegations, no device but ours, and ours once.
fn check_choice(targets: &Verified<Targets>) -> Outcome<()> {
    if targets.delegations().next().is_some() {
        return Err("the Director delegates".into());
    }
    let mut named = 0;
    for (path, target) in targets.targets() {
        let devices = target.custom.and_then(|custom| custom.field("ecuIdentifiers")?.members());
        for (device, what) in devices.into_iter().flatten() {
            let hardware = what.field("hardwareId").and_then(Value::as_plain);
            if device != *DEVICE || hardware != Some(HARDWARE) {
                return Err(format!("{path} is not for this device").into());
            }
            named += 1;
        }
    }
    if named > 1 { Err("this device is named twice".into()) } else { Ok(()) }
}

/// One repository of a vector.
struct Web {
    agent: Agent,
    url: String,
}

impl Web {
    fn get(&self, path: &str) -> Option<Body> {
        let response = self.agent.get(format!("{}/{path}", self.url)).call().ok()?;
        (response.status() == 200).then(|| response.into_body())
    }

    /// Brings the content of a target and compares it with what was signed.
    fn bring(&self, listed: &Listed) -> Outcome<()> {
        let body = self.get(&format!("targets/{}", listed.path)).ok_or("no such target")?;
        let mut content = Vec::new();
        body.into_reader().take(listed.length.saturating_add(1)).read_to_end(&mut content)?;
        let mut check = listed.content();
        check.update(&content)?;
        Ok(check.finish()?)
    }
}

impl Fetch for Web {
    /// Delegated roles have a folder of their own here.
    fn metadata(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let path = if TOP_LEVEL.contains(&name) || name.ends_with(".root.json") {
            name.to_owned()
        } else {
            format!("delegations/{name}")
        };
        let Some(body) = self.get(&path) else { return Ok(None) };
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        let read = body.into_reader().take(limit).read_to_end(&mut bytes);
        read.map_err(|_| FetchError::Failed)?;
        if bytes.len() > bytes_max { Err(FetchError::TooLong) } else { Ok(Some(bytes)) }
    }
}
