//! The Director's roots, followed from the first to the last: whose signatures count.
//!
//! The server only shows them. Each must be signed by the one before, and those that are known from
//! elsewhere must be shown byte for byte. Not here: whether they have expired; an old log can still
//! be checked.

use waxwing_tuf::key::PublicKey;
use waxwing_tuf::role::Root;
use waxwing_tuf::verify::{verify_next_root, verify_trusted_root};
use waxwing_tuf::{Cause, Verified};

use crate::api::Api;
use crate::error::Error;

/// The repository of these roots, as their signed part calls it.
const REPOSITORY: &str = "director";

/// Roots followed at most: with one a month, eighty years.
const ROOTS_MAX: u64 = 1000;

/// The roots of a Director.
pub(super) struct Roots {
    /// Every key that could ever sign a checkpoint.
    pub(super) ever: Vec<PublicKey>,
    /// The keys that may sign one now.
    pub(super) now: Vec<PublicKey>,
    /// The last root as it was shown.
    pub(super) last: String,
}

/// Why the roots are not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrust {
    /// A root does not follow from the one before.
    #[error("root {version} of the Director is not believed: {}", cause.code_name())]
    Broken {
        /// Which.
        version: u64,
        /// Why.
        cause: Cause,
    },
    /// A root is not the one that is known.
    #[error("root {version} of the Director is not the one that is known")]
    Changed {
        /// Which.
        version: u64,
    },
    /// A root that is known is not shown any more.
    #[error("the server does not show root {version} of the Director any more")]
    Hidden {
        /// Which.
        version: u64,
    },
    /// There is none.
    #[error("the Director has no root yet, so nobody says whose signatures count")]
    Unrooted,
}

/// Follows the roots that the server shows; those that are known must be among them.
///
/// # Errors
///
/// The outer one when the server cannot be asked.
pub(super) async fn follow(api: &Api, known: &[String]) -> Result<Result<Roots, Distrust>, Error> {
    let mut shown = Vec::new();
    for version in 1..=ROOTS_MAX {
        match api.text_if_any(&format!("director/roots/{version}")).await? {
            Some(root) => shown.push(root),
            None => break,
        }
    }
    Ok(believe(&shown, known))
}

fn believe(shown: &[String], known: &[String]) -> Result<Roots, Distrust> {
    let mut ever = Vec::new();
    let mut last: Option<(&String, Verified<Root>)> = None;
    for (version, text) in (1..).zip(shown) {
        let bytes = text.as_bytes();
        let root = match &last {
            None => verify_trusted_root(bytes, Some(REPOSITORY)),
            Some((_, last)) => verify_next_root(bytes, last, Some(REPOSITORY)),
        };
        let root = root.map_err(|cause| Distrust::Broken { version, cause })?;
        ever.extend(keys(&root));
        last = Some((text, root));
    }
    let (text, root) = last.ok_or(Distrust::Unrooted)?;
    known.iter().try_for_each(|known| expect(shown, known))?;
    Ok(Roots { ever, now: keys(&root).collect(), last: text.clone() })
}

fn expect(shown: &[String], known: &str) -> Result<(), Distrust> {
    let root = verify_trusted_root(known.as_bytes(), Some(REPOSITORY))
        .map_err(|cause| Distrust::Broken { version: 0, cause })?;
    let version = root.header.version;
    let index = usize::try_from(version).unwrap_or(usize::MAX).checked_sub(1);
    match index.and_then(|index| shown.get(index)) {
        None => Err(Distrust::Hidden { version }),
        Some(shown) if shown == known => Ok(()),
        Some(_) => Err(Distrust::Changed { version }),
    }
}

fn keys(root: &Root) -> impl Iterator<Item = PublicKey> {
    root.timestamp.keys().map(|(_, key)| key.clone())
}
