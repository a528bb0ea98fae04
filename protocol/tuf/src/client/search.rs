//! Targets roles: loading them, and the search for a target through delegations (spec 5.6).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Repository, check_expiry, check_version, unversioned};
use crate::refusal::{Cause, Refusal};
use crate::role::{Header, Listed, Signers, Targets};
use crate::store::{Fetch, Store};
use crate::time::Time;
use crate::verify::{self, Verified};

const TARGETS: &str = "targets";

/// A targets role and what it lists.
#[derive(Clone, Debug)]
pub struct RoleListing {
    /// Name of the role.
    pub role: String,
    /// Its version and expiry.
    pub header: Header,
    /// The targets it may list, in the order of the file.
    pub targets: Vec<Verified<Listed>>,
    /// Paths it lists although no delegation covers them; no client finds them.
    pub outside: Vec<String>,
}

/// A role still to be visited: who may sign it, as its delegator on this path said.
struct Visit {
    role: String,
    signers: Signers,
}

impl<S: Store> Repository<S> {
    /// Finds the target at `path` among the roles that may list it. Roles are fetched only when the
    /// search comes to them. [`Self::refresh`] must have succeeded before.
    pub fn target(
        &mut self,
        path: &str,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Verified<Listed>, Refusal> {
        // Spec 5.6.7: depth first, in the order of the delegations, no role twice.
        let mut to_visit = Vec::from([self.top_level()]);
        let mut visited: Vec<String> = Vec::new();
        while let Some(Visit { role, signers }) = to_visit.pop() {
            if visited.contains(&role) {
                continue;
            }
            // Spec 5.6.7.1: no more than so many roles.
            if visited.len() > self.limits.roles_max {
                return Err(Cause::TooManyRoles.of(path));
            }
            let targets = self.role(&role, &signers, fetch, now)?;
            if let Some(target) = targets.listed(&role, path) {
                return Ok(target);
            }
            visited.push(role);
            let mut children = Vec::new();
            for delegation in targets.delegations_of(path) {
                children.push(Visit { role: delegation.role, signers: delegation.signers });
                // Spec 5.6.7.2.1: behind a terminating delegation nobody else is asked.
                if delegation.terminating {
                    to_visit.clear();
                    break;
                }
            }
            to_visit.extend(children.into_iter().rev());
        }
        Err(Cause::NotListed.of(path))
    }

    /// Loads every role that is delegated to, directly or not, and lists what it may list: for
    /// servers that check whole repositories. A role that several others delegate to is listed once
    /// for each of them, as each may trust other keys and other paths.
    pub fn all_targets(
        &mut self,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Vec<RoleListing>, Refusal> {
        let Visit { role, signers } = self.top_level();
        let mut listings = Vec::new();
        self.list(&role, &signers, &|_| true, &mut listings, fetch, now)?;
        Ok(listings)
    }

    /// The top-level targets (spec 5.6.1 to 5.6.6).
    pub(crate) fn top_level_targets(
        &mut self,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Verified<Targets>, Refusal> {
        let Visit { role, signers } = self.top_level();
        self.role(&role, &signers, fetch, now)
    }

    fn top_level(&self) -> Visit {
        Visit { role: TARGETS.to_string(), signers: self.root.targets.clone() }
    }

    fn list(
        &mut self,
        role: &str,
        signers: &Signers,
        is_covered: &dyn Fn(&str) -> bool,
        listings: &mut Vec<RoleListing>,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<(), Refusal> {
        if listings.len() > self.limits.roles_max {
            return Err(Cause::TooManyRoles.of(role));
        }
        let targets = self.role(role, signers, fetch, now)?;
        let paths = targets.targets().map(|(path, _)| path.to_string());
        let (inside, outside): (Vec<_>, Vec<_>) = paths.partition(|path| is_covered(path));
        let listed = inside.iter().filter_map(|path| targets.listed(role, path)).collect();
        listings.push(RoleListing {
            role: role.to_string(),
            header: targets.header,
            targets: listed,
            outside,
        });
        for delegation in targets.delegations() {
            let is_covered = |path: &str| is_covered(path) && delegation.covers(path);
            self.list(&delegation.role, &delegation.signers, &is_covered, listings, fetch, now)?;
        }
        Ok(())
    }

    /// A targets role in the version the snapshot names, signed by `signers`: from the store if the
    /// copy there is right, else fetched and kept.
    fn role(
        &mut self,
        role: &str,
        signers: &Signers,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<Verified<Targets>, Refusal> {
        let file = unversioned(role);
        let refuse = |cause: Cause| cause.of(&*file);
        let snapshot = self.snapshot.as_ref().ok_or_else(|| Cause::Missing.of(super::SNAPSHOT))?;
        let announced = snapshot.role(role).ok_or_else(|| refuse(Cause::NotInSnapshot))?.clone();
        let stored = self.stored_role(role, &file, signers, announced.version)?;
        let as_announced =
            |file: &Verified<Targets>| verify::check_file(file.file(), &announced).is_ok();
        let stored = match stored {
            Some(stored) if as_announced(&stored) => {
                check_expiry(&stored.header, now).map_err(refuse)?;
                return Ok(stored);
            }
            other => other,
        };
        // Spec 5.6.1 and 5.6.2: no more bytes than announced, with the announced hash.
        let bytes = self.fetch_announced(fetch, role, &announced, self.limits.targets_bytes_max)?;
        // Spec 5.6.3: signed by a threshold of the keys its delegator names.
        let new = verify::verify_targets(bytes, signers, self.name()).map_err(refuse)?;
        // Spec 5.6.4 and 5.6.5: of the version in the snapshot, and not expired.
        check_version(&new.header, &announced).map_err(refuse)?;
        check_expiry(&new.header, now).map_err(refuse)?;
        // Other signatures under one version are fine, other content is not.
        if stored.is_some_and(|stored| !stored.same_content(&new)) {
            return Err(refuse(Cause::SameVersionOtherContent));
        }
        // Spec 5.6.6: keep it. Where there is no room it serves this search, and is fetched again for
        // the next: no version goes back by that, for the snapshot is kept.
        if self.save(&file, new.file()).is_ok() {
            self.roles.set(role, new.header.version);
        }
        Ok(new)
    }

    /// The copy in the store if it has this version and these signers. A copy that claims the version
    /// but does not verify is forgotten, so that we do not tell the server we have it.
    fn stored_role(
        &mut self,
        role: &str,
        file: &str,
        signers: &Signers,
        version: u64,
    ) -> Result<Option<Verified<Targets>>, Refusal> {
        let Some(bytes) = self.load(file)? else {
            // The store needed the room: tell the server no longer that we have it.
            self.roles.remove(role);
            return Ok(None);
        };
        if verify::claimed_version(&bytes) != Some(version) {
            return Ok(None);
        }
        let stored = verify::verify_targets(bytes, signers, self.name()).ok();
        if stored.is_none() {
            self.remove(file)?;
            self.roles.remove(role);
        }
        Ok(stored)
    }
}
