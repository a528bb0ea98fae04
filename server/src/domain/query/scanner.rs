//! The words of a query: names, comparisons, values, parentheses.
//!
//! Not here: what may follow what.

use super::{Cause, Refused};

/// Characters that no name and no bare value contains.
const RESERVED: &str = "\"'();,=!~<>";

/// Reads a query from left to right.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
}

/// A character of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Char {
    /// Itself.
    Plain(char),
    /// Any text.
    Wildcard,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// Passes over white space and returns where the next word begins.
    pub(super) fn next_word(&mut self) -> usize {
        self.rest = self.rest.trim_start();
        self.place()
    }

    /// Returns how many bytes were read.
    const fn place(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses what stands at a place.
    pub(super) fn refuse<T>(&self, place: usize, cause: Cause) -> Result<T, Refused> {
        let before = self.text.get(..place).unwrap_or(self.text);
        Err(Refused { at: before.chars().count(), cause })
    }

    /// Passes over a character, if it is the next one.
    pub(super) fn skip(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(c);
        rest.inspect(|rest| self.rest = rest).is_some()
    }

    /// Passes over `and` or `or`, if that is the next word.
    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some((start, rest)) = rest.split_at_checked(word.len()) else { return false };
        let is_whole = rest.starts_with(|c: char| c.is_whitespace() || c == '(');
        let found = is_whole && start.eq_ignore_ascii_case(word);
        if found {
            self.rest = rest;
        }
        found
    }

    /// Reads the name of a field.
    pub(super) fn name(&mut self) -> &'a str {
        self.take_while(is_bare)
    }

    /// Reads a comparison, known or not.
    pub(super) fn comparison(&mut self) -> &'a str {
        let begin = self.rest;
        let Some(first) = begin.chars().next().filter(|c| "=!<>".contains(*c)) else { return "" };
        self.rest = begin.get(1..).unwrap_or_default();
        if first == '=' {
            self.take_while(|c| c.is_ascii_alphabetic());
        }
        // The second character of all of them; of `<` and `>` it may be missing.
        if let Some(rest) = self.rest.strip_prefix('=') {
            self.rest = rest;
        }
        begin.get(..begin.len() - self.rest.len()).unwrap_or_default()
    }

    /// Reads a value, bare or quoted. A backslash takes the meaning from what follows it.
    pub(super) fn value(&mut self) -> Result<Vec<Char>, Refused> {
        let begin = self.place();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let mut chars = self.rest.chars();
        if quote.is_some() {
            chars.next();
        }
        let mut value = Vec::new();
        loop {
            let before = chars.as_str();
            match chars.next() {
                Some(c) if Some(c) == quote => break,
                Some('\\') => match chars.next() {
                    Some(c) => value.push(Char::Plain(c)),
                    None => return self.refuse(self.text.len(), Cause::Expected("a character")),
                },
                Some('*') => value.push(Char::Wildcard),
                Some(c) if quote.is_some() || is_bare(c) => value.push(Char::Plain(c)),
                None if quote.is_some() => return self.refuse(begin, Cause::Unclosed),
                Some(_) | None => {
                    chars = before.chars();
                    break;
                }
            }
        }
        self.rest = chars.as_str();
        if value.is_empty() && quote.is_none() {
            return self.refuse(begin, Cause::Expected("a value"));
        }
        Ok(value)
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

/// Tells whether a character needs no quotation.
pub(super) fn is_bare(c: char) -> bool {
    !RESERVED.contains(c) && !c.is_whitespace()
}
