//! Documents of releases, and which versions of a component somebody asks for.
//!
//! Not here: what is in a document (`waxwing-documents`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use semver::Version;
use waxwing_documents::{Format, Requirement};
use waxwing_wire::{Channel, Digest, ProductId};

/// A document that was uploaded, without its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The product it was uploaded for.
    pub product: ProductId,
    /// Its hash.
    pub sha256: Digest,
    /// What kind it is.
    pub format: Format,
    /// Its length in bytes.
    pub length: u64,
    /// Of provenance: what was built.
    pub subjects: Vec<Digest>,
    /// Of provenance: who says to have built it.
    pub builders: Vec<String>,
    /// When it came, in Unix milliseconds.
    pub uploaded_at: u64,
}

/// A document that the signed roles list for a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    /// The channel of the release.
    pub channel: Channel,
    /// The version of the release.
    pub version: Version,
    /// What kind of document.
    pub format: Format,
    /// Hash of the document.
    pub document: Digest,
}

/// Which documents every release of a channel must come with.
pub type Required = BTreeMap<Channel, Vec<Requirement>>;

/// Versions of a component: `3.6.0`, or comparisons that must all hold, as in `>=3.0,<3.6.1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versions(Vec<(Comparison, String)>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Versions {
    /// Reads a list of comparisons; `None` if one has nothing to compare with.
    pub fn parse(text: &str) -> Option<Self> {
        let comparisons = text.split(',').map(|part| {
            let part = part.trim();
            let signs = [
                ("<=", Comparison::LessOrEqual),
                (">=", Comparison::MoreOrEqual),
                ("<", Comparison::Less),
                (">", Comparison::More),
                ("=", Comparison::Equal),
            ];
            let signed = signs.iter().find_map(|(sign, it)| Some((*it, part.strip_prefix(sign)?)));
            let (comparison, version) = signed.unwrap_or((Comparison::Equal, part));
            let version = version.trim();
            (!version.is_empty()).then(|| (comparison, version.to_owned()))
        });
        comparisons.collect::<Option<_>>().map(Self)
    }

    /// Tells whether a version is one of them. A component without a version might be any.
    pub fn contain(&self, version: Option<&str>) -> bool {
        let Some(version) = version else { return true };
        self.0.iter().all(|(comparison, other)| {
            let order = compare(version, other);
            match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::More => order.is_gt(),
                Comparison::MoreOrEqual => order.is_ge(),
            }
        })
    }
}

/// Compares versions of any scheme: part by part, numbers by value; a missing part is zero. A leading
/// `v` does not count. `1.1.1w` is later than `1.1.1`, and `2.0.0-rc1` earlier than `2.0.0`.
fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (parts(one), parts(other));
    let longest = one.len().max(other.len());
    let part = |parts: &[Part], at: usize| parts.get(at).cloned().unwrap_or(Part::Number(0));
    let orders = (0..longest).map(|at| part(&one, at).cmp(&part(&other, at)));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// In the order of time: a word after a dash comes before the release, one after a digit behind it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    Before(String),
    Number(u64),
    Behind(String),
}

fn parts(version: &str) -> Vec<Part> {
    let version = version.strip_prefix('v').unwrap_or(version);
    // Build metadata of semantic versions orders nothing.
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let mut parts = Vec::new();
    for (index, section) in version.split('-').enumerate() {
        for piece in section.split(['.', '_']) {
            let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, word) = piece.split_at_checked(digits).unwrap_or((piece, ""));
            if let Ok(number) = number.parse() {
                parts.push(Part::Number(number));
            }
            if !word.is_empty() {
                let is_before = index > 0 && number.is_empty();
                let word = word.to_owned();
                parts.push(if is_before { Part::Before(word) } else { Part::Behind(word) });
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_any_scheme_are_compared_as_people_read_them() {
        let ascending =
            ["1.1.1-rc1", "1.1.1-rc2", "1.1.1", "1.1.1a", "1.1.1w", "1.1.2", "1.2", "1.10", "v2"];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
        assert_eq!(compare("v3.6.0", "3.6"), Ordering::Equal);
        assert_eq!(compare("1.0.0+build5", "1.0.0"), Ordering::Equal);
    }

    #[test]
    fn a_list_of_comparisons_must_hold_as_a_whole() {
        let range = Versions::parse(">=3.0, <3.6.1").unwrap();
        for (version, is_in) in [("2.28", false), ("3.0", true), ("3.6.0", true), ("3.6.1", false)]
        {
            assert_eq!(range.contain(Some(version)), is_in, "{version}");
        }
        assert!(range.contain(None), "what does not say may be affected");
        assert!(Versions::parse("3.6.0").unwrap().contain(Some("3.6.0")));
        assert!(!Versions::parse("=3.6.0").unwrap().contain(Some("3.6.1")));
        for text in ["", ",", "<", ">=1,"] {
            assert_eq!(Versions::parse(text), None, "{text}");
        }
    }
}
