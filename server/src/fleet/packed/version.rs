//! Versions in their parts: as text each look at a device would parse them.

use semver::{BuildMetadata, Prerelease, Version};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Major, minor and patch; pre-release and build metadata as text.
type Parts<'a> = (u64, u64, u64, &'a str, &'a str);

#[expect(clippy::ref_option, reason = "serde hands it over so")]
pub(super) fn serialize<S: Serializer>(
    version: &Option<Version>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    version.as_ref().map(parts).serialize(serializer)
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(
    deserializer: D,
) -> Result<Option<Version>, D::Error> {
    let parts: Option<Parts<'a>> = Option::deserialize(deserializer)?;
    let Some((major, minor, patch, pre, build)) = parts else { return Ok(None) };
    let pre = Prerelease::new(pre).map_err(D::Error::custom)?;
    let build = BuildMetadata::new(build).map_err(D::Error::custom)?;
    Ok(Some(Version { major, minor, patch, pre, build }))
}

fn parts(version: &Version) -> Parts<'_> {
    let Version { major, minor, patch, pre, build } = version;
    (*major, *minor, *patch, pre.as_str(), build.as_str())
}
