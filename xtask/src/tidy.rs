//! `cargo xtask tidy`: the rules about files that no other tool knows.
//!
//! Each rule is a pure function from the files of the repository to what breaks it, in a module
//! of its own. Rules about code that clippy has are in `Cargo.toml` and `clippy.toml`; rules
//! about foreign crates are in `deny.toml`.

mod crates;
mod examples;
mod links;
mod modules;
mod promises;
mod sources;
mod tree;

use std::fmt;

use anyhow::bail;

use crate::workspace;
use tree::Tree;

/// Checks every rule.
///
/// # Errors
///
/// Counts what breaks one, after printing each with its file and line.
pub(crate) fn run() -> anyhow::Result<()> {
    let tree = Tree::read()?;
    let metadata = workspace::metadata()?;
    let mut violations = sources::check(&tree);
    violations.extend(modules::check(&tree));
    violations.extend(crates::check(&metadata));
    violations.extend(examples::check(&tree));
    violations.extend(links::check(&tree));
    violations.extend(promises::check(&tree));
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations", violations.len());
    }
    Ok(())
}

/// One place that breaks a rule.
#[derive(Debug, Eq, PartialEq)]
struct Violation {
    path: String,
    /// Counted from 1; 1 also where the whole file is meant.
    line: usize,
    rule: String,
}

impl Violation {
    fn new(path: &str, line: usize, rule: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule: rule.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// What every rule's tests need.
#[cfg(test)]
mod testing {
    use super::tree::{File, Tree};

    /// Makes a tree of one file.
    pub(super) fn tree(path: &str, text: &str) -> Tree {
        Tree { files: vec![File { path: path.to_owned(), text: text.to_owned() }] }
    }

    /// Returns the lines that break a rule.
    pub(super) fn lines(violations: &[super::Violation]) -> Vec<usize> {
        violations.iter().map(|violation| violation.line).collect()
    }
}
