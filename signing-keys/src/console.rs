//! The person at the terminal: lines shown, questions answered, passphrases typed.
//!
//! Passphrases and PINs come from the terminal or from a file descriptor, never from arguments or the
//! environment, where other processes see them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write as _};

use waxwing_tuf::author::printable;

use crate::secret::{Secret, read_line};

/// Standard output, standard error and the terminal.
pub struct Console {
    /// Where passphrases are read from instead of the terminal: one per line.
    passphrases: Option<Box<dyn BufRead>>,
}

impl Console {
    /// Talks to the terminal this process was started from.
    pub fn new() -> Self {
        Self { passphrases: None }
    }

    /// Reads passphrases from an open file descriptor, one per line; a second call goes on where
    /// the first one stopped.
    ///
    /// # Errors
    ///
    /// The cause when nothing can be read from it.
    pub fn read_passphrases_from(&mut self, descriptor: u32) -> io::Result<()> {
        if self.passphrases.is_some() {
            return Ok(());
        }
        self.passphrases = Some(match descriptor {
            0 => Box::new(io::stdin().lock()),
            _ => Box::new(BufReader::new(File::open(format!("/dev/fd/{descriptor}"))?)),
        });
        Ok(())
    }

    /// Shows lines of output. What a file says must not move the cursor over what was shown before,
    /// nor change the order in which letters are read.
    ///
    /// # Errors
    ///
    /// The cause when standard output is closed.
    pub fn say(&self, lines: impl AsRef<str>) -> io::Result<()> {
        for line in lines.as_ref().split('\n') {
            writeln!(io::stdout(), "{}", printable(line))?;
        }
        Ok(())
    }

    /// Asks a question that only `y` or `yes` answers with yes.
    ///
    /// # Errors
    ///
    /// The cause when standard input or output is closed.
    pub fn confirm(&mut self, question: &str) -> io::Result<bool> {
        write!(io::stderr(), "{question} [y/N] ")?;
        let answer = match &mut self.passphrases {
            Some(lines) => read_line(lines)?,
            None => read_line(&mut io::stdin().lock())?,
        };
        if self.passphrases.is_some() || !io::stdin().is_terminal() {
            // Nobody saw an answer typed; what follows begins a line of its own.
            writeln!(io::stderr())?;
        }
        Ok(matches!(answer.reveal().trim(), "y" | "Y" | "yes"))
    }

    /// Asks for the passphrase of something.
    ///
    /// # Errors
    ///
    /// The cause when there is no terminal to ask at.
    pub fn passphrase(&mut self, of: &str) -> io::Result<Secret> {
        self.secret(&format!("Passphrase of {of}: "))
    }

    /// Asks for the PIN of a token.
    ///
    /// # Errors
    ///
    /// The cause when there is no terminal to ask at.
    pub fn pin(&mut self, of: &str) -> io::Result<Secret> {
        self.secret(&format!("PIN of {of}: "))
    }

    /// Asks for a new passphrase, at a terminal twice.
    ///
    /// # Errors
    ///
    /// The cause when there is no terminal to ask at, or the two differ.
    pub fn new_passphrase(&mut self, of: &str) -> io::Result<Secret> {
        let first = self.passphrase(of)?;
        if self.passphrases.is_none() {
            let again = self.passphrase(&format!("{of}, once more"))?;
            if first.reveal() != again.reveal() {
                return Err(io::Error::other("the two passphrases differ"));
            }
        }
        Ok(first)
    }

    fn secret(&mut self, question: &str) -> io::Result<Secret> {
        match &mut self.passphrases {
            Some(lines) => read_line(lines),
            None => rpassword::prompt_password(question).map(Secret::new),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}
