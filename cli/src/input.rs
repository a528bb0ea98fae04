//! Reads what the user names: files, secrets, `key=value` pairs.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use crate::error::Error;
use crate::secret::Secret;

/// Longest file in bytes; certificates, definitions and root metadata are far
/// shorter, and ten thousand devices in a CSV fit.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a text file.
pub(crate) fn file(path: &Path) -> Result<String, Error> {
    let file = File::open(path).and_then(read);
    file.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Reads a file whose text may be broken in places.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = File::open(path).and_then(read_bytes);
    bytes.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Reads a secret from a file, else from a prompt on a terminal, else from standard input.
pub(crate) fn secret(path: Option<&Path>, prompt: &str) -> Result<Secret, Error> {
    if let Some(path) = path {
        return file(path).map(|text| Secret::new(&text));
    }
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt)
    } else {
        read(io::stdin().lock())
    };
    let text = text.map_err(|source| Error::File { path: "standard input".into(), source })?;
    Ok(Secret::new(&text))
}

fn read(source: impl io::Read) -> io::Result<String> {
    String::from_utf8(read_bytes(source)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_bytes(source: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Parses `key` or `key=value`.
///
/// # Errors
///
/// Says the form when it is another.
pub(crate) fn tag(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("a tag is written KEY or KEY=VALUE");
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses `key=value`.
///
/// # Errors
///
/// Says the form when it is another.
pub(crate) fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is written KEY=VALUE"),
    }
}

/// Parses a duration such as `90s` or `10m` into whole seconds.
///
/// # Errors
///
/// When it is none, or too long.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u32::try_from(duration.as_secs()).map_err(|_| "longer than 136 years".to_owned())
}

/// Checks a name that becomes part of a path.
///
/// # Errors
///
/// When it could lead to another path.
pub(crate) fn segment(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits and `.`, `_`, `-`, `@`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_a_key_and_may_have_an_equals_sign_in_its_value() {
        assert_eq!(tag("canary"), Ok(("canary".to_owned(), String::new())));
        assert_eq!(tag("a=b=c"), pair("a=b=c"));
        assert!(tag("").is_err() && tag("=b").is_err());
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        for bad in ["", "a", "=b"] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        assert_eq!(read(&b"ok"[..]).unwrap(), "ok");
        assert!(read(io::repeat(b'x')).is_err());
    }
}
