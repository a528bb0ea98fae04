//! Rules about one file at a time: its length, its first line and words that may not be in it.

use super::Violation;
use super::tree::{File, Tree};

/// Lines of a Rust file before its tests; a longer one hides the reader's way.
const CODE_LINES_MAX: usize = 400;

/// Lines of a Rust file with its tests, and of a file of tests.
const FILE_LINES_MAX: usize = 500;

/// What a Rust file begins with: what it is, or the page that says so.
const FIRST_WORDS: [&str; 2] = ["//!", "#![doc = include_str!("];

/// Words that mean "not done". In two parts, so that this file passes.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

/// Attributes that switch a test or a lint off without a word why.
const SWITCHED_OFF: [&str; 3] =
    [concat!("#[ig", "nore"), concat!("#[al", "low("), concat!("#![al", "low(")];

/// Calls that make a test depend on the speed of the machine.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep")];

/// Folders that exist on one machine only.
const MACHINE_FOLDERS: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("/t", "mp/"),
];

/// Checks every file.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let rust = tree.rust().flat_map(check_rust);
    let text = tree.files.iter().filter(|file| !file.has_extension("lock"));
    rust.chain(text.flat_map(check_text)).collect()
}

fn check_rust(file: &File) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut broken = |line, rule: String| violations.push(Violation::new(&file.path, line, rule));
    let (code, all) = (file.lines_before_tests(), file.text.lines().count());
    if code > CODE_LINES_MAX {
        broken(code, format!("{code} lines before the tests, {CODE_LINES_MAX} allowed"));
    }
    if all > FILE_LINES_MAX {
        broken(all, format!("{all} lines, {FILE_LINES_MAX} allowed with tests"));
    }
    if !FIRST_WORDS.iter().any(|words| file.text.starts_with(words)) {
        broken(1, "a file begins with //! and says what it is and what it is not".to_owned());
    }
    for (number, line) in file.lines() {
        if let Some(attribute) = find(line, &SWITCHED_OFF) {
            broken(
                number,
                format!("{attribute} is not used here; lints have #[expect(.., reason)]"),
            );
        }
        if number > code && find(line, &SLEEPS).is_some() {
            broken(number, "a test waits for a condition, it does not sleep".to_owned());
        }
    }
    violations
}

fn check_text(file: &File) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in file.lines() {
        let unfinished = find(line, &UNFINISHED).map(|word| format!("{word} is not done"));
        let folder = find_folder(line).map(|path| format!("{path} is a path of one machine"));
        for rule in unfinished.into_iter().chain(folder) {
            violations.push(Violation::new(&file.path, number, rule));
        }
    }
    violations
}

fn find(line: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().find(|word| line.contains(**word)).copied()
}

/// Finds a machine's folder that begins a path: not the end of a longer one, not part of a URL.
fn find_folder(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        line.match_indices(folder).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            before.is_none_or(|c| !(c.is_alphanumeric() || "._-~/}>".contains(c)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, tree};
    use super::*;

    #[track_caller]
    fn assert_broken(path: &str, text: &str, expected: &[usize]) {
        assert_eq!(lines(&check(&tree(path, text))), expected, "{text}");
    }

    #[test]
    fn tests_at_the_end_do_not_count_as_code() {
        let code = format!("//! x\n{}", "fn f() {}\n".repeat(CODE_LINES_MAX - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(90));
        assert_broken("a/src/b.rs", &format!("{code}{tests}"), &[]);
        assert_broken("a/src/b.rs", &format!("{code}fn f() {{}}\n{tests}"), &[401]);
        assert_broken("a/src/b.rs", &format!("{code}{tests}{}", "\n".repeat(10)), &[503]);
    }

    #[test]
    fn a_file_of_tests_has_one_limit() {
        let text = format!("//! x\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX - 1));
        assert_broken("a/tests/b.rs", &text, &[]);
        assert_broken("a/tests/b.rs", &format!("{text}\n"), &[501]);
    }

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert_broken("a/src/b.rs", "use std::fs;\n//! late\n", &[1]);
    }

    #[test]
    fn unfinished_work_is_found_in_every_kind_of_file() {
        for word in UNFINISHED {
            assert_broken("docs/a.md", &format!("x\n{word} y"), &[2]);
        }
    }

    #[test]
    fn switched_off_tests_and_lints_are_found() {
        for attribute in SWITCHED_OFF {
            assert_broken("a/src/b.rs", &format!("//! x\n{attribute}"), &[2]);
        }
    }

    #[test]
    fn a_sleep_is_found_in_tests_and_allowed_in_products() {
        for sleep in SLEEPS {
            assert_broken("a/src/b.rs", &format!("//! x\n{sleep}(d)"), &[]);
            assert_broken("a/tests/b.rs", &format!("//! x\n{sleep}(d)"), &[2]);
            let text = format!("//! x\n#[cfg(test)]\nmod tests {{\n{sleep}(d)\n}}");
            assert_broken("a/src/b.rs", &text, &[4]);
        }
    }

    #[test]
    fn paths_of_one_machine_are_found_and_urls_are_not() {
        for folder in MACHINE_FOLDERS {
            assert_broken("a.toml", &format!("path = \"{folder}x\""), &[1]);
            assert_broken("a.toml", &format!("https://a.example{folder}x"), &[]);
            assert_broken("a.toml", &format!("var{folder}x"), &[]);
        }
    }
}
