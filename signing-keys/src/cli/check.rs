//! `check`.

use std::path::PathBuf;

use serde_json::json;
use waxwing_tuf::author::{Names, fingerprint};
use waxwing_tuf::key::PublicKey;

use super::{Environment, Failure};
use crate::document::{Document, Progress};
use crate::folder::Folder;

/// Show what a file says, who has signed it and whether devices would believe it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys check 2.root.json --previous 1.root.json
Exits with 1 when devices would not believe the file.")]
pub(super) struct Args {
    /// The file; the files it depends on lie beside it
    file: PathBuf,
    /// The version before it, if that lies elsewhere
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let document = Document::open(&self.file, self.previous.as_deref())?;
        let names = Folder::around(&self.file).names();
        let verdict = document.check(with.now);
        if self.json {
            with.console.say(to_json(&document, &names, verdict.is_ok())?)?;
        } else {
            show(&document, &names, with)?;
        }
        verdict?;
        if !self.json {
            with.console.say("devices would believe this file")?;
        }
        Ok(())
    }
}

/// Shows what a file changes and who has signed it.
pub(super) fn show(
    document: &Document,
    names: &Names,
    with: &mut Environment<'_>,
) -> Result<(), Failure> {
    let (role, version) = (document.role(), document.metadata().version());
    let since = document.previous_version();
    let since = since.map_or("new".to_owned(), |since| format!("changes since version {since}"));
    let repo = document.metadata().repo();
    with.console.say(format!("{role} of {repo}, version {version}, {since}:"))?;
    for line in document.changes(names) {
        with.console.say(format!("  {line}"))?;
    }
    for progress in document.progress()? {
        let (signed, needed) = (progress.signed.len(), progress.quorum.threshold);
        with.console.say(format!("{}: {signed} of {needed} signatures", progress.quorum.by))?;
        for key in &progress.quorum.keys {
            let mark = if progress.signed.contains(key) { "signed" } else { "      " };
            with.console.say(format!("  {mark}  {}", describe(key, names)))?;
        }
    }
    Ok(())
}

fn describe(key: &PublicKey, names: &Names) -> String {
    let words = fingerprint(key);
    names.get(&key.key_id()).map_or(words.clone(), |name| format!("{name} ({words})"))
}

fn to_json(document: &Document, names: &Names, good: bool) -> Result<String, Failure> {
    let quorum = |progress: Progress| {
        let key = |key: &PublicKey| {
            json!({
                "fingerprint": fingerprint(key),
                "key_id": key.key_id(),
                "name": names.get(&key.key_id()),
                "signed": progress.signed.contains(key),
            })
        };
        json!({
            "by": progress.quorum.by,
            "keys": progress.quorum.keys.iter().map(key).collect::<Vec<_>>(),
            "met": progress.is_met(),
            "threshold": progress.quorum.threshold,
        })
    };
    let quorums: Vec<_> = document.progress()?.into_iter().map(quorum).collect();
    let metadata = document.metadata();
    let value = json!({
        "believed": good,
        "changes": document.changes(names),
        "expires": metadata.expires(),
        "previous_version": document.previous_version(),
        "quorums": quorums,
        "repo": metadata.repo(),
        "role": document.role(),
        "version": metadata.version(),
    });
    Ok(format!("{value:#}"))
}
