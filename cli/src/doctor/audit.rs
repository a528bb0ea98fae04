//! The audit log, checked without believing the server.
//!
//! Every hash is computed here. What was signed must be signed by keys of the Director's root, and
//! must agree with the rows and with what this program saw the last time. So a server that changes its
//! past is caught even if it signs the changed one: by everybody who looked before.

use std::path::PathBuf;

use serde::Deserialize;
use waxwing_audit::{Audit, Checkpoint, Finding, Link, Note};
use waxwing_tuf::key::PublicKey;

use super::memory::{self, Memory};
use super::roots::{self, Distrust, Roots};
use super::{Status, Verdict};
use crate::api::Api;
use crate::error::Error;
use crate::input;
use crate::profile::ProfileName;

/// Checkpoints read at most: one every ten minutes for nineteen years.
const CHECKPOINTS_MAX: usize = 1_000_000;

const EXAMPLES: &str = "\
Remembers what it saw in $XDG_STATE_HOME/waxwing/audit/PROFILE.json, and compares the next time.

Examples:
  waxwing doctor audit
  waxwing doctor audit --director-root director/metadata/1.root.json
  waxwing doctor audit --forget      # the server was replaced on purpose";

/// Arguments of `waxwing doctor audit`.
#[derive(clap::Args, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A root of the Director from the ceremony; without one, the first one seen is believed.
    #[arg(long, value_name = "FILE")]
    director_root: Option<PathBuf>,
    /// Forget what was seen before, and believe what is shown now.
    #[arg(long)]
    forget: bool,
}

/// Why the log is not as it was written.
#[derive(Debug, thiserror::Error)]
enum Alarm {
    #[error(transparent)]
    Distrust(#[from] Distrust),
    #[error(transparent)]
    Finding(#[from] Finding),
    #[error("checkpoint {id} is no signed checkpoint")]
    Malformed { id: i64 },
    #[error("this is another log than the one seen before, {seen}")]
    OtherLog { seen: String },
    #[error("checkpoint {id} is not signed by a key that the Director's root names")]
    Unsigned { id: i64 },
}

#[derive(Deserialize)]
struct StoredNote {
    id: i64,
    note: String,
}

/// What is known before anything is asked.
struct Known {
    /// The last checkpoint that was believed.
    seen: Option<Note>,
    /// Roots of the Director.
    roots: Vec<String>,
}

/// Downloads and checks the whole log, and remembers it.
pub(super) async fn check(
    args: &Args,
    api: &Api,
    profile: &ProfileName,
) -> Result<Vec<Verdict>, Error> {
    // What was seen stays until what is shown now is believed: then it takes its place.
    let memory = if args.forget { None } else { memory::load(profile)? };
    let from_ceremony = args.director_root.as_deref().map(input::file).transpose()?;
    let remembered = memory.as_ref().map(|memory| memory.director_root.clone());
    let first_use = from_ceremony.is_none() && remembered.is_none();
    let seen = memory.as_ref().map(|memory| Note::parse(&memory.checkpoint)).transpose();
    let seen = seen.map_err(|error| Error::Usage(format!("what was seen before is {error}")))?;
    let known = Known { seen, roots: from_ceremony.into_iter().chain(remembered).collect() };
    let verdict = match follow(api, &known).await? {
        Ok((seen, detail)) => {
            memory::save(profile, &seen)?;
            let next = first_use.then_some(
                "the Director's root was believed at first sight; give --director-root once",
            );
            Verdict::new("audit", "audit log", Status::Ok).detail(detail).next(next)
        }
        Err(alarm) => Verdict {
            row: row(&alarm),
            ..Verdict::new("audit", "audit log", Status::Failed)
                .detail(alarm.to_string())
                .next(Some(next(&alarm)))
        },
    };
    Ok(vec![verdict])
}

/// Follows the log. The outer error is about asking, the inner one about the log.
async fn follow(api: &Api, known: &Known) -> Result<Result<(Memory, String), Alarm>, Error> {
    let roots = match roots::follow(api, &known.roots).await? {
        Ok(roots) => roots,
        Err(distrust) => return Ok(Err(distrust.into())),
    };
    // Signed now, so that rows written a moment ago count too.
    let newest: StoredNote = api.read_act("audit/checkpoints").await?;
    let stored = api.list("audit/checkpoints", &[], CHECKPOINTS_MAX).await?;
    let stored: Result<Vec<StoredNote>, _> =
        stored.into_iter().map(serde_json::from_value).collect();
    let stored = stored.map_err(|error| Error::Answer(error.to_string()))?;
    let (mut audit, signed_size) = match expect(&newest, &stored, &roots, known) {
        Ok(expected) => expected,
        Err(alarm) => return Ok(Err(alarm)),
    };
    if let Err(finding) = rows(api, &mut audit, signed_size).await? {
        return Ok(Err(finding.into()));
    }
    Ok(match audit.finish() {
        Err(finding) => Err(finding.into()),
        Ok(head) => {
            let detail = format!(
                "{} rows are as they were written, by {} signed checkpoints",
                head.size,
                stored.len(),
            );
            Ok((Memory { director_root: roots.last, checkpoint: newest.note }, detail))
        }
    })
}

/// Collects what was signed, and what was seen before, and returns up to which row to read: the server
/// may have signed more of its log after it signed the newest one for us.
fn expect(
    newest: &StoredNote,
    stored: &[StoredNote],
    roots: &Roots,
    known: &Known,
) -> Result<(Audit, i64), Alarm> {
    let newest = verify(newest, &roots.now)?;
    let mut audit = Audit::new(&newest.origin);
    // It was verified when it was remembered.
    if let Some(seen) = known.seen.as_ref().map(Note::unverified) {
        if seen.origin != newest.origin {
            return Err(Alarm::OtherLog { seen: seen.origin.as_str().to_owned() });
        }
        if seen.head.size > newest.head.size {
            let (rows, signed) = (newest.head.size, seen.head.size);
            return Err(Finding::Truncated { rows, signed }.into());
        }
        audit.expect(seen.head)?;
    }
    audit.expect(newest.head)?;
    let mut until = newest.head.size;
    for note in stored {
        let checkpoint = verify(note, &roots.ever)?;
        if checkpoint.origin != newest.origin {
            return Err(Alarm::OtherLog { seen: checkpoint.origin.as_str().to_owned() });
        }
        audit.expect(checkpoint.head)?;
        until = until.max(checkpoint.head.size);
    }
    Ok((audit, until))
}

fn verify(stored: &StoredNote, keys: &[PublicKey]) -> Result<Checkpoint, Alarm> {
    let id = stored.id;
    let note = Note::parse(&stored.note).map_err(|_| Alarm::Malformed { id })?;
    note.verify(keys).cloned().map_err(|_| Alarm::Unsigned { id })
}

/// Reads rows page by page until all that were signed are checked.
async fn rows(api: &Api, audit: &mut Audit, until: i64) -> Result<Result<(), Finding>, Error> {
    let mut after: Option<String> = None;
    loop {
        let page = api.page("audit/rows", after.as_deref()).await?;
        let is_empty = page.items.is_empty();
        for row in page.items {
            let link: Link =
                serde_json::from_value(row).map_err(|error| Error::Answer(error.to_string()))?;
            if let Err(finding) = audit.follow(&link) {
                return Ok(Err(finding));
            }
        }
        match page.next {
            Some(next) if audit.size() < until && !is_empty => after = Some(next),
            _ => return Ok(Ok(())),
        }
    }
}

fn row(alarm: &Alarm) -> Option<i64> {
    match alarm {
        Alarm::Finding(finding) => Some(finding.row()),
        Alarm::Distrust(_)
        | Alarm::Malformed { .. }
        | Alarm::OtherLog { .. }
        | Alarm::Unsigned { .. } => None,
    }
}

fn next(alarm: &Alarm) -> &'static str {
    match alarm {
        Alarm::Distrust(Distrust::Unrooted) => "`waxwing director import` its root, then repeat",
        Alarm::OtherLog { .. } => "if the server was replaced on purpose: `--forget`",
        Alarm::Finding(Finding::Truncated { .. }) => {
            "if a backup was restored on purpose: `--forget`; else keep the database as evidence, \
             and find out who could change it"
        }
        Alarm::Distrust(_)
        | Alarm::Finding(_)
        | Alarm::Malformed { .. }
        | Alarm::Unsigned { .. } => {
            "keep the database as evidence, and find out who could change it"
        }
    }
}
