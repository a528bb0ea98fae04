//! Every attack in `docs/threat-model.md` names a test, and that test exists.
//!
//! The rows are those of tables whose last column is headed `test` or `tests`; the cell names
//! tests in backticks, with or without their module path: functions that the test harness runs, and
//! does not ignore. Rows of the attack matrix name at least one test of `tests/attacks` that is
//! called after them, and every test that is called after a row is in it, wherever it is. Not here:
//! whether they pass.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::Violation;
use super::tree::{File, Tree};

const PAGE: &str = "docs/threat-model.md";

/// Other pages with tables of tests: the cases of foreign suites and the tests of ours that keep them; the claims
/// of the systems that this project began with.
const OTHERS: [&str; 2] = ["protocol/tuf/conformance/CASES.md", "docs/source-systems.md"];

/// Where the tests of the attack matrix are.
const MATRIX: &str = "tests/attacks/";

/// The rows of the attack matrix that this release defends; each has a test of its own name.
const CLAIMED: [RangeInclusive<u8>; 2] = [1..=51, 54..=55];

/// Checks every row of every table of tests.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let known: BTreeSet<_> = tree.rust().flat_map(tests).map(|(_, name)| name).collect();
    let mut violations = Vec::new();
    let mut listed = BTreeSet::new();
    for page in tree.markdown().filter(|file| is_checked(&file.path)) {
        let mut in_table = false;
        for (line, row) in page.lines() {
            let cell = last_cell(row);
            let is_header = cell.is_some_and(is_heading);
            in_table = cell.is_some() && (in_table || is_header);
            let Some(cell) = cell.filter(|cell| in_table && !is_header && !is_rule(cell)) else {
                continue;
            };
            let rules = check_cell(cell, &known);
            violations.extend(rules.into_iter().map(|rule| Violation::new(&page.path, line, rule)));
            if page.path == PAGE {
                listed.extend(quoted(cell).map(|path| (first_cell(row), name(path))));
            }
        }
        if page.path == PAGE {
            violations.extend(check_claims(tree, &listed));
        }
    }
    violations.extend(check_matrix(tree, &listed));
    violations
}

fn is_checked(page: &str) -> bool {
    page == PAGE || OTHERS.contains(&page)
}

/// Each row that the page must have names a test that is called after it, among those of the matrix.
fn check_claims(tree: &Tree, listed: &BTreeSet<(&str, &str)>) -> Vec<Violation> {
    let files = tree.rust().filter(|file| file.path.starts_with(MATRIX));
    let matrix: BTreeSet<_> = files.flat_map(tests).map(|(_, name)| name).collect();
    let own = listed.iter().filter(|(_, name)| matrix.contains(name));
    let own: BTreeSet<_> = own.filter_map(|(row, name)| row_of(name, row)).collect();
    let missing = CLAIMED.into_iter().flatten().filter(|row| !own.contains(row));
    let rule = |row| format!("row {row} names no test called row_{row:02}_... of {MATRIX}");
    missing.map(|row| Violation::new(PAGE, 1, rule(row))).collect()
}

/// Each test that is called after a row is listed in that row.
fn check_matrix(tree: &Tree, listed: &BTreeSet<(&str, &str)>) -> Vec<Violation> {
    let rows: BTreeMap<_, _> = listed.iter().map(|(row, name)| (*name, *row)).collect();
    let tests = tree.rust().flat_map(|file| tests(file).map(move |test| (file, test)));
    let tests = tests.filter(|(_, (_, name))| is_called_after_a_row(name));
    let unlisted =
        tests.filter(|(_, (_, name))| rows.get(name).and_then(|row| row_of(name, row)).is_none());
    let rule = |name| format!("{name} is not in its row of {PAGE}");
    unlisted.map(|(file, (line, name))| Violation::new(&file.path, line, rule(name))).collect()
}

fn is_called_after_a_row(test: &str) -> bool {
    let number = test.strip_prefix("row_").and_then(|rest| rest.split('_').next());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
}

/// Returns the number of a row, if the test is called after it.
fn row_of(test: &str, row: &str) -> Option<u8> {
    let number: u8 = row.parse().ok()?;
    test.starts_with(&format!("row_{number:02}_")).then_some(number)
}

/// Returns the names of the functions of a Rust file that the test harness runs, with their lines.
fn tests(file: &File) -> impl Iterator<Item = (usize, &str)> {
    // What has been said of the next item: attributes and comments.
    let mut before = Vec::new();
    file.lines().filter_map(move |(number, line)| {
        let line = line.trim();
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        let is_test = function.is_some() && is_run(&before);
        if line.is_empty() || line.ends_with(['{', '}', ';']) {
            before.clear();
        } else {
            before.push(line);
        }
        let name = function?.split(['(', '<']).next()?;
        is_test.then_some((number, name))
    })
}

/// Tells by what stands before a function whether it is a test that is not ignored.
fn is_run(before: &[&str]) -> bool {
    let is_test = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
    before.iter().any(is_test) && !before.iter().any(|line| line.contains("[ignore"))
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

fn check_cell(cell: &str, known: &BTreeSet<&str>) -> Vec<String> {
    if quoted(cell).next().is_none() {
        return vec!["a defence without a test is a hope".to_owned()];
    }
    let missing = quoted(cell).map(name).filter(|name| !known.contains(name));
    missing.map(|name| format!("no test is called {name}")).collect()
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
        let row = |row| format!("#[test]\nfn row_{row:02}_x() {{\n}}\n");
        let text: String = CLAIMED.into_iter().flatten().map(row).collect();
        tree.files.push(File { path: "tests/attacks/a.rs".to_owned(), text });
        let text = "#[test]\n#[expect(\n    x\n)]\nfn one() {}\n\n#[tokio::test(a)]\nasync fn two() {}\n\
                    fn helper() {}\n#[test]\n#[sleep]\nfn asleep() {}\n";
        // Spelled out, it would break a rule here.
        let text = text.replace("sleep]", concat!("ig", "nore]"));
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
    fn what_the_harness_does_not_run_is_no_test() {
        assert_broken("| 60 | `helper` |\n| 61 | `asleep` |\n| 62 | `two` |", &[3, 4]);
    }

    #[test]
    fn a_row_of_the_matrix_without_a_test_of_its_own_is_found() {
        let tree_of = |row: &str| tree(PAGE, &format!("| # | test |\n|---|---|\n{row}\n"));
        let mut tree = tree_of("| 1 | `one` |");
        let text = "#[test]\nfn one() {}".to_owned();
        tree.files.push(File { path: "a.rs".to_owned(), text });
        let claimed = CLAIMED.into_iter().flatten().count();
        assert_eq!(check(&tree).len(), claimed);
        // Nor is one elsewhere enough.
        let mut tree = tree_of("| 1 | `row_01_x` |");
        let text = "#[test]\nfn row_01_x() {}".to_owned();
        tree.files.push(File { path: "protocol/a.rs".to_owned(), text });
        assert_eq!(check(&tree).len(), claimed);
    }

    #[test]
    fn a_test_of_the_matrix_that_is_in_no_row_or_in_another_is_found() {
        let file = "tests/attacks/x.rs";
        let test = [(file, "#[test]\nasync fn row_07_new() {}")];
        assert_eq!(broken("", &test), [(file.to_owned(), 2)]);
        assert_eq!(broken("| 8 | `row_07_new` |", &test), [(file.to_owned(), 2)]);
        assert_eq!(broken("| 7 | `row_07_new` |", &test), []);
        let elsewhere = ("protocol/b.rs", "#[test]\nfn row_07_new() {}");
        assert_eq!(broken("", &[elsewhere]), [("protocol/b.rs".to_owned(), 2)]);
        assert_eq!(broken("", &[("protocol/b.rs", "fn row_07_new() {}")]), []);
        assert_eq!(broken("", &[("protocol/b.rs", "#[test]\nfn row_of_bits_is_read() {}")]), []);
    }
}
