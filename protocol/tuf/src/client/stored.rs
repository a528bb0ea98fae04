//! The trusted files in the store: opening, replacing and forgetting them.

use alloc::vec::Vec;

use super::{ROOT, Repository, SNAPSHOT, TIMESTAMP, unversioned};
use crate::refusal::{Cause, Refusal};
use crate::role::{Role, Root, Signers};
use crate::store::Store;
use crate::verify::{self, Verified};

impl<S: Store> Repository<S> {
    /// Takes the newer one of the root in the store and `trusted`, which is `self.root`.
    pub(super) fn open_root(&mut self, trusted: &[u8]) -> Result<(), Refusal> {
        let stored = self.load(ROOT)?;
        // Until the first rotation both are the same, and verified already.
        if stored.as_deref() == Some(trusted) {
            return Ok(());
        }
        let stored = stored.and_then(|bytes| verify::verify_trusted_root(&bytes, self.name()).ok());
        match stored {
            Some(stored) if stored.header.version >= self.root.header.version => self.root = stored,
            // The firmware brought a newer root: as if it had been followed over the air.
            Some(older) => {
                let newer = core::mem::replace(&mut self.root, older);
                self.trust_root(trusted, newer)?;
            }
            None => self.save(ROOT, trusted)?,
        }
        Ok(())
    }

    pub(super) fn open_roles(&mut self) -> Result<(), Refusal> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        for (role, _) in snapshot.roles() {
            // Only the version, and only to tell the server: a role is verified whenever it is used.
            let bytes = self.load(&unversioned(role))?;
            if let Some(version) = bytes.and_then(|bytes| verify::claimed_version(&bytes)) {
                self.roles.set(role, version);
            }
        }
        Ok(())
    }

    pub(super) fn trust_root(&mut self, bytes: &[u8], root: Verified<Root>) -> Result<(), Refusal> {
        // Spec 5.3.11: if the keys of timestamp or snapshot were rotated, forget both, so that a
        // repository whose versions an attacker drove up can start again. First forget, then trust:
        // a power cut in between repeats the step.
        let rotated = !same_keys(&self.root.timestamp, &root.timestamp)
            || !same_keys(&self.root.snapshot, &root.snapshot);
        if rotated {
            self.remove(TIMESTAMP)?;
            self.remove(SNAPSHOT)?;
            self.timestamp = None;
            self.snapshot = None;
        }
        self.save(ROOT, bytes)?;
        self.root = root;
        Ok(())
    }

    /// A file of the store; one that does not verify is as good as none.
    pub(super) fn stored<R: Role>(
        &self,
        file: &str,
        signers: &Signers,
    ) -> Result<Option<Verified<R>>, Refusal> {
        Ok(self.load(file)?.and_then(|bytes| self.verify(&bytes, signers).ok()))
    }

    pub(super) fn load(&self, file: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.store.load(file).map_err(|error| Cause::from(error).of(file))
    }

    pub(super) fn save(&mut self, file: &str, bytes: &[u8]) -> Result<(), Refusal> {
        self.store.save(file, bytes).map_err(|error| Cause::from(error).of(file))
    }

    pub(super) fn remove(&mut self, file: &str) -> Result<(), Refusal> {
        self.store.remove(file).map_err(|error| Cause::from(error).of(file))
    }
}

/// Whether two sets hold the same key values; their names and the threshold do not matter.
fn same_keys(one: &Signers, other: &Signers) -> bool {
    let within = |few: &Signers, many: &Signers| {
        few.keys().all(|(_, key)| many.keys().any(|(_, other)| key == other))
    };
    within(one, other) && within(other, one)
}
