//! Every command that writes or signs leaves a line in the transcript; what leaves no trace in a
//! file, one before it is done, too.

use std::path::PathBuf;

use super::{Command, Environment, Failure, Key, Release, Root, Trust};
use crate::disk;
use crate::transcript::{Change, Outcome, Scene, Step, Transcript, UsedKey};

/// Where the lines of a command go.
#[derive(Clone, Debug)]
pub(super) struct Page {
    ceremony: PathBuf,
    by: String,
    command: &'static str,
    begun: bool,
}

/// Runs a command and writes down what it did, in the name of `by`.
pub(super) fn run(command: Command, by: String, with: &mut Environment<'_>) -> Result<(), Failure> {
    let Some((name, scene)) = scene(&command)? else { return command.run(with) };
    // Nothing is built on a transcript that somebody has changed.
    Transcript::read(scene.ceremony())?;
    let ceremony = scene.ceremony().to_owned();
    with.page = Some(Page { ceremony, by, command: name, begun: false });
    let result = command.run(with);
    let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
    let files = scene.changes()?;
    let keys = std::mem::take(&mut with.keys);
    let begun = with.page.as_ref().is_some_and(|page| page.begun);
    if begun || !files.is_empty() || !keys.is_empty() {
        // The command's own error tells more.
        result.and(write(with, outcome, keys, files))
    } else {
        result
    }
}

/// Writes down what is about to be done that no file of the ceremony would show. Where that cannot
/// be written, it is not to be done.
///
/// # Errors
///
/// [`Failure::Transcript`].
pub(super) fn begin(with: &mut Environment<'_>, key: Option<&UsedKey>) -> Result<(), Failure> {
    write(with, Outcome::Begun, key.cloned().into_iter().collect(), Vec::new())?;
    if let Some(page) = &mut with.page {
        page.begun = true;
    }
    Ok(())
}

fn write(
    with: &Environment<'_>,
    outcome: Outcome,
    keys: Vec<UsedKey>,
    files: Vec<Change>,
) -> Result<(), Failure> {
    let Some(Page { ceremony, by, command, .. }) = &with.page else { return Ok(()) };
    let step = Step { at: with.now, by: by.clone(), command, outcome, keys, files };
    Ok(Transcript::append(ceremony, step)?)
}

/// Where a command works and what it is called; `None` for those that only look.
fn scene(command: &Command) -> Result<Option<(&'static str, Scene)>, disk::Error> {
    Ok(Some(match command {
        Command::Check(_) | Command::Transcript(_) => return Ok(None),
        Command::Delegate(args) => ("delegate", args.scene()?),
        Command::Key(Key::Expose(args)) => ("key expose", args.scene()?),
        Command::DelegateDocuments(args) => ("delegate-documents", args.scene()?),
        Command::Key(Key::New(args)) => ("key new", args.scene()?),
        Command::Key(Key::Pub(args)) => match args.scene() {
            Some(scene) => ("key pub", scene?),
            None => return Ok(None),
        },
        Command::Publish(args) => ("publish", args.scene()?),
        Command::Release(Release::Add(args)) => ("release add", args.scene()?),
        Command::Release(Release::Attach(args)) => ("release attach", args.scene()?),
        Command::Release(Release::Limit(args)) => ("release limit", args.scene()?),
        Command::Release(Release::Remove(args)) => ("release remove", args.scene()?),
        Command::Renew(args) => ("renew", args.scene()?),
        Command::Root(Root::Init(args)) => ("root init", args.scene()?),
        Command::Root(Root::Rotate(args)) => ("root rotate", args.scene()?),
        Command::Sign(args) => ("sign", args.scene()?),
        Command::Trust(Trust::ServerCa(args)) => ("trust server-ca", args.scene()?),
    }))
}
