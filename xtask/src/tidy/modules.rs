//! Which modules of the server may use which: `http, mqtt, jobs -> store -> domain`.
//!
//! A module is the first segment below `crate`; its paths are read from `use` and from the code,
//! comments and tests left out. Not here: edges between crates.

use super::Violation;
use super::tree::{File, Tree};

const SOURCES: &str = "server/src/";

/// The only modules of ours that these may use.
const LAYERS: [(&str, &[&str]); 2] =
    [("domain", &["domain"]), ("store", &["clock", "domain", "store"])];

/// What the domain would need to do input or output, or to know the time.
const IMPURE: [&str; 10] = [
    "axum::",
    "hyper::",
    "reqwest::",
    "rustls::",
    "sqlx::",
    "std::env",
    "std::fs",
    "std::net",
    "tokio::",
    "tower::",
];

/// Only the store speaks SQL.
const SQL: &str = "sqlx::";

/// Checks the sources of the server.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let ours = tree.rust().filter(|file| file.path.starts_with(SOURCES) && !file.is_test());
    ours.flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Violation> {
    let path = file.path.trim_start_matches(SOURCES).trim_end_matches(".rs");
    let module = path.split('/').next().unwrap_or(path);
    let layer = LAYERS.iter().find(|(name, _)| *name == module);
    let mut violations = Vec::new();
    let mut broken = |line, rule| violations.push(Violation::new(&file.path, line, rule));
    let lines = file.lines().take(file.lines_before_tests());
    let code: Vec<_> = lines.filter(|(_, line)| !is_comment(line)).collect();
    for (line, text) in &code {
        if module == "domain"
            && let Some(word) = IMPURE.iter().find(|word| text.contains(**word))
        {
            broken(*line, format!("the domain is pure: no {word}"));
        }
        if module != "store" && text.contains(SQL) {
            broken(*line, "only the store speaks SQL".to_owned());
        }
    }
    for (line, used) in used_modules(&code) {
        if let Some((name, allowed)) = layer
            && !allowed.contains(&used.as_str())
        {
            broken(line, format!("{name} may use only {}: not {used}", allowed.join(", ")));
        }
    }
    violations
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Returns the first segments of all paths that begin with `crate::`, groups included.
fn used_modules(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (index, (line, text)) in code.iter().enumerate() {
        for rest in text.split("crate::").skip(1) {
            // A group may go on below.
            let below = code.iter().skip(index + 1).map(|(_, text)| *text);
            let text: String = std::iter::once(rest).chain(below).collect();
            used.extend(first_segments(&text).into_iter().map(|segment| (*line, segment)));
        }
    }
    used
}

/// Reads `a::b` or `{a::b, c::{d, e}, f}` at the start of the text.
fn first_segments(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else { return vec![identifier(text)] };
    let mut depth = 0_u32;
    let mut segments = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => segments.push(String::new()),
            c => segments.last_mut().into_iter().for_each(|segment| segment.push(c)),
        }
    }
    let names = segments.iter().map(|segment| identifier(segment.trim()));
    names.filter(|name| !name.is_empty()).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
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
    fn the_domain_knows_no_other_module() {
        let file = "server/src/domain/rollout.rs";
        assert_broken(file, "use crate::domain::device::Device;\n// crate::store", &[]);
        assert_broken(file, "use std::fmt;\nuse crate::store::Store;", &[2]);
        assert_broken(file, "fn f() { crate::http::g() }", &[1]);
        assert_broken("server/src/domain.rs", "use crate::clock::Clock;", &[1]);
    }

    #[test]
    fn the_domain_does_no_input_or_output() {
        assert_broken("server/src/domain/a.rs", "use tokio::sync::Mutex;", &[1]);
        assert_broken("server/src/http/a.rs", "use tokio::sync::Mutex;", &[]);
    }

    #[test]
    fn the_store_knows_only_what_lies_below_it() {
        let file = "server/src/store/devices.rs";
        assert_broken(file, "use crate::{clock::Clock, domain::{a, b}};", &[]);
        assert_broken(file, "use crate::{\n    domain::a,\n    http::b,\n};", &[1]);
        assert_broken("server/src/http/a.rs", "use crate::store::Store;", &[]);
    }

    #[test]
    fn only_the_store_speaks_sql() {
        assert_broken("server/src/store.rs", "sqlx::query(\"\")", &[]);
        assert_broken("server/src/jobs/a.rs", "//! x\nsqlx::query(\"\")", &[2]);
        assert_broken("server/src/jobs/tests.rs", "//! x\nsqlx::query(\"\")", &[]);
    }
}
