//! Text that must not be seen: wiped when dropped, never printed.

use std::io::{self, BufRead, Read as _};

use zeroize::Zeroizing;

/// Longest passphrase, PIN or answer read, in bytes.
const LINE_BYTES_MAX: u64 = 1024;

/// A passphrase or token. It has no `Debug`, no `Display` and no `Clone`.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text. Whoever calls this must not let it out.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Reads one line, without its end.
///
/// # Errors
///
/// The cause when it cannot be read or is no UTF-8.
pub fn read_line(lines: &mut impl BufRead) -> io::Result<Secret> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = String::with_capacity(usize::try_from(LINE_BYTES_MAX).unwrap_or_default());
    lines.take(LINE_BYTES_MAX).read_line(&mut text)?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    Ok(Secret::new(text))
}
