//! The rules for a publication that go beyond what a device checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use waxwing_secure_boot::Unsigned;
use waxwing_tuf::author::release::{
    RELEASES_PER_ROLE_MAX, ReleaseRefusal, channel_of_docs, check_ceiling, check_rises,
    check_secure_versions,
};
use waxwing_tuf::author::{Hashes, ImageCustom, Target, TargetCustom};
use waxwing_tuf::client::RoleListing;
use waxwing_tuf::role::{Header, Listed};
use waxwing_tuf::uptane::SERVER_CA_PATH;
use waxwing_tuf::{Limits, MemoryStore, Repository};
use waxwing_wire::{Channel, Digest};

use super::{DocumentFault, Files, Known, Refused};
use crate::domain::Release;
use crate::domain::release::Unacceptable;
use crate::repositories::{self, image_repository};

/// What is published must be good for this long: time to notice, gather keyholders and sign again.
pub const EXPIRY_MARGIN: Duration = Duration::from_hours(7 * 24);

/// What a rule about all roles together names as its subject.
const ROLES: &str = "the roles of all channels";

/// A rule that a publication breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rule {
    /// The release is there already, with another image.
    #[error("the release was published before with another image; give it a new version")]
    Changed,
    /// A target outside the role's paths.
    #[error("the role may not list it; no device would find it")]
    Delegation,
    /// The image differs from what the release says.
    #[error("the image says {found}, the release {expected}")]
    Descriptor {
        /// As the image says.
        found: String,
        /// As the release says.
        expected: String,
    },
    /// A document does not go with a release.
    #[error(transparent)]
    Document(#[from] DocumentFault),
    /// It expires too soon.
    #[error("it expires in less than 7 days; sign it again with a later expiry")]
    ExpiresSoon,
    /// The `custom` object is not one that devices read.
    #[error("its `custom` object has no `match` that devices read")]
    Match,
    /// The image was not uploaded.
    #[error("its image {sha256} is not here; upload it first")]
    NoImage {
        /// Hash of the image.
        sha256: String,
    },
    /// No hash that we store images by.
    #[error("it has no SHA-256")]
    NoSha256,
    /// No answer to a poll could bring a device to it, or none would search that far.
    #[error(
        "no device would find it: more than 8 roles are asked before the one of its channel, or the \
         files on the way to it, with the pins, are longer than the 36 KiB that every device has room \
         for; take old releases off the channel, or delegate to it more directly"
    )]
    OutOfReach,
    /// No device could install it.
    #[error("no device of the product could install it: {0}")]
    Unacceptable(#[from] Unacceptable),
    /// Pins that were published once.
    #[error("it was listed before, and devices use it; list it, or another file in its place")]
    PinsGone,
    /// Pins that would cut devices off.
    #[error("it leaves out the CA of this server, and devices would not find it again")]
    PinsLockOut,
    /// Pins without their file.
    #[error("the file that is listed did not come along and is not here")]
    PinsMissing,
    /// Pins that no device could use.
    #[error("it is not a list of CA certificates in PEM, of 8 KiB at most")]
    PinsUnusable,
    /// Releases that must not be listed together (D2).
    #[error(transparent)]
    Releases(#[from] ReleaseRefusal),
    /// Not signed by a Secure Boot key that devices accept now.
    #[error("no device would boot it: {0}")]
    Unsigned(#[from] Unsigned),
    /// A file that belongs to nothing.
    #[error("nothing in the publication refers to it, or it differs from what is stored")]
    Unused,
    /// A version was left out.
    #[error("version {found} does not follow version {before}; publish every version")]
    VersionGap {
        /// The version stored.
        before: u64,
        /// The version offered.
        found: u64,
    },
}

impl Rule {
    /// Returns the stable code of the rule.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Changed => "release_changed",
            Self::Delegation => "release_outside_role",
            Self::Descriptor { .. } => "release_image_differs",
            Self::Document(fault) => fault.code(),
            Self::ExpiresSoon => "metadata_expires_soon",
            Self::Match | Self::NoSha256 => "release_malformed",
            Self::NoImage { .. } => "image_missing",
            Self::OutOfReach => "release_out_of_reach",
            Self::PinsGone => "pins_gone",
            Self::PinsLockOut => "pins_lock_out",
            Self::PinsMissing => "pins_missing",
            Self::PinsUnusable => "pins_unusable",
            Self::Releases(_) => "releases_conflict",
            Self::Unacceptable(_) => "release_unacceptable",
            Self::Unsigned(_) => "release_unsigned",
            Self::Unused => "metadata_unused",
            Self::VersionGap { .. } => "metadata_version_gap",
        }
    }
}

pub(super) fn refused(subject: &str, rule: impl Into<Rule>) -> Refused {
    Refused::Rule { subject: subject.to_owned(), rule: rule.into() }
}

/// Every release can be found by a device that knows nothing but an old root, from one answer.
pub(super) fn check_answers(
    known: Known<'_>,
    new: &Files,
    listed: &[Release],
) -> Result<(), Refused> {
    let mut files = known.files.clone();
    files.extend(new.clone());
    let name = image_repository(&known.product.id);
    let files = repositories::Files::read(&name, files.into_iter().collect());
    // Everything was read by the verifier before.
    let files = files.map_err(|_| refused(ROLES, Rule::OutOfReach))?;
    if !files.is_sendable(None) {
        return Err(refused("targets", Rule::OutOfReach));
    }
    let is_in_reach = |release: &Release| {
        // Spec 5.6.7.1: a device visits so many roles beside the top-level one.
        let roles_max = Limits::DEVICE_IMAGE.roles_max.saturating_add(1);
        files.way_to(&release.path).is_some_and(|way| way.len() <= roles_max)
            && files.is_sendable(Some(&release.path))
    };
    let out_of_reach = listed.iter().find(|release| !is_in_reach(release));
    out_of_reach.map_or(Ok(()), |release| Err(refused(&release.path, Rule::OutOfReach)))
}

/// Every role that was there before moved by one version or not at all: a leap would lock out the
/// publications in between.
pub(super) fn check_versions(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Result<(), Refused> {
    for (role, &found) in after.iter().filter(|(role, _)| *role != "root") {
        let Some(&before) = before.get(role) else { continue };
        if found > before.saturating_add(1) {
            return Err(refused(role, Rule::VersionGap { before, found }));
        }
    }
    Ok(())
}

/// Nothing expires within [`EXPIRY_MARGIN`].
pub(super) fn check_expiry(
    repository: &Repository<MemoryStore>,
    roles: &[RoleListing],
    now_ms: u64,
) -> Result<(), Refused> {
    let margin_ms = u64::try_from(EXPIRY_MARGIN.as_millis()).unwrap_or(u64::MAX);
    let until_ms = now_ms.saturating_add(margin_ms);
    let top: [(&str, Option<Header>); 3] = [
        ("root", Some(repository.root().header)),
        ("timestamp", repository.timestamp().map(|timestamp| timestamp.header)),
        ("snapshot", repository.snapshot().map(|snapshot| snapshot.header)),
    ];
    let top = top.into_iter().filter_map(|(role, header)| Some((role, header?)));
    let roles = roles.iter().map(|role| (role.role.as_str(), role.header));
    for (role, header) in top.chain(roles) {
        if header.expires.as_millis() < until_ms {
            return Err(refused(role, Rule::ExpiresSoon));
        }
    }
    Ok(())
}

/// Reads all releases, and refuses the first that no device could install.
pub(super) fn releases(known: Known<'_>, roles: &[RoleListing]) -> Result<Vec<Release>, Refused> {
    let mut releases = Vec::new();
    for role in roles {
        if let Some(path) = role.outside.first() {
            return Err(refused(path, Rule::Delegation));
        }
        if channel_of_docs(&role.role).is_some() {
            continue;
        }
        let listed = role.targets.len();
        if listed > RELEASES_PER_ROLE_MAX {
            return Err(refused(&role.role, ReleaseRefusal::TooMany { listed }));
        }
        // Only the top-level targets may list pins; elsewhere they are a target like any other.
        let is_pins = |target: &Listed| role.role == "targets" && target.path == SERVER_CA_PATH;
        for target in role.targets.iter().filter(|target| !is_pins(target)) {
            releases.push(read(known, role, target)?);
        }
    }
    check_secure_versions(&as_targets(&releases)).map_err(|rule| refused(ROLES, rule))?;
    Ok(releases)
}

/// The form in which the author's rules take releases.
fn as_targets(releases: &[Release]) -> Vec<Target> {
    let as_target = |release: &Release| Target {
        custom: Some(TargetCustom::image(release.r#match.clone())),
        hashes: Hashes { sha256: release.sha256.0 },
        length: release.length,
    };
    releases.iter().map(as_target).collect()
}

fn read(known: Known<'_>, role: &RoleListing, target: &Listed) -> Result<Release, Refused> {
    let path = target.path.as_str();
    let channel = channel_of(known, &role.role).ok_or_else(|| refused(path, Rule::Delegation))?;
    let sha256 = target.hashes.sha256.ok_or_else(|| refused(path, Rule::NoSha256))?;
    let custom = target.custom().and_then(|custom| serde_json::from_str(custom.as_raw()).ok());
    let ImageCustom { ceiling_permille, r#match: attributes } =
        custom.ok_or_else(|| refused(path, Rule::Match))?;
    check_ceiling(path, ceiling_permille).map_err(|rule| refused(path, rule))?;
    let release = Release {
        product: known.product.id.clone(),
        channel,
        version: attributes.version.clone(),
        path: path.to_owned(),
        sha256: Digest(sha256),
        length: target.length,
        r#match: attributes,
        ceiling_permille,
        chunks: known.images.get(&Digest(sha256)).and_then(|image| image.chunks),
        listed: true,
        changed_at: known.now_ms,
    };
    release.check_against(known.product).map_err(|fault| refused(path, fault))?;
    check_image(known, &release).map_err(|rule| refused(path, rule))?;
    check_unchanged(known, &release).map_err(|rule| refused(path, rule))?;
    check_burned(known, &release).map_err(|rule| refused(path, rule))?;
    Ok(release)
}

/// Returns the channel whose releases a role lists: the role is called `<product>-<channel>`.
pub(super) fn channel_of(known: Known<'_>, role: &str) -> Option<Channel> {
    let channel = role.strip_prefix(known.product.id.as_str())?.strip_prefix('-')?;
    known.product.channels.iter().find(|known| known.as_str() == channel).cloned()
}

/// The image is here, and says of itself what the release says (D27).
fn check_image(known: Known<'_>, release: &Release) -> Result<(), Rule> {
    let image = known.images.get(&release.sha256).filter(|image| image.length == release.length);
    let image = image.ok_or_else(|| Rule::NoImage { sha256: release.sha256.to_string() })?;
    known.product.secure_boot.judge(&image.signed_by)?;
    let differs = |what: &str, found: String, expected: String| Rule::Descriptor {
        found: format!("{what} {found}"),
        expected,
    };
    if let Some(expected) = known.product.descriptor_version(&release.version)
        && image.version.as_ref() != Some(&expected)
    {
        let found = image.version.clone().unwrap_or_default();
        return Err(differs("version", found, expected));
    }
    let (found, expected) = (image.secure_version, release.r#match.secure_version);
    if found != expected {
        return Err(differs("secure_version", found.to_string(), expected.to_string()));
    }
    Ok(())
}

/// Devices that burned the eFuses of any release before must be able to boot it, even if that is
/// listed no more.
fn check_burned(known: Known<'_>, release: &Release) -> Result<(), Rule> {
    let versions = |of: &Release| (of.r#match.security_version, of.r#match.secure_version);
    let is_other = |old: &&Arc<Release>| old.sha256 != release.sha256;
    let mut before = known.releases.iter().filter(is_other);
    before.try_for_each(|old| Ok(check_rises(versions(old), versions(release))?))
}

/// A version means one image for ever, even after it was delisted: rollouts, reports and people
/// refer to it.
fn check_unchanged(known: Known<'_>, release: &Release) -> Result<(), Rule> {
    let same_version =
        |old: &&Arc<Release>| old.channel == release.channel && old.version == release.version;
    let old = known.releases.iter().find(same_version);
    let unchanged = old.is_none_or(|old| old.sha256 == release.sha256 && old.path == release.path);
    if unchanged { Ok(()) } else { Err(Rule::Changed) }
}
