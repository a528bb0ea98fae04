//! Text that must not be seen: wiped when dropped, never printed.

use zeroize::Zeroizing;

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
