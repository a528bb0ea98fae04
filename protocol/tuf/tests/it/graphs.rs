//! Every delegation graph of tuf-conformance, under the name it has there.

#[cfg(feature = "author")]
use std::collections::BTreeMap;

use serde_json::json;
use waxwing_tuf::Cause;

#[cfg(feature = "author")]
use crate::support::Draft;
use crate::support::{Author, NOW, refused};

const T: &str = "targets";
const A: &str = "A";
const B: &str = "B";
const C: &str = "C";
const D: &str = "D";
const PY: &[&str] = &["*.py"];

/// Who delegates to whom.
struct Edge {
    from: &'static str,
    to: &'static str,
    paths: &'static [&'static str],
    terminating: bool,
}

const fn edge(from: &'static str, to: &'static str) -> Edge {
    Edge { from, to, paths: &["*"], terminating: false }
}

const fn terminating(from: &'static str, to: &'static str) -> Edge {
    Edge { terminating: true, ..edge(from, to) }
}

const fn only(from: &'static str, to: &'static str, paths: &'static [&'static str]) -> Edge {
    Edge { paths, ..edge(from, to) }
}

/// A repository with these delegations, all to one key.
fn author(edges: &[Edge]) -> Author {
    let mut author = Author::new();
    for Edge { from, to, paths, terminating } in edges {
        author.delegate(from, to, paths, 8);
        let parent = if *from == "targets" {
            &mut author.targets
        } else {
            author.roles.get_mut(*from).unwrap()
        };
        let roles = parent["delegations"]["roles"].as_array_mut().unwrap();
        roles.last_mut().unwrap()["terminating"] = (*terminating).into();
    }
    author.publish();
    author
}

/// Searches for `path` and compares the roles asked for on the way.
#[track_caller]
fn check(graph: &str, author: &mut Author, path: &str, visited: &[&str], is_found: bool) {
    let mut client = author.client();
    client.refresh(&mut author.served, NOW).unwrap();
    author.served.take_requests();
    let found = client.target(path, &mut author.served, NOW);
    if is_found {
        assert_eq!(found.unwrap().path, path, "{graph}");
    } else {
        refused(found, path, Cause::NotListed);
    }
    let expected: Vec<_> = visited.iter().map(|role| format!("1.{role}.json")).collect();
    assert_eq!(author.served.take_requests(), expected, "{graph}");
    #[cfg(feature = "author")]
    check_search(graph, author, path, visited, is_found);
}

/// A server that sends what a device will ask for comes to the same roles.
#[cfg(feature = "author")]
#[track_caller]
fn check_search(graph: &str, author: &Author, path: &str, visited: &[&str], is_found: bool) {
    let drafts = author.roles.iter().map(|(role, draft)| (role.as_str(), draft));
    let drafts = drafts.chain([(T, &author.targets)]);
    let read = |draft: &Draft| waxwing_tuf::verify::read_targets(&draft.bytes()).unwrap();
    let roles: BTreeMap<_, _> = drafts.map(|(role, draft)| (role, read(draft))).collect();
    let search = waxwing_tuf::author::Search::new(path, |role| roles.get(role));
    assert_eq!((&search.roles[0][..], search.is_found), (T, is_found), "{graph}");
    assert_eq!(search.roles[1..], *visited, "{graph}");
}

#[test]
fn every_graph_is_searched_depth_first_in_the_order_of_its_delegations() {
    let graphs: [(&str, &[Edge], &[&str]); 12] = [
        ("basic-delegation", &[edge(T, A)], &[A]),
        ("single-level-delegations", &[edge(T, A), edge(T, B)], &[A, B]),
        ("two-level-delegations", &[edge(T, A), edge(T, B), edge(B, C)], &[A, B, C]),
        (
            "two-level-test-DFS-order-of-traversal",
            &[edge(T, A), edge(T, B), edge(A, C), edge(A, D)],
            &[A, C, D, B],
        ),
        (
            "three-level-delegation-test-DFS-order-of-traversal",
            &[edge(T, A), edge(T, B), edge(A, C), edge(C, D)],
            &[A, C, D, B],
        ),
        (
            "two-level-terminating-ignores-all-but-roles-descendants",
            &[edge(T, A), edge(T, B), terminating(A, C), edge(A, D)],
            &[A, C],
        ),
        (
            "three-level-terminating-ignores-all-but-roles-descendants",
            &[edge(T, A), edge(T, B), terminating(A, C), edge(C, D)],
            &[A, C, D],
        ),
        (
            "two-level-ignores-all-branches-not-matching-paths",
            &[only(T, A, PY), edge(T, B), edge(A, C)],
            &[B],
        ),
        (
            "three-level-ignores-all-branches-not-matching-paths",
            &[edge(T, A), edge(T, B), only(A, C, PY), edge(C, D)],
            &[A, B],
        ),
        (
            "cyclic-graph",
            &[edge(T, A), edge(T, B), edge(B, C), edge(C, D), edge(D, B)],
            &[A, B, C, D],
        ),
        (
            "two-roles-delegating-to-a-third",
            &[edge(T, A), edge(T, B), edge(B, C), edge(A, C)],
            &[A, C, B],
        ),
        (
            "two-roles-delegating-to-a-third-different-paths",
            &[edge(T, A), edge(T, B), edge(B, C), only(A, C, PY)],
            &[A, B, C],
        ),
    ];
    for (name, edges, visited) in graphs {
        check(name, &mut author(edges), "missingpath", visited, false);
    }
}

#[test]
fn a_target_is_found_where_all_patterns_on_the_way_cover_it_and_nowhere_else() {
    let edges = [
        only("targets", "A", &["*.doc", "*.md", "foo-?.tgz"]),
        only("targets", "B", &["releases/*/*"]),
        only("B", "C", &["releases/x/*"]),
        only("B", "D", &["releases/y/*.zip"]),
    ];
    let mut author = author(&edges);
    for (role, path) in [
        ("targets", "targetfile"),
        ("A", "README.md"),
        ("A", "releases/README.md"),
        ("A", "foo-1.tgz"),
        ("A", "foo-alpha.tgz"),
        ("C", "releases/x/x_v1"),
        ("D", "releases/y/y_v1.zip"),
        ("D", "releases/z/z_v1.zip"),
    ] {
        let target = Author::target(path.as_bytes(), &json!({}));
        let draft = if role == "targets" {
            &mut author.targets
        } else {
            author.roles.get_mut(role).unwrap()
        };
        draft["targets"][path] = target;
    }
    author.publish();
    let searches: [(&str, &str, &[&str], bool); 9] = [
        ("no delegations", "targetfile", &[], true),
        ("targetpath matches wildcard", "README.md", &["A"], true),
        ("targetpath with separators x", "releases/x/x_v1", &["B", "C"], true),
        ("targetpath with separators y", "releases/y/y_v1.zip", &["B", "D"], true),
        (
            "targetpath is not delegated by all roles in the chain",
            "releases/z/z_v1.zip",
            &["B"],
            false,
        ),
        ("wildcard does not match path separator", "releases/README.md", &[], false),
        ("targetpath matches question mark wildcard", "foo-1.tgz", &["A"], true),
        ("targetpath does not match question mark wildcard", "foo-alpha.tgz", &[], false),
        ("targetpath matching is case sensitive", "README.MD", &[], false),
    ];
    for (name, path, visited, is_found) in searches {
        check(name, &mut author, path, visited, is_found);
    }
}
