//! `check`.

use std::path::PathBuf;

use serde_json::json;
use waxwing_tuf::author::{Names, fingerprint};
use waxwing_tuf::key::PublicKey;

use super::{Environment, Failure};
use crate::document::{Document, Earlier, Progress};
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

/// Shows what a file changes since the version before it, as that lies here, and who has signed.
pub(super) fn show(
    document: &Document,
    names: &Names,
    with: &mut Environment<'_>,
) -> Result<(), Failure> {
    let since = document.previous().map_or("new".to_owned(), |before| {
        format!("changes since version {}, as that lies here", before.version())
    });
    show_since(document, document.previous(), &since, names, with)
}

/// Shows the same to the holder of a key who is about to sign: whoever carries the files may have
/// rewritten the version before, but not one that this key has signed.
pub(super) fn show_to_signer(
    document: &Document,
    key: &PublicKey,
    names: &Names,
    with: &mut Environment<'_>,
) -> Result<(), Failure> {
    let signed = document.signed_before(key)?;
    let since = match &signed {
        Some(signed) => format!(
            "changes since version {}, the newest here that this key has signed",
            signed.version()
        ),
        None if document.metadata().version() == 1 => "new".to_owned(),
        None => "ALL OF IT, as this key has signed no earlier version that lies here".to_owned(),
    };
    show_since(document, signed.as_ref(), &since, names, with)
}

fn show_since(
    document: &Document,
    earlier: Option<&Earlier>,
    since: &str,
    names: &Names,
    with: &mut Environment<'_>,
) -> Result<(), Failure> {
    let (role, version) = (document.role(), document.metadata().version());
    let repo = document.metadata().repo();
    with.console.say(format!("{role} of {repo}, version {version}, {since}:"))?;
    for line in document.changes_since(earlier, names) {
        with.console.say(format!("  {line}"))?;
    }
    show_progress(document, names, with)
}

fn show_progress(
    document: &Document,
    names: &Names,
    with: &mut Environment<'_>,
) -> Result<(), Failure> {
    for progress in document.progress()? {
        with.console.say(progress.to_string())?;
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
            "met": progress.is_met,
            "threshold": progress.quorum.threshold,
        })
    };
    let quorums: Vec<_> = document.progress()?.into_iter().map(quorum).collect();
    let metadata = document.metadata();
    let value = json!({
        "believed": good,
        "changes": document.changes_since(document.previous(), names),
        "expires": metadata.expires(),
        "previous_version": document.previous().map(Earlier::version),
        "quorums": quorums,
        "repo": metadata.repo(),
        "role": document.role(),
        "version": metadata.version(),
    });
    Ok(format!("{value:#}"))
}
