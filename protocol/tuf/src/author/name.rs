//! The rule for names that are safe wherever metadata puts them: file name, URL segment, part of a
//! target path.
//!
//! Not here: what a name refers to.

use serde::{Deserialize, Deserializer, de};

use crate::uptane::NAME_BYTES_MAX;

/// Tells whether the text is 1 to [`NAME_BYTES_MAX`] characters of `A-Z a-z 0-9 . _ -`, the first
/// one a letter or digit, without `..`.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(allowed)
        && !text.contains("..")
}

/// Reads a list of names.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    match names.iter().find(|name| !is_name(name)) {
        None => Ok(names),
        Some(bad) => Err(de::Error::custom(format!("{bad:?} is no name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_none() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "a..b", ".a", "-a", "a/b", "a b", "a\0", "ä", "%2e", &long] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in ["a", "0", "th1-r2", "A.b_c-9", &long[1..]] {
            assert!(is_name(good), "{good:?}");
        }
    }
}
