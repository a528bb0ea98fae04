//! A device's life in answers, for the harness on the bare core (`device/src/scenario.rs`).

use waxwing_wire::bundle::{Kind, Writer};

use super::repository::{Director, Image, Release};

/// When the scenario begins: nothing in it may depend on the day it is run.
const START_MS: u64 = 1_795_167_000_000;
/// Time between two polls.
const POLL_MS: u64 = 60_000;
/// The server's wish for the next poll.
const RETRY_AFTER_S: u32 = 60;

/// Makes the scenario with so many releases listed: the list of its bundles, each behind its length,
/// all behind the length of the whole.
pub(crate) fn scenario(releases: usize) -> anyhow::Result<Vec<u8>> {
    let (director, image) = (Director::new()?, Image::new(2)?);
    let roots = vec![("1.root.json".to_owned(), director.root(START_MS)?)];
    let image_roots = vec![("1.root.json".to_owned(), image.root(START_MS)?)];
    // The list stays as long as it is: the oldest release goes when a new one comes.
    let before: Vec<_> = (0..releases).map(Release::new).collect();
    let after: Vec<_> = (1..=releases).map(Release::new).collect();
    let poll = |number: u8, list: &[Release], decided: u8| {
        let at = |poll: u8| START_MS + u64::from(poll) * POLL_MS;
        let wanted = list.last().ok_or_else(|| anyhow::anyhow!("no release"))?;
        director.files(number, wanted, at(decided), at(number))
    };
    let published = |version, list: &[Release]| image.files(version, list, START_MS);
    let timestamp_only = |mut files: Vec<(String, Vec<u8>)>| {
        files.truncate(1);
        files
    };
    let without_targets = |files: Vec<(String, Vec<u8>)>| {
        files.into_iter().filter(|(name, _)| name != "1.targets.json").collect()
    };
    let answers: [(_, Vec<_>); 5] = [
        (roots, image_roots),
        (poll(1, &before, 1)?, published(1, &before)?),
        (timestamp_only(poll(2, &before, 1)?), Vec::new()),
        (poll(3, &after, 3)?, without_targets(published(2, &after)?)),
        (timestamp_only(poll(4, &after, 3)?), Vec::new()),
    ];
    let mut scenario = Vec::new();
    for (director, image) in &answers {
        let bundle = bundle(director, image)?;
        scenario.extend(u32::try_from(bundle.len())?.to_le_bytes());
        scenario.extend(bundle);
    }
    Ok([&u32::try_from(scenario.len())?.to_le_bytes()[..], &scenario].concat())
}

fn bundle(director: &[(String, Vec<u8>)], image: &[(String, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut writer = Writer::new();
    for (kind, files) in [(Kind::Director, director), (Kind::Image, image)] {
        for (name, bytes) in files {
            writer.push(kind, name, bytes)?;
        }
    }
    Ok(writer.finish(RETRY_AFTER_S))
}
