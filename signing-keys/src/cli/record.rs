//! Every command that writes or signs leaves a line in the transcript.

use super::{Command, Environment, Failure, Key, Release, Root, Trust};
use crate::disk;
use crate::transcript::{Outcome, Scene, Step, Transcript};

/// Runs a command and writes down what it did, in the name of `by`.
pub(super) fn run(command: Command, by: String, with: &mut Environment<'_>) -> Result<(), Failure> {
    let Some((name, scene)) = scene(&command)? else { return command.run(with) };
    // Nothing is built on a transcript that somebody has changed.
    Transcript::read(scene.ceremony())?;
    let result = command.run(with);
    let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
    let files = scene.changes()?;
    let keys = std::mem::take(&mut with.keys);
    let did_something = !files.is_empty() || (result.is_ok() && !keys.is_empty());
    if did_something {
        let step = Step { at: with.now, by, command: name, outcome, keys, files };
        // The command's own error tells more.
        result.and(Transcript::append(scene.ceremony(), step).map_err(Failure::Transcript))
    } else {
        result
    }
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
