//! What a targets role lists, as plain values: images, and the pins of the server's CA.
//!
//! Not here: which of it a device installs.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::metadata::Hashes;
use super::name::names;

/// One file that may be installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What Waxwing says about it; absent for files that no device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<TargetCustom>,
    /// Hash of the file.
    pub hashes: Hashes,
    /// Length of the file in bytes.
    pub length: u64,
}

/// What Waxwing adds to a target.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TargetCustom {
    /// To an image.
    Image(ImageCustom),
    /// To the pins of the server's CA: [`crate::uptane::SERVER_CA_PATH`].
    ServerCa(ServerCaCustom),
}

impl TargetCustom {
    /// Describes an image that every device may install.
    pub const fn image(r#match: Match) -> Self {
        Self::Image(ImageCustom { ceiling_permille: None, r#match })
    }

    /// Describes the pins of the server's CA.
    pub const fn server_ca() -> Self {
        Self::ServerCa(ServerCaCustom { r#match: ServerCaMatch { kind: ServerCaKind::ServerCa } })
    }
}

/// What Waxwing adds to an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImageCustom {
    /// How many of a thousand devices may install it at most, whatever a Director says (D10);
    /// see [`crate::uptane::ceiling_rank`]. Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_permille: Option<u16>,
    /// What Director and Image repository must say alike.
    pub r#match: Match,
}

/// What Waxwing adds to the pins of the server's CA (D15).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerCaCustom {
    /// What Director and Image repository must say alike.
    pub r#match: ServerCaMatch,
}

/// What Director and Image repository must say alike about the pins of the server's CA.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerCaMatch {
    /// That the target is no image.
    pub kind: ServerCaKind,
}

/// The one kind of such a target.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ServerCaKind {
    /// Certificates by which devices know their server.
    #[serde(rename = "server-ca")]
    ServerCa,
}

/// What must fit before an image may be installed; Director and Image repository must agree on
/// every field (Uptane 2.1, section 5.4.4.6).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Name of the chip, such as `esp32c3`.
    pub chip: String,
    /// Hardware revisions it runs on.
    #[serde(deserialize_with = "names")]
    pub hw: Vec<String>,
    /// What kind of image: `app`.
    pub kind: String,
    /// The `secure_version` in the image's descriptor, compared with the chip's eFuses.
    pub secure_version: u32,
    /// Anti-rollback epoch (D2).
    pub security_version: u32,
    /// Version of the release.
    pub version: Version,
}
