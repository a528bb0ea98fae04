//! The signed files of the two repositories, made as the ceremony makes them, but for one key.
//!
//! Not here: ceremonies. `waxwing-keys` holds those.

use std::collections::BTreeMap;

use waxwing_tuf::Time;
use waxwing_tuf::author::{
    Ed25519Signer, Key, Metadata, Repo, RoleKeys, Root, RootRoles, SignedFile, Signer, SpecVersion,
};

/// Life of the roots: longer than any benchmark.
const LIFE_MS: u64 = 365 * 24 * 3600 * 1000;

/// Signs the first root of the Director: `offline` for itself, `online` for the other roles.
pub(crate) fn director_root(
    offline: &Ed25519Signer,
    online: &dyn Signer,
    now_ms: u64,
) -> anyhow::Result<Vec<u8>> {
    let signers: [&dyn Signer; 2] = [offline, online];
    let keys = signers.map(|signer| (signer.key_id().to_owned(), Key::from(signer.public())));
    let role =
        |signer: &dyn Signer| RoleKeys { keyids: vec![signer.key_id().to_owned()], threshold: 1 };
    let root = Root {
        consistent_snapshot: true,
        expires: Time::from_millis(now_ms + LIFE_MS),
        keys: BTreeMap::from(keys),
        repo: Repo::Director,
        roles: RootRoles {
            root: role(offline),
            snapshot: role(online),
            targets: role(online),
            timestamp: role(online),
        },
        spec_version: SpecVersion::default(),
        version: 1,
    };
    let mut file = SignedFile::unsigned(&Metadata::Root(root))?;
    file.sign(offline)?;
    Ok(file.to_bytes()?)
}
