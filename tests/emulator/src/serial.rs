//! What the chip writes on its serial lines: to a file or the terminal as it comes, and line by
//! line for who waits for a text.

use std::io::Write;

/// A line longer than this is looked at in pieces.
const LINE_BYTES_MAX: usize = 4096;

/// The other end of the line.
pub struct Serial {
    out: Box<dyn Write>,
    line: Vec<u8>,
    until: Option<String>,
    seen: bool,
}

impl Serial {
    /// Writes everything to `out` and looks for a text.
    pub fn new(out: Box<dyn Write>, until: Option<String>) -> Self {
        Self { out, line: Vec::new(), until, seen: false }
    }

    /// Takes a byte.
    pub(crate) fn put(&mut self, byte: u8) {
        // Who reads may have gone; the chip does not notice.
        let _ = self.out.write_all(&[byte]);
        self.line.push(byte);
        if byte != b'\n' && self.line.len() < LINE_BYTES_MAX {
            return;
        }
        let _ = self.out.flush();
        let line = String::from_utf8_lossy(&self.line);
        self.seen |= self.until.as_ref().is_some_and(|until| line.contains(until.as_str()));
        self.line.clear();
    }

    /// Returns whether the text has come.
    pub(crate) const fn has_seen_the_text(&self) -> bool {
        self.seen
    }
}
