//! A text that is shown to nobody: no `Debug`, no `Display`, erased when dropped.

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

/// A token.
#[derive(Deserialize, Serialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes the text without the line break that files and prompts end with.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Shows the text to the one place that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}
