//! What a signer is about to put their name to, in words: the facts of a file, and how they differ
//! from those of the file before it.
//!
//! Not here: whether the change is allowed.

use std::collections::BTreeMap;

use super::fingerprint::fingerprint;
use super::metadata::{Key, MetaFile, Metadata, RoleKeys, Root, Targets};
use super::target::{ImageCustom, Target, TargetCustom};
use crate::hex;
use crate::key::PublicKey;

/// Names of keys by key id, as their holders gave them.
pub type Names = BTreeMap<String, String>;

/// Facts by what they are about, in the order in which they are shown.
type Facts = BTreeMap<String, String>;

/// Describes the change from `old` to `new`, one fact per line: `+` new, `-` gone, `~` changed.
/// Without an `old` file every fact is new.
pub fn diff(old: Option<&Metadata>, new: &Metadata, names: &Names) -> Vec<String> {
    let old = old.map(|old| facts(old, names)).unwrap_or_default();
    let new = facts(new, names);
    let gone = old.iter().filter(|(about, _)| !new.contains_key(*about));
    let gone = gone.map(|(about, fact)| line('-', about, fact));
    let changed = new.iter().filter_map(|(about, fact)| match old.get(about) {
        None => Some(line('+', about, fact)),
        Some(before) if before != fact => Some(line('~', about, &format!("{before} -> {fact}"))),
        Some(_) => None,
    });
    changed.chain(gone).collect()
}

fn line(sign: char, about: &str, fact: &str) -> String {
    let (about, fact) = (printable(about), printable(fact));
    if fact.is_empty() { format!("{sign} {about}") } else { format!("{sign} {about}: {fact}") }
}

/// Text of others as one line that a terminal shows as it stands: characters that move the cursor,
/// colour, or change the order in which letters are read (Unicode UAX #9) are replaced.
pub fn printable(text: &str) -> String {
    let reorders = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(|c: char| c.is_control() || reorders(c), "\u{fffd}")
}

fn facts(metadata: &Metadata, names: &Names) -> Facts {
    let mut facts = Facts::from([
        ("expires".to_owned(), metadata.expires().to_string()),
        ("repository".to_owned(), metadata.repo().to_string()),
        ("version".to_owned(), metadata.version().to_string()),
    ]);
    match metadata {
        Metadata::Root(root) => facts.extend(root_facts(root, names)),
        Metadata::Snapshot(snapshot) => facts.extend(file_facts(&snapshot.meta)),
        Metadata::Targets(targets) => facts.extend(targets_facts(targets, names)),
        Metadata::Timestamp(timestamp) => facts.extend(file_facts(&timestamp.meta)),
    }
    facts
}

fn root_facts(root: &Root, names: &Names) -> Facts {
    let roles = root.roles.named();
    roles.iter().flat_map(|(role, keys)| role_facts(role, keys, &root.keys, names)).collect()
}

fn role_facts(
    role: &str,
    role_keys: &RoleKeys,
    keys: &BTreeMap<String, Key>,
    names: &Names,
) -> Facts {
    let key = |id: &String| describe(id, keys.get(id), names);
    let key = |id: &String| (format!("role {role}, key {}", key(id)), String::new());
    let needed = format!("{} of {}", role_keys.threshold, role_keys.keyids.len());
    let needed = (format!("role {role}, signatures needed"), needed);
    role_keys.keyids.iter().map(key).chain([needed]).collect()
}

/// Names the key itself, whatever id a file lists it under.
fn describe(id: &str, key: Option<&Key>, names: &Names) -> String {
    let Some(key) = key.and_then(|key| PublicKey::try_from(key).ok()) else {
        return format!("UNREADABLE KEY {id}");
    };
    let words = fingerprint(&key);
    names.get(&key.key_id()).map_or(words.clone(), |name| format!("{name} ({words})"))
}

fn targets_facts(targets: &Targets, names: &Names) -> Facts {
    let listed = targets.targets.iter();
    let mut facts: Facts =
        listed.map(|(path, target)| (format!("target {path}"), target_fact(target))).collect();
    if let Some(delegations) = &targets.delegations {
        for role in &delegations.roles {
            facts.extend(role_facts(&role.name, &role.role_keys(), &delegations.keys, names));
            let end = if role.terminating { ", terminating" } else { "" };
            facts.insert(format!("role {}, paths", role.name), role.paths.join(" ") + end);
        }
    }
    for (field, value) in targets.custom.iter().flatten() {
        facts.insert(format!("custom {field}"), value.to_string());
    }
    facts
}

fn target_fact(target: &Target) -> String {
    let file = format!("{} bytes, sha256 {}", target.length, hex::encode(&target.hashes.sha256));
    match &target.custom {
        None => file,
        Some(TargetCustom::Image(image)) => format!("{}, {file}", image_fact(image)),
        Some(TargetCustom::ServerCa(_)) => format!("pins of the server's CA, {file}"),
    }
}

fn image_fact(ImageCustom { ceiling_permille, r#match: release }: &ImageCustom) -> String {
    let ceiling = |permille: &u16| format!(", at most {permille} of 1000 devices");
    format!(
        "version {}, security version {}, secure version {}, kind {}, chip {}, hardware {}{}",
        release.version,
        release.security_version,
        release.secure_version,
        release.kind,
        release.chip,
        release.hw.join(" "),
        ceiling_permille.as_ref().map(ceiling).unwrap_or_default(),
    )
}

fn file_facts(meta: &BTreeMap<String, MetaFile>) -> Facts {
    let version = |file: &MetaFile| format!("version {}", file.version);
    meta.iter().map(|(name, file)| (format!("file {name}"), version(file))).collect()
}
