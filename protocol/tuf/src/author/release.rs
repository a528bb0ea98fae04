//! Rules for a list of releases that hold for whoever writes it and whoever accepts it.
//!
//! Not here: signatures, and whether a release fits a product.

use std::collections::BTreeMap;

use super::metadata::Targets;
use super::target::{Target, TargetCustom};
use crate::uptane::CEILING_PERMILLE_MAX;

/// Most releases one role may list: about 6 KB, so that a device's heap holds it with room to
/// spare. Delist what nobody should install any more.
pub const RELEASES_PER_ROLE_MAX: usize = 24;

/// Largest metadata file in bytes: devices refuse longer ones before they read them.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Checks what one role lists.
///
/// # Errors
///
/// [`ReleaseRefusal`] names the first rule that is broken.
pub fn check(role: &Targets) -> Result<(), ReleaseRefusal> {
    if role.targets.len() > RELEASES_PER_ROLE_MAX {
        return Err(ReleaseRefusal::TooMany { listed: role.targets.len() });
    }
    for (path, target) in &role.targets {
        if let Some(TargetCustom::Image(image)) = &target.custom {
            check_ceiling(path, image.ceiling_permille)?;
        }
    }
    check_secure_versions(role.targets.values())
}

/// Most delegated roles of one repository: eight channels, each with its documents.
pub const ROLES_MAX: usize = 16;

/// Most documents one role may list: three for each release.
pub const DOCUMENTS_PER_ROLE_MAX: usize = 3 * RELEASES_PER_ROLE_MAX;

/// What the name of a role of documents ends with.
const DOCS_SUFFIX: &str = "-docs";

/// Returns the name of the role that lists the documents of a channel. It is delegated before the
/// channel's own, for `*.json` and `*.jsonl` only: no device ever looks for such a path.
pub fn docs_role(channel_role: &str) -> String {
    format!("{channel_role}{DOCS_SUFFIX}")
}

/// Returns the role of the channel whose documents a role lists, if it lists documents.
pub fn channel_of_docs(role: &str) -> Option<&str> {
    role.strip_suffix(DOCS_SUFFIX)
}

/// Checks what one role of documents lists.
///
/// # Errors
///
/// [`ReleaseRefusal::TooManyDocuments`].
pub fn check_documents(role: &Targets) -> Result<(), ReleaseRefusal> {
    let listed = role.targets.len();
    if listed > DOCUMENTS_PER_ROLE_MAX {
        return Err(ReleaseRefusal::TooManyDocuments { listed });
    }
    Ok(())
}

/// Checks a ceiling (D10): devices refuse a release whose ceiling is no share of a thousand.
///
/// # Errors
///
/// [`ReleaseRefusal::Ceiling`] names the release.
pub fn check_ceiling(path: &str, ceiling_permille: Option<u16>) -> Result<(), ReleaseRefusal> {
    match ceiling_permille {
        Some(permille) if permille > CEILING_PERMILLE_MAX => {
            Err(ReleaseRefusal::Ceiling { path: path.to_owned(), permille })
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks all releases of a product, of whatever role: a device may accept several channels.
///
/// D2: devices may move between releases of one security version in either direction, so none of
/// them may burn an eFuse that locks the others out. Nor may a later security version fall back
/// behind an earlier one: devices that burned the earlier could not boot it.
///
/// # Errors
///
/// [`ReleaseRefusal::SecureVersion`] names the security version that is ambiguous,
/// [`ReleaseRefusal::SecureVersionFalls`] the one that falls back.
pub fn check_secure_versions<'a>(
    targets: impl IntoIterator<Item = &'a Target>,
) -> Result<(), ReleaseRefusal> {
    let mut secure_versions = BTreeMap::new();
    for target in targets {
        let Some(TargetCustom::Image(image)) = &target.custom else { continue };
        let release = &image.r#match;
        let security_version = release.security_version;
        let one = *secure_versions.entry(security_version).or_insert(release.secure_version);
        let other = release.secure_version;
        if one != other {
            return Err(ReleaseRefusal::SecureVersion { security_version, one, other });
        }
    }
    let ascending = secure_versions.iter().zip(secure_versions.iter().skip(1));
    for ((&earlier, &burned), (&security_version, &secure_version)) in ascending {
        check_rises((earlier, burned), (security_version, secure_version))?;
    }
    Ok(())
}

/// Checks that devices which burned the `secure_version` of one release can boot another one that
/// they may be offered after it. Both are given as `security_version` and `secure_version`.
///
/// # Errors
///
/// [`ReleaseRefusal::SecureVersionFalls`] if not.
pub const fn check_rises(
    (earlier, burned): (u32, u32),
    (security_version, secure_version): (u32, u32),
) -> Result<(), ReleaseRefusal> {
    if security_version < earlier || secure_version >= burned {
        return Ok(());
    }
    Err(ReleaseRefusal::SecureVersionFalls { security_version, secure_version, earlier, burned })
}

/// Why a list of releases is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseRefusal {
    /// A ceiling that is no share of a thousand.
    #[error("{path}: ceiling_permille is {permille}, at most {CEILING_PERMILLE_MAX} is possible")]
    Ceiling {
        /// The release.
        path: String,
        /// Its ceiling.
        permille: u16,
    },
    /// Two releases of one security version carry different eFuse versions.
    #[error(
        "releases of security version {security_version} carry both secure_version {one} and \
         {other}; raise security_version in the release definition, or delist the old releases"
    )]
    SecureVersion {
        /// The security version they share.
        security_version: u32,
        /// One eFuse version.
        one: u32,
        /// The other one.
        other: u32,
    },
    /// More documents than three for each release.
    #[error("{listed} documents are listed, at most {DOCUMENTS_PER_ROLE_MAX} may be")]
    TooManyDocuments {
        /// How many are listed.
        listed: usize,
    },
    /// A later release carries a lower eFuse version.
    #[error(
        "a release of security_version {security_version} carries secure_version {secure_version}, \
         one of security_version {earlier} carries {burned}: devices that burned that would not \
         boot it; build it with secure_version {burned} or higher"
    )]
    SecureVersionFalls {
        /// The security version of the later release.
        security_version: u32,
        /// Its eFuse version.
        secure_version: u32,
        /// The security version of the earlier release.
        earlier: u32,
        /// Its eFuse version.
        burned: u32,
    },
    /// More releases than a device has room for.
    #[error(
        "{listed} releases are listed, at most {RELEASES_PER_ROLE_MAX} may be; delist old ones"
    )]
    TooMany {
        /// How many are listed.
        listed: usize,
    },
}
