//! Metadata with good signatures over whatever the fuzzer made: without them nothing behind the
//! signature check would ever be reached.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};
use waxwing_tuf::author::{Ed25519Signer, Signer};
use waxwing_tuf::json::Value;

use crate::metadata::hex;

/// The one key of everybody in this world.
pub(crate) static SIGNER: LazyLock<Ed25519Signer> =
    LazyLock::new(|| Ed25519Signer::from_seed(&[7; 32]).expect("every seed is a key"));

/// The device all of this is about.
pub(crate) const DEVICE: &str = "d-1";
/// Its product.
pub(crate) const PRODUCT: &str = "acme-th1";
/// When all of this happens: 2026-11-20T09:30:00Z.
pub(crate) const NOW_S: u64 = 1_795_167_000;

/// Puts a good signature before a signed part; `None` if it is no JSON that could be signed.
pub(crate) fn sign(part: &[u8]) -> Option<Vec<u8>> {
    let signature = SIGNER.sign(&canonical(Value::parse(part).ok()?)).expect("a key in memory");
    let signature = hex(&signature);
    let head = format!(
        r#"{{"signatures":[{{"keyid":"{}","sig":"{signature}"}}],"signed":"#,
        SIGNER.key_id()
    );
    Some([head.as_bytes(), part, b"}"].concat())
}

/// The canonical form of a value.
pub(crate) fn canonical(value: Value<'_>) -> Vec<u8> {
    let mut form = Vec::new();
    value.canonical(&mut |piece| form.extend_from_slice(piece));
    form
}

/// A root in which the one key speaks for every role.
pub(crate) fn root(repository: &str) -> Vec<u8> {
    let key = SIGNER.public();
    let role = json!({ "keyids": [SIGNER.key_id()], "threshold": 1 });
    let keys = json!({ SIGNER.key_id(): {
        "keytype": key.key_type(), "scheme": key.scheme(), "keyval": { "public": key.public_text() },
    } });
    let roles = json!({ "root": role, "snapshot": role, "targets": role, "timestamp": role });
    let part = json!({ "consistent_snapshot": true, "keys": keys, "roles": roles });
    part_of("root", repository, &part)
}

/// A signed part with the fields every role has.
pub(crate) fn part_of(kind: &str, repository: &str, fields: &Json) -> Vec<u8> {
    let mut part = json!({
        "_type": kind, "expires": "2027-11-20T09:30:00Z", "repo": repository,
        "spec_version": "1.0.34", "version": 1,
    });
    let object = part.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    serde_json::to_vec(&part).expect("JSON")
}
