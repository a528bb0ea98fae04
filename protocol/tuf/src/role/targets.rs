//! `targets.json` and delegated roles (spec 4.5): the files that may be installed, and who else may
//! name some.

use alloc::string::String;
use alloc::vec::Vec;

use crate::json::{Text, Value};
use crate::path;
use crate::refusal::Cause;
use crate::role::bins::Bins;
use crate::role::{Hashes, Header, NAME_BYTES_MAX, Signers, name};
use crate::verify::ContentCheck;

/// Most delegations read from one role.
pub const DELEGATIONS_MAX: usize = 256;

const TOP_LEVEL_ROLES: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// Target files and delegations. Keeps the text of the file and decodes what is asked for: a role
/// may list hundreds of targets, and a device wants one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Targets {
    /// Version and expiry.
    pub header: Header,
    file: String,
}

/// A file that may be installed.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its length in bytes.
    pub length: u64,
    /// Its hashes, at least one.
    pub hashes: Hashes,
    /// What the application wants to know about it.
    pub custom: Option<Value<'a>>,
}

/// A target, and who lists it where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Name of the role that lists it.
    pub role: String,
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its hashes, at least one.
    pub hashes: Hashes,
    custom: Option<String>,
}

/// A role that may name targets, under some paths.
#[derive(Clone, Debug)]
pub struct Delegation<'a> {
    /// Name of the role.
    pub role: String,
    /// Who may sign it.
    pub signers: Signers,
    /// If the role does not know a path of its own, nobody else is asked.
    pub terminating: bool,
    pub(super) paths: Paths<'a>,
}

#[derive(Clone, Debug)]
pub(super) enum Paths<'a> {
    Bin { index: u32, bits: u32 },
    HashPrefixes(Value<'a>),
    Patterns(Value<'a>),
}

impl Targets {
    /// The target at `path`, if this role itself names it.
    pub fn target(&self, path: &str) -> Option<Target<'_>> {
        // `check` has decoded every entry.
        Target::decode(self.signed()?.field("targets")?.field(path)?).ok()
    }

    /// All targets this role itself names.
    pub fn targets(&self) -> impl Iterator<Item = (Text<'_>, Target<'_>)> {
        let members = self.signed().and_then(|signed| signed.field("targets")?.members());
        let targets = members.into_iter().flatten();
        targets.filter_map(|(path, target)| Some((path, Target::decode(target).ok()?)))
    }

    /// The delegations, in the order in which they are to be asked. Hash bins (TAP 15) may be very
    /// many; who looks for one path asks [`Self::delegations_of`].
    pub fn delegations(&self) -> impl Iterator<Item = Delegation<'_>> {
        self.roles().chain(self.bins().into_iter().flat_map(Bins::all))
    }

    /// The delegations that cover `path`, in the order in which they are to be asked.
    pub fn delegations_of(&self, path: &str) -> impl Iterator<Item = Delegation<'_>> {
        let roles = self.roles().filter(move |delegation| delegation.covers(path));
        roles.chain(self.bins().map(|bins| bins.of(path)))
    }

    /// Whether there is a `delegations` object, be it empty. A Director must not have one.
    pub fn delegates(&self) -> bool {
        self.signed().is_some_and(|signed| signed.field("delegations").is_some())
    }

    /// `custom` of the role itself.
    pub fn custom(&self) -> Option<Value<'_>> {
        self.signed()?.field("custom")
    }

    /// The file, byte for byte as it was delivered.
    pub fn file(&self) -> &[u8] {
        self.file.as_bytes()
    }

    /// Whether both files have the same signed part, whoever signed it.
    pub fn same_content(&self, other: &Self) -> bool {
        self.signed().zip(other.signed()).is_some_and(|(one, other)| one.same_as(other))
    }

    /// Decodes the whole signed part once, so that later look-ups cannot fail.
    pub(crate) fn check(signed: Value<'_>) -> Result<(), Cause> {
        let targets = signed.field("targets").and_then(Value::members);
        for (_, target) in targets.ok_or(Cause::BadField("targets"))? {
            Target::decode(target)?;
        }
        signed.field("delegations").map_or(Ok(()), check_delegations)
    }

    /// Keeps a file whose signed part is checked.
    pub(crate) fn new(header: Header, file: String) -> Self {
        Self { header, file }
    }

    fn roles(&self) -> impl Iterator<Item = Delegation<'_>> {
        let delegations = self.signed().and_then(|signed| signed.field("delegations"));
        let keys = delegations.and_then(|delegations| delegations.field("keys"));
        let roles = delegations.and_then(|delegations| delegations.field("roles")?.elements());
        let roles = roles.into_iter().flatten();
        roles.filter_map(move |role| Delegation::decode(role, keys?).ok())
    }

    fn bins(&self) -> Option<Bins> {
        let delegations = self.signed()?.field("delegations")?;
        Bins::decode(delegations.field("succinct_roles")?, delegations.field("keys")?).ok()
    }

    fn signed(&self) -> Option<Value<'_>> {
        Value::from_checked(&self.file).field("signed")
    }
}

fn check_delegations(delegations: Value<'_>) -> Result<(), Cause> {
    const BAD: Cause = Cause::BadField("delegations");
    let keys = delegations.field("keys").ok_or(BAD)?;
    let roles = match (delegations.field("roles"), delegations.field("succinct_roles")) {
        (Some(roles), None) => roles.elements().ok_or(BAD)?,
        // TAP 15: a role delegates in one way or the other.
        (None, Some(bins)) => return Bins::decode(bins, keys).map(drop),
        (None, None) | (Some(_), Some(_)) => return Err(BAD),
    };
    let mut names = Vec::new();
    for role in roles {
        let name = Delegation::decode(role, keys)?.role;
        if names.len() == DELEGATIONS_MAX || names.contains(&name) {
            return Err(BAD);
        }
        names.push(name);
    }
    Ok(())
}

impl Listed {
    pub(crate) fn new(role: &str, path: &str, target: &Target<'_>) -> Self {
        Self {
            role: role.into(),
            path: path.into(),
            length: target.length,
            hashes: target.hashes.clone(),
            custom: target.custom.map(|custom| custom.as_raw().into()),
        }
    }

    /// What the application wants to know about it.
    pub fn custom(&self) -> Option<Value<'_>> {
        self.custom.as_deref().map(Value::from_checked)
    }

    /// Begins to compare bytes with what is listed.
    pub fn content(&self) -> ContentCheck {
        ContentCheck::new(self.length, &self.hashes)
    }
}

impl<'a> Target<'a> {
    fn decode(target: Value<'a>) -> Result<Self, Cause> {
        let length = target.field("length").and_then(Value::as_u64);
        Ok(Self {
            length: length.ok_or(Cause::BadField("length"))?,
            hashes: Hashes::decode(target.field("hashes").ok_or(Cause::BadField("hashes"))?)?,
            custom: target.field("custom"),
        })
    }
}

impl<'a> Delegation<'a> {
    /// Whether the delegation covers `path` (spec 4.5, `paths` and `path_hash_prefixes`; TAP 15).
    pub fn covers(&self, path: &str) -> bool {
        match self.paths {
            Paths::Bin { index, bits } => path::bin(path, bits) == index,
            Paths::HashPrefixes(prefixes) => {
                let hash = path::hash(path);
                texts(prefixes).any(|prefix| is_prefix(prefix, &hash))
            }
            Paths::Patterns(patterns) => {
                texts(patterns).any(|pattern| path::matches(pattern.chars(), path))
            }
        }
    }

    fn decode(role: Value<'a>, keys: Value<'a>) -> Result<Self, Cause> {
        const BAD: Cause = Cause::BadField("delegations");
        let (list, paths) = match (role.field("paths"), role.field("path_hash_prefixes")) {
            (Some(patterns), None) => (patterns, Paths::Patterns(patterns)),
            (None, Some(prefixes)) => (prefixes, Paths::HashPrefixes(prefixes)),
            (None, None) | (Some(_), Some(_)) => return Err(BAD),
        };
        let well_formed = |text: Value<'_>| {
            text.as_text().is_some_and(|text| text.chars().count() <= NAME_BYTES_MAX)
        };
        if !list.elements().ok_or(BAD)?.all(well_formed) {
            return Err(BAD);
        }
        // A delegated role of such a name would overwrite the trusted file of the real one.
        let is_delegable = |role: &String| !TOP_LEVEL_ROLES.contains(&role.as_str());
        Ok(Self {
            role: role.field("name").and_then(name).filter(is_delegable).ok_or(BAD)?,
            signers: Signers::decode(role, keys)?,
            terminating: role.field("terminating").and_then(Value::as_bool).ok_or(BAD)?,
            paths,
        })
    }
}

fn texts(list: Value<'_>) -> impl Iterator<Item = Text<'_>> {
    list.elements().into_iter().flatten().filter_map(Value::as_text)
}

/// An empty prefix covers everything, as in any other implementation.
fn is_prefix(prefix: Text<'_>, hash: &str) -> bool {
    prefix.as_plain().is_some_and(|prefix| hash.starts_with(prefix))
}
