//! Which target paths a delegation covers (spec 4.5).

use alloc::string::String;

use sha2::{Digest, Sha256};

use crate::hex;

/// Whether `path` matches the shell-style `pattern`: `?` is any one character, `*` any number of
/// them, neither crosses a `/`. A `[` is just a `[`.
///
/// Takes time in the product of the lengths at worst, never exponential time: only the last `*` of
/// a segment is ever tried again.
pub fn matches(pattern: impl Iterator<Item = char> + Clone, path: &str) -> bool {
    let mut pattern = pattern;
    let mut path = path.chars();
    // Where to go on if the current attempt fails: behind the last `*`, and one character later.
    let mut retry = None;
    loop {
        let mut ahead = pattern.clone();
        match (ahead.next(), path.clone().next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((ahead.clone(), path.clone()));
                pattern = ahead;
            }
            (Some(wanted), Some(found)) if wanted == found || (wanted == '?' && found != '/') => {
                pattern = ahead;
                path.next();
            }
            (Some(_), _) | (None, Some(_)) => {
                let Some((behind, from)) = retry.as_mut() else { return false };
                if from.next().is_none_or(|skipped| skipped == '/') {
                    return false;
                }
                pattern = behind.clone();
                path = from.clone();
            }
        }
    }
}

/// The number of the hash bin that a path belongs to: the first `bits` bits of its SHA-256, 1 to 32
/// (TAP 15).
pub(crate) fn bin(path: &str, bits: u32) -> u32 {
    let hash: [u8; 32] = Sha256::digest(path).into();
    let first = hash.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    first.checked_shr(u32::BITS.saturating_sub(bits)).unwrap_or(0)
}

/// The hex SHA-256 of a path, of which `path_hash_prefixes` are prefixes.
pub fn hash(path: &str) -> String {
    hex::encode(&Sha256::digest(path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expected: bool) {
        assert_eq!(matches(pattern.chars(), path), expected, "{pattern} {path}");
    }

    #[test]
    fn wildcards_stay_inside_their_segment() {
        check("acme/stable/*/*", "acme/stable/1.4.2/esp32c3.bin", true);
        check("acme/stable/*/*", "acme/stable/1.4.2", false);
        check("acme/stable/*/*", "acme/stable/1.4.2/x/y", false);
        check("acme/stable/*", "acme/stable/", true);
        check("*", "a/b", false);
        check("*", "", true);
        check("a?c", "a/c", false);
        check("foo-?.tgz", "foo-a.tgz", true);
        check("foo-?.tgz", "foo-aa.tgz", false);
        check("*.py", "a.py.py", true);
        check("a*b*c", "axxbxxbc", true);
        check("a*b*c", "axxbxxb", false);
        check("[ab]", "a", false);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn a_pattern_made_to_backtrack_stays_cheap() {
        let pattern = "*a".repeat(100) + "b";
        check(&pattern, &"a".repeat(5_000), false);
    }

    /// The definition, in the simplest exponential way.
    fn naive(pattern: &[char], path: &[char]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                naive(rest, path)
                    || matches!(path, [first, tail @ ..] if *first != '/' && naive(pattern, tail))
            }
            (['?', rest @ ..], [first, tail @ ..]) => *first != '/' && naive(rest, tail),
            ([wanted, rest @ ..], [first, tail @ ..]) => wanted == first && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_definition(pattern in "[ab/*?]{0,8}", path in "[ab/]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
            prop_assert_eq!(matches(pattern.chars(), &path), naive(&p, &t));
        }
    }
}
