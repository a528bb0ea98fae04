//! The client of one TUF repository: the detailed workflow of the specification (1.0.34, section 5).
//!
//! A [`Repository`] decides in which order files are asked for, compared and kept; whether a file is
//! to be believed is decided in [`crate::verify`]. It does no I/O, knows no clock, and asks for
//! exactly the files the workflow names: `N+1.root.json` until there is none, `timestamp.json`, then
//! the snapshot and the targets that are new. Whatever is wrong leaves the trusted files as they were.

mod limits;
mod search;
mod stored;
mod versions;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use limits::Limits;
pub use search::RoleListing;

use versions::Versions;

use crate::refusal::{Cause, Refusal};
use crate::role::{FileMeta, Header, Role, Root, Signers, Snapshot, Timestamp};
use crate::store::{Fetch, Store};
use crate::time::Time;
use crate::verify::{self, Verified};

const ROOT: &str = "root.json";
const TIMESTAMP: &str = "timestamp.json";
const SNAPSHOT: &str = "snapshot.json";

/// One TUF repository, as far as we trust it, and the store that remembers it.
#[derive(Clone, Debug)]
pub struct Repository<S> {
    store: S,
    name: Option<String>,
    limits: Limits,
    root: Verified<Root>,
    timestamp: Option<Verified<Timestamp>>,
    snapshot: Option<Verified<Snapshot>>,
    /// Versions of the targets roles in the store.
    roles: Versions,
}

/// A timestamp that is properly signed but perhaps expired, and its bytes.
pub(crate) struct FetchedTimestamp {
    bytes: Vec<u8>,
    pub(crate) timestamp: Verified<Timestamp>,
}

impl<S: Store> Repository<S> {
    /// Opens the repository and checks every trusted file in the store again.
    ///
    /// `trusted_root` came with the firmware or was otherwise obtained in a trusted way. A newer root
    /// in the store goes before it; one that does not verify any more is as good as none, and is
    /// fetched again. With `name` every file must say that it belongs to that repository (D1).
    pub fn open(
        store: S,
        trusted_root: &[u8],
        name: Option<&str>,
        limits: Limits,
    ) -> Result<Self, Refusal> {
        // Spec 5.2: the trusted root is shipped with the software.
        let root =
            verify::verify_trusted_root(trusted_root, name).map_err(|cause| cause.of(ROOT))?;
        let name = name.map(ToString::to_string);
        let mut repository = Self {
            store,
            name,
            limits,
            root,
            timestamp: None,
            snapshot: None,
            roles: Versions::default(),
        };
        repository.open_root(trusted_root)?;
        repository.timestamp = repository.stored(TIMESTAMP, &repository.root.timestamp)?;
        repository.snapshot = repository.stored(SNAPSHOT, &repository.root.snapshot)?;
        repository.open_roles()?;
        Ok(repository)
    }

    /// Brings the trusted files up to date: spec 5.3 to 5.6. `now` is the time to check expiry with.
    pub fn refresh(&mut self, fetch: &mut impl Fetch, now: Time) -> Result<(), Refusal> {
        self.update_root(fetch)?;
        self.check_root_expiry(now)?;
        let new = self.fetch_timestamp(fetch)?;
        self.accept_timestamp(new.ok_or_else(|| Cause::Missing.of(TIMESTAMP))?, now)?;
        self.update_snapshot(fetch, now)?;
        self.top_level_targets(fetch, now).map(drop)
    }

    /// Follows new roots, each signed by the one before it (spec 5.3). Does not look at expiry.
    pub fn update_root(&mut self, fetch: &mut impl Fetch) -> Result<(), Refusal> {
        for _ in 0..self.limits.roots_max {
            if !self.follow_root(fetch)? {
                return Ok(());
            }
        }
        let (file_name, next) = self.next_root(fetch)?;
        next.map_or(Ok(()), |_| Err(Cause::MoreRoots.of(file_name)))
    }

    /// Follows one new root; false if there is none.
    pub fn follow_root(&mut self, fetch: &mut impl Fetch) -> Result<bool, Refusal> {
        let (file_name, Some(bytes)) = self.next_root(fetch)? else { return Ok(false) };
        let root = verify::verify_next_root(&bytes, &self.root, self.name());
        // Spec 5.3.6 to 5.3.9: trust it, keep it, try the next.
        self.trust_root(&bytes, root.map_err(|cause| cause.of(file_name))?)?;
        Ok(true)
    }

    /// Spec 5.3.3: try N+1; if there is none, the trusted root is the newest.
    fn next_root(&self, fetch: &mut impl Fetch) -> Result<(String, Option<Vec<u8>>), Refusal> {
        let file_name = versioned(self.root.header.version.saturating_add(1), ROOT);
        let bytes = fetch_capped(fetch, &file_name, self.limits.root_bytes_max)?;
        Ok((file_name, bytes))
    }

    /// The trusted root.
    pub fn root(&self) -> &Verified<Root> {
        &self.root
    }

    /// The trusted timestamp.
    pub fn timestamp(&self) -> Option<&Verified<Timestamp>> {
        self.timestamp.as_ref()
    }

    /// The trusted snapshot.
    pub fn snapshot(&self) -> Option<&Verified<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The names without `.json` and the versions of all files in the store.
    pub fn versions(&self) -> impl Iterator<Item = (&str, u64)> {
        let root = Some(("root", self.root.header.version));
        let timestamp = self.timestamp_version().map(|version| ("timestamp", version));
        let snapshot = self.snapshot.as_ref().map(|snapshot| ("snapshot", snapshot.header.version));
        [root, timestamp, snapshot].into_iter().flatten().chain(self.roles.iter())
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Gives the store back.
    pub fn into_store(self) -> S {
        self.store
    }
}

/// The steps of the workflow, for [`crate::uptane`], where time comes out of the timestamp itself.
impl<S: Store> Repository<S> {
    /// Spec 5.3.10: the newest root must not have expired.
    pub(crate) fn check_root_expiry(&self, now: Time) -> Result<(), Refusal> {
        check_expiry(&self.root.header, now).map_err(|cause| cause.of(ROOT))
    }

    /// Spec 5.4.1 to 5.4.3: a timestamp that is properly signed and not older than ours. Expiry is
    /// still to be checked.
    pub(crate) fn fetch_timestamp(
        &self,
        fetch: &mut impl Fetch,
    ) -> Result<Option<FetchedTimestamp>, Refusal> {
        let Some(bytes) = fetch_capped(fetch, TIMESTAMP, self.limits.timestamp_bytes_max)? else {
            return Ok(None);
        };
        let new: Verified<Timestamp> =
            self.verify(&bytes, &self.root.timestamp).map_err(|cause| cause.of(TIMESTAMP))?;
        if let Some(trusted) = &self.timestamp {
            // Spec 5.4.3.1 and 5.4.3.2: neither it nor the snapshot it names goes back.
            let older = new.header.version < trusted.header.version;
            if older || new.snapshot.version < trusted.snapshot.version {
                return Err(Cause::Rollback.of(TIMESTAMP));
            }
        }
        Ok(Some(FetchedTimestamp { bytes, timestamp: new }))
    }

    /// Spec 5.4.3.1 to 5.4.5: trusts a timestamp that has not expired.
    pub(crate) fn accept_timestamp(
        &mut self,
        new: FetchedTimestamp,
        now: Time,
    ) -> Result<(), Refusal> {
        let header = new.timestamp.header;
        // Spec 5.4.3.1: one of the same version is discarded, and we go on with ours.
        if self.timestamp_version() == Some(header.version) {
            return Ok(());
        }
        check_expiry(&header, now).map_err(|cause| cause.of(TIMESTAMP))?;
        self.trust_timestamp(new)
    }

    /// Spec 5.4.5: trusts a timestamp and keeps it.
    pub(crate) fn trust_timestamp(&mut self, new: FetchedTimestamp) -> Result<(), Refusal> {
        self.save(TIMESTAMP, &new.bytes)?;
        self.trust_timestamp_unsaved(new);
        Ok(())
    }

    /// Trusts a timestamp until the next restart. It still cannot be rolled back meanwhile.
    pub(crate) fn trust_timestamp_unsaved(&mut self, new: FetchedTimestamp) {
        self.timestamp = Some(new.timestamp);
    }

    /// Spec 5.5: the snapshot that the trusted timestamp names.
    pub(crate) fn update_snapshot(
        &mut self,
        fetch: &mut impl Fetch,
        now: Time,
    ) -> Result<(), Refusal> {
        let timestamp = self.timestamp.as_ref().ok_or_else(|| Cause::Missing.of(TIMESTAMP))?;
        // Spec 5.4.4: a timestamp that was kept may have expired since.
        check_expiry(&timestamp.header, now).map_err(|cause| cause.of(TIMESTAMP))?;
        let announced = &timestamp.snapshot;
        let refuse = |cause: Cause| cause.of(SNAPSHOT);
        if let Some(trusted) =
            self.snapshot.as_ref().filter(|trusted| trusted.header.version == announced.version)
        {
            let bytes = self.load(SNAPSHOT)?.unwrap_or_default();
            verify::check_file(&bytes, announced)
                .map_err(|_| refuse(Cause::SameVersionOtherContent))?;
            return check_expiry(&trusted.header, now).map_err(refuse);
        }
        // Spec 5.5.1: no more bytes than the timestamp says.
        let bytes =
            self.fetch_announced(fetch, "snapshot", announced, self.limits.snapshot_bytes_max)?;
        // Spec 5.5.3: signed by a threshold of the snapshot keys.
        let new: Verified<Snapshot> = self.verify(&bytes, &self.root.snapshot).map_err(refuse)?;
        // Spec 5.5.4: the version is the one in the timestamp.
        check_version(&new.header, announced).map_err(refuse)?;
        if let Some(trusted) = &self.snapshot {
            // Beyond the spec: the timestamp that would have noticed may have been lost.
            if new.header.version < trusted.header.version {
                return Err(refuse(Cause::Rollback));
            }
            check_roles_only_advance(trusted, &new)?;
        }
        // Spec 5.5.6 and 5.5.7: not expired; keep it.
        check_expiry(&new.header, now).map_err(refuse)?;
        self.save(SNAPSHOT, &bytes)?;
        self.snapshot = Some(new);
        Ok(())
    }

    /// Fetches a file whose length and hashes another file may have announced (spec 5.5.2, 5.6.2).
    fn fetch_announced(
        &self,
        fetch: &mut impl Fetch,
        role: &str,
        announced: &FileMeta,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Refusal> {
        // Spec 3.1: with consistent snapshots the version is part of the name.
        let file_name = unversioned(role);
        let file_name = if self.root.consistent_snapshot {
            versioned(announced.version, &file_name)
        } else {
            file_name
        };
        let length = announced.length.map_or(Ok(bytes_max), usize::try_from).unwrap_or(usize::MAX);
        if length > bytes_max {
            return Err(Cause::TooLong.of(file_name));
        }
        let bytes = fetch_capped(fetch, &file_name, length)?
            .ok_or_else(|| Cause::Missing.of(&*file_name))?;
        verify::check_file(&bytes, announced).map_err(|cause| cause.of(file_name))?;
        Ok(bytes)
    }
}

impl<S> Repository<S> {
    fn verify<R: Role>(&self, bytes: &[u8], signers: &Signers) -> Result<Verified<R>, Cause> {
        verify::verify(bytes, signers, self.name())
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn timestamp_version(&self) -> Option<u64> {
        self.timestamp.as_ref().map(|timestamp| timestamp.header.version)
    }
}

/// Spec 5.3.10, 5.4.4, 5.5.6, 5.6.5: protects from a freeze.
pub(crate) fn check_expiry(header: &Header, now: Time) -> Result<(), Cause> {
    if header.expires > now { Ok(()) } else { Err(Cause::Expired) }
}

/// Spec 5.5.4, 5.6.4: protects from a mix of files that never belonged together.
fn check_version(header: &Header, announced: &FileMeta) -> Result<(), Cause> {
    if header.version == announced.version { Ok(()) } else { Err(Cause::WrongVersion) }
}

/// Spec 5.5.5: every role of the trusted snapshot is in the new one, in no lower version.
fn check_roles_only_advance(trusted: &Snapshot, new: &Snapshot) -> Result<(), Refusal> {
    for (role, before) in trusted.roles() {
        let cause = match new.role(role) {
            None => Cause::RemovedFromSnapshot,
            Some(after) if after.version < before.version => Cause::Rollback,
            Some(_) => continue,
        };
        return Err(cause.of(role));
    }
    Ok(())
}

/// The name under which a role is kept.
fn unversioned(role: &str) -> String {
    [role, ".json"].concat()
}

/// The name of one version of a file. Not by `format!`: nothing else in the client needs `core::fmt`,
/// which is 2 KB of a device's flash.
fn versioned(version: u64, file_name: &str) -> String {
    // 20 digits hold every version.
    let mut name = String::with_capacity(file_name.len() + 21);
    push_decimal(version, &mut name);
    name.push('.');
    name.push_str(file_name);
    name
}

fn push_decimal(number: u64, to: &mut String) {
    if number > 9 {
        push_decimal(number / 10, to);
    }
    let digit = u32::try_from(number % 10).ok().and_then(|digit| char::from_digit(digit, 10));
    to.extend(digit);
}

fn fetch_capped(
    fetch: &mut impl Fetch,
    file: &str,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, Refusal> {
    let bytes = fetch.metadata(file, bytes_max).map_err(|error| Cause::from(error).of(file))?;
    // A transport that ignores the limit is not to be trusted with it.
    if bytes.as_ref().is_some_and(|bytes| bytes.len() > bytes_max) {
        return Err(Cause::TooLong.of(file));
    }
    Ok(bytes)
}
