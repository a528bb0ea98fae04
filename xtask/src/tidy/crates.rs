//! Which of our crates may use which, and that every crate takes the workspace's lints.
//!
//! A second look at the edges that `deny.toml` guards, from the other side: there, who may use
//! a crate; here, what a crate may use. A new crate fails until it has a row.

use std::fs;

use serde_json::Value;

use super::Violation;
use crate::workspace::root;

/// What of ours a crate may use, in tests too.
#[derive(Clone, Copy, Debug)]
enum Uses {
    Everything,
    Only(&'static [&'static str]),
}

const EDGES: [(&str, Uses); 19] = [
    (
        "waxwing",
        Uses::Only(&[
            "waxwing-audit",
            "waxwing-esp-image",
            "waxwing-provision",
            "waxwing-tuf",
            "waxwing-wire",
        ]),
    ),
    ("waxwing-agent", Uses::Only(&["waxwing-esp-image", "waxwing-tuf", "waxwing-wire"])),
    ("waxwing-agent-esp-idf", Uses::Only(&["waxwing-agent", "waxwing-esp-image", "waxwing-wire"])),
    (
        "waxwing-agent-flash",
        Uses::Only(&["waxwing-agent", "waxwing-esp-image", "waxwing-tuf", "waxwing-wire"]),
    ),
    (
        "waxwing-agent-host",
        Uses::Only(&[
            "waxwing-agent",
            "waxwing-agent-flash",
            "waxwing-agent-net",
            "waxwing-esp-image",
            "waxwing-tuf",
            "waxwing-wire",
        ]),
    ),
    ("waxwing-agent-net", Uses::Only(&["waxwing-agent", "waxwing-wire"])),
    ("waxwing-audit", Uses::Only(&["waxwing-tuf", "waxwing-wire"])),
    ("waxwing-bench", Uses::Everything),
    ("waxwing-simulate", Uses::Only(&["waxwing-server", "waxwing-tuf", "waxwing-wire"])),
    ("waxwing-documents", Uses::Only(&["waxwing-wire"])),
    ("waxwing-e2e", Uses::Everything),
    ("waxwing-esp-image", Uses::Only(&["waxwing-wire"])),
    (
        "waxwing-keys",
        Uses::Only(&[
            "waxwing-documents",
            "waxwing-esp-image",
            "waxwing-secure-boot",
            "waxwing-tuf",
            "waxwing-wire",
        ]),
    ),
    (
        "waxwing-provision",
        Uses::Only(&["waxwing-agent-flash", "waxwing-esp-image", "waxwing-wire"]),
    ),
    ("waxwing-secure-boot", Uses::Only(&["waxwing-esp-image", "waxwing-tuf", "waxwing-wire"])),
    (
        "waxwing-server",
        Uses::Only(&[
            "waxwing-audit",
            "waxwing-documents",
            "waxwing-esp-image",
            "waxwing-secure-boot",
            "waxwing-tuf",
            "waxwing-wire",
        ]),
    ),
    ("waxwing-tuf", Uses::Only(&[])),
    ("waxwing-wire", Uses::Only(&[])),
    ("xtask", Uses::Everything),
];

/// The lines by which a crate takes the lints of the workspace.
const LINTS: &str = "[lints]\nworkspace = true\n";

/// Checks every member of the workspace, as `cargo metadata` tells of them.
pub(super) fn check(metadata: &Value) -> Vec<Violation> {
    let members = array(metadata, "packages");
    let ours: Vec<_> = members.iter().filter_map(|member| text(member, "name")).collect();
    members
        .iter()
        .flat_map(|member| check_edges(member, &ours))
        .chain(members.iter().filter_map(|member| {
            let manifest = manifest(member);
            let takes_lints = fs::read_to_string(root().join(&manifest))
                .is_ok_and(|manifest| format!("{manifest}\n").contains(LINTS));
            (!takes_lints).then(|| Violation::new(&manifest, 1, "says [lints] workspace = true"))
        }))
        .collect()
}

fn check_edges(member: &Value, ours: &[&str]) -> Vec<Violation> {
    let name = text(member, "name").unwrap_or_default();
    let broken = |rule: String| Violation::new(&manifest(member), 1, rule);
    let Some((_, uses)) = EDGES.iter().find(|(row, _)| *row == name) else {
        return vec![broken(format!("{name} has no row in xtask/src/tidy/crates.rs"))];
    };
    let Uses::Only(allowed) = uses else { return Vec::new() };
    let edges = array(member, "dependencies").iter().filter_map(|edge| text(edge, "name"));
    let wrong = edges.filter(|to| *to != name && ours.contains(to) && !allowed.contains(to));
    wrong.map(|to| broken(format!("{name} may not use {to}"))).collect()
}

/// Returns the path of the manifest below the root.
fn manifest(member: &Value) -> String {
    let path = text(member, "manifest_path").unwrap_or_default();
    let below = path.strip_prefix(&*root().to_string_lossy()).unwrap_or(path);
    below.trim_start_matches('/').to_owned()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(name: &str, uses: &[&str]) -> Value {
        let edges: Vec<_> = uses.iter().map(|name| json!({ "name": name })).collect();
        let manifest = root().join("xtask/Cargo.toml");
        json!({ "name": name, "manifest_path": manifest, "dependencies": edges })
    }

    #[track_caller]
    fn broken(name: &str, uses: &[&str]) -> Vec<String> {
        let mut members: Vec<_> = EDGES.iter().map(|(name, _)| member(name, &[])).collect();
        members.push(member(name, uses));
        let metadata = json!({ "packages": members });
        check(&metadata).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn the_server_cannot_use_what_holds_release_keys() {
        assert_eq!(broken("waxwing-server", &["waxwing-tuf", "serde"]), Vec::<String>::new());
        assert_eq!(
            broken("waxwing-server", &["waxwing-keys"]),
            ["waxwing-server may not use waxwing-keys"]
        );
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(
            broken("waxwing-new", &[]),
            ["waxwing-new has no row in xtask/src/tidy/crates.rs"]
        );
    }
}
