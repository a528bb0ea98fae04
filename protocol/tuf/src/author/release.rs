//! Rules for a list of releases that hold for whoever writes it and whoever accepts it.
//!
//! Not here: signatures, and whether a release fits a product.

use std::collections::BTreeMap;

use super::metadata::{Target, TargetCustom, Targets};

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
    check_secure_versions(role.targets.values())
}

/// Checks all releases of a product, of whatever role: a device may accept several channels.
///
/// D2: devices may move between releases of one security version in either direction, so none of
/// them may burn an eFuse that locks the others out.
///
/// # Errors
///
/// [`ReleaseRefusal::SecureVersion`] names the security version that is ambiguous.
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
    Ok(())
}

/// Why a list of releases is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseRefusal {
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
    /// More releases than a device has room for.
    #[error(
        "{listed} releases are listed, at most {RELEASES_PER_ROLE_MAX} may be; delist old ones"
    )]
    TooMany {
        /// How many are listed.
        listed: usize,
    },
}
