//! The client that `tuf-conformance` drives: `init`, `refresh` and `download` over HTTP and files.
//!
//! A shell around [`Repository`]: it decides nothing about trust. Not for use by anyone else: it reads
//! RSA keys, which devices do not, and its metadata folder is not safe from power cuts.

mod arguments;
mod folder;
mod http;

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use tempfile::NamedTempFile;
use waxwing_tuf::role::Listed;
use waxwing_tuf::{ContentCheck, Limits, Repository, Time, Verified};

use crate::arguments::{Arguments, Command, Targets};
use crate::folder::Folder;
use crate::http::Http;

/// Bytes of a download held in memory.
const CHUNK_BYTES: usize = 16 << 10;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match arguments::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { metadata, command }: Arguments) -> Outcome<()> {
    match command {
        Command::Download { url, targets } => {
            let mut client = Client::refreshed(&metadata, &url)?;
            targets.names.iter().try_for_each(|name| client.download(name, &targets))
        }
        Command::Init { root } => {
            fs::create_dir_all(&metadata)?;
            fs::copy(root, metadata.join("root.json"))?;
            Ok(())
        }
        Command::Refresh { url } => Client::refreshed(&metadata, &url).map(drop),
    }
}

/// A repository that is up to date.
struct Client {
    repository: Repository<Folder>,
    http: Http,
    now: Time,
}

impl Client {
    fn refreshed(metadata: &Path, url: &str) -> Outcome<Self> {
        let now = now()?;
        let root = fs::read(metadata.join("root.json"))?;
        let folder = Folder::new(metadata);
        let mut repository = Repository::open(folder, &root, None, Limits::HOST)?;
        let mut http = Http::new(url);
        repository.refresh(&mut http, now)?;
        Ok(Self { repository, http, now })
    }

    /// Finds a target, and fetches it unless it is there already.
    fn download(&mut self, name: &str, targets: &Targets) -> Outcome<()> {
        let listed = self.repository.target(name, &mut self.http, self.now)?;
        let file = targets.folder.join(http::encode(name));
        if File::open(&file).is_ok_and(|kept| copy(kept, io::sink(), listed.content()).is_ok()) {
            return Ok(());
        }
        let path = if self.repository.root().consistent_snapshot {
            consistent_name(&listed)
        } else {
            name.to_owned()
        };
        let body = self.http.target(&targets.url, &path)?;
        // Gone again unless its content is the signed one.
        let mut part = NamedTempFile::new_in(&targets.folder)?;
        copy(body, &mut part, listed.content())?;
        part.persist(file)?;
        Ok(())
    }
}

/// Copies content piece by piece; what is not the signed content is an error, at the latest at its end.
fn copy(mut from: impl Read, mut to: impl io::Write, mut check: ContentCheck) -> Outcome<()> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk)?;
        let piece = chunk.get(..bytes).unwrap_or_default();
        if piece.is_empty() {
            return Ok(check.finish()?);
        }
        check.update(piece)?;
        to.write_all(piece)?;
    }
}

/// Spec 5.7.3: with consistent snapshots the hash is part of the file name, not of its folder.
fn consistent_name(listed: &Verified<Listed>) -> String {
    let sha256 = listed.hashes.sha256.as_ref().map(|hash| hex(hash));
    let sha512 = listed.hashes.sha512.as_ref().map(|hash| hex(&**hash));
    let hash = sha256.or(sha512).unwrap_or_default();
    match listed.path.rsplit_once('/') {
        None => format!("{hash}.{}", listed.path),
        Some((folder, file)) => format!("{folder}/{hash}.{file}"),
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
