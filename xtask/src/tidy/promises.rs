//! Every attack in `docs/threat-model.md` names a test, and that test exists.
//!
//! The rows are those of tables whose last column is headed `test` or `tests`; the cell names
//! functions in backticks, with or without their module path. Not here: whether they pass.

use std::collections::BTreeSet;

use super::Violation;
use super::tree::Tree;

const PAGE: &str = "docs/threat-model.md";

/// Checks every row of every table of tests.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let functions = functions(tree);
    let mut violations = Vec::new();
    for page in tree.markdown().filter(|file| file.path == PAGE) {
        let mut in_table = false;
        for (line, row) in page.lines() {
            let cell = last_cell(row);
            let is_header = cell.is_some_and(is_heading);
            in_table = cell.is_some() && (in_table || is_header);
            let Some(cell) = cell.filter(|cell| in_table && !is_header && !is_rule(cell)) else {
                continue;
            };
            let rules = check_cell(cell, &functions);
            violations.extend(rules.into_iter().map(|rule| Violation::new(PAGE, line, rule)));
        }
    }
    violations
}

/// Returns the names of all functions of all Rust files.
fn functions(tree: &Tree) -> BTreeSet<&str> {
    let lines = tree.rust().flat_map(|file| file.text.lines());
    let names = lines.filter_map(|line| {
        line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?.split(['(', '<']).next()
    });
    names.collect()
}

fn last_cell(row: &str) -> Option<&str> {
    row.trim().strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next().map(str::trim)
}

fn is_heading(cell: &str) -> bool {
    matches!(cell.to_lowercase().as_str(), "test" | "tests")
}

/// Tells the line under the header from a row.
fn is_rule(cell: &str) -> bool {
    cell.chars().all(|c| matches!(c, '-' | ':' | ' '))
}

fn check_cell(cell: &str, functions: &BTreeSet<&str>) -> Vec<String> {
    let quoted: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    if quoted.is_empty() {
        return vec!["a defence without a test is a hope".to_owned()];
    }
    let name = |path: &str| path.rsplit("::").next().unwrap_or(path).to_owned();
    let missing = quoted.into_iter().map(name).filter(|name| !functions.contains(name.as_str()));
    missing.map(|name| format!("no function is called {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, tree};
    use super::super::tree::File;
    use super::*;

    #[track_caller]
    fn assert_broken(rows: &str, expected: &[usize]) {
        let mut tree = tree(PAGE, &format!("| attack | test |\n|---|:--|\n{rows}"));
        let text = "//! x\n#[test]\nfn one() {}\n    async fn two() {}".to_owned();
        tree.files.push(File { path: "tests/a.rs".to_owned(), text });
        assert_eq!(lines(&check(&tree)), expected, "{rows}");
    }

    #[test]
    fn rows_with_tests_that_exist_pass() {
        assert_broken("| a | `one` |\n| b | `waxwing_tuf::key::one`, `two` |", &[]);
        assert_broken("\n| other | table |\n|---|---|\n| a | `none` |", &[]);
    }

    #[test]
    fn rows_without_a_test_or_with_one_that_is_gone_are_found() {
        assert_broken("| a | `one` |\n| b | planned |", &[4]);
        assert_broken("| a | `one`, `on` |", &[3]);
    }
}
