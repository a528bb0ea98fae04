//! Every attack in `docs/threat-model.md` names a test, and that test exists.
//!
//! The rows are those of tables whose last column is headed `test` or `tests`; the cell names
//! functions in backticks, with or without their module path. Rows of the attack matrix name at
//! least one test that is called after them, and every such test of `tests/attacks` is in its row.
//! Not here: whether they pass.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::Violation;
use super::tree::{File, Tree};

const PAGE: &str = "docs/threat-model.md";

/// The cases of foreign suites and the tests of ours that keep them.
const CASES: &str = "protocol/tuf/conformance/CASES.md";

/// Where the tests of the attack matrix are.
const MATRIX: &str = "tests/attacks/";

/// The rows of the attack matrix that this release defends; each has a test of its own name.
const CLAIMED: [RangeInclusive<u8>; 4] = [1..=30, 33..=33, 36..=51, 54..=55];

/// Checks every row of every table of tests.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let functions: BTreeSet<_> = tree.rust().flat_map(functions).map(|(_, name)| name).collect();
    let mut violations = Vec::new();
    let mut listed = BTreeSet::new();
    for page in tree.markdown().filter(|file| file.path == PAGE || file.path == CASES) {
        let mut in_table = false;
        for (line, row) in page.lines() {
            let cell = last_cell(row);
            let is_header = cell.is_some_and(is_heading);
            in_table = cell.is_some() && (in_table || is_header);
            let Some(cell) = cell.filter(|cell| in_table && !is_header && !is_rule(cell)) else {
                continue;
            };
            let rules = check_cell(cell, &functions);
            violations.extend(rules.into_iter().map(|rule| Violation::new(&page.path, line, rule)));
            if page.path == PAGE {
                listed.extend(quoted(cell).map(|path| (first_cell(row), name(path))));
            }
        }
        if page.path == PAGE {
            violations.extend(check_claims(&listed));
        }
    }
    violations.extend(check_matrix(tree, &listed));
    violations
}

/// Each row that the page must have names a test that is called after it.
fn check_claims(listed: &BTreeSet<(&str, &str)>) -> Vec<Violation> {
    let own: BTreeSet<_> = listed.iter().filter_map(|(row, name)| row_of(name, row)).collect();
    let missing = CLAIMED.into_iter().flatten().filter(|row| !own.contains(row));
    let rule = |row| format!("row {row} names no test called row_{row:02}_...");
    missing.map(|row| Violation::new(PAGE, 1, rule(row))).collect()
}

/// Each test that is called after a row is listed in that row.
fn check_matrix(tree: &Tree, listed: &BTreeSet<(&str, &str)>) -> Vec<Violation> {
    let rows: BTreeMap<_, _> = listed.iter().map(|(row, name)| (*name, *row)).collect();
    let files = tree.rust().filter(|file| file.path.starts_with(MATRIX));
    let tests = files.flat_map(|file| functions(file).map(move |test| (file, test)));
    let tests = tests.filter(|(_, (_, name))| name.starts_with("row_"));
    let unlisted =
        tests.filter(|(_, (_, name))| rows.get(name).and_then(|row| row_of(name, row)).is_none());
    let rule = |name| format!("{name} is not in its row of {PAGE}");
    unlisted.map(|(file, (line, name))| Violation::new(&file.path, line, rule(name))).collect()
}

/// Returns the number of a row, if the test is called after it.
fn row_of(test: &str, row: &str) -> Option<u8> {
    let number: u8 = row.parse().ok()?;
    test.starts_with(&format!("row_{number:02}_")).then_some(number)
}

/// Returns the names of all functions of a Rust file, with their lines.
fn functions(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.lines().filter_map(|(number, line)| {
        let rest = line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
        Some((number, rest.split(['(', '<']).next()?))
    })
}

fn first_cell(row: &str) -> &str {
    row.trim().trim_start_matches('|').split('|').next().unwrap_or_default().trim()
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
    if quoted(cell).next().is_none() {
        return vec!["a defence without a test is a hope".to_owned()];
    }
    let missing = quoted(cell).map(name).filter(|name| !functions.contains(name));
    missing.map(|name| format!("no function is called {name}")).collect()
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns a function's name without the path before it.
fn name(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::testing::tree;
    use super::*;

    /// Returns what breaks a rule when the page has these rows beside those it must have.
    #[track_caller]
    fn broken(rows: &str, files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let must = CLAIMED.into_iter().flatten();
        let row = |rows: String, row| rows + &format!("| {row} | `row_{row:02}_x` |\n");
        let must = must.fold(String::new(), row);
        let head = "| # | test |\n|---|:--|\n";
        let mut tree = tree(PAGE, &format!("{head}{rows}\n\n{head}{must}"));
        let tests = CLAIMED.into_iter().flatten().map(|row| format!("fn row_{row:02}_x() {{}}\n"));
        let text =
            format!("#[test]\nfn one() {{}}\nasync fn two() {{}}\n{}", tests.collect::<String>());
        tree.files.push(File { path: "protocol/a.rs".to_owned(), text });
        for (path, text) in files {
            tree.files.push(File { path: (*path).to_owned(), text: (*text).to_owned() });
        }
        let broken = check(&tree).into_iter();
        broken.map(|violation| (violation.path, violation.line)).collect()
    }

    #[track_caller]
    fn assert_broken(rows: &str, expected: &[usize]) {
        let expected: Vec<_> = expected.iter().map(|line| (PAGE.to_owned(), *line)).collect();
        assert_eq!(broken(rows, &[]), expected, "{rows}");
    }

    #[test]
    fn rows_with_tests_that_exist_pass() {
        assert_broken("| 60 | `one` |\n| b | `waxwing_tuf::key::one`, `two` |", &[]);
        assert_broken("\n| other | table |\n|---|---|\n| a | `none` |", &[]);
    }

    #[test]
    fn rows_without_a_test_or_with_one_that_is_gone_are_found() {
        assert_broken("| 60 | `one` |\n| 61 | planned |", &[4]);
        assert_broken("| 60 | `one`, `on` |", &[3]);
    }

    #[test]
    fn a_row_of_the_matrix_without_a_test_of_its_own_is_found() {
        let mut tree = tree(PAGE, "| # | test |\n|---|---|\n| 1 | `one` |\n");
        tree.files.push(File { path: "a.rs".to_owned(), text: "fn one() {}".to_owned() });
        assert_eq!(check(&tree).len(), CLAIMED.into_iter().flatten().count());
    }

    #[test]
    fn a_test_of_the_matrix_that_is_in_no_row_or_in_another_is_found() {
        let file = "tests/attacks/x.rs";
        let test = [(file, "\nasync fn row_07_new() {}")];
        assert_eq!(broken("", &test), [(file.to_owned(), 2)]);
        assert_eq!(broken("| 8 | `row_07_new` |", &test), [(file.to_owned(), 2)]);
        assert_eq!(broken("| 7 | `row_07_new` |", &test), []);
        assert_eq!(broken("", &[("protocol/b.rs", "fn row_07_new() {}")]), []);
    }
}
