//! Documents that go with a release: SBOMs and provenance.
//!
//! They are targets of the role `<product>-<channel>-docs`, which devices never fetch; their hashes
//! are signed by the people who sign the release. Here bytes become the few facts that the server
//! answers questions with. The published formats have hundreds of fields and crates of that size; read
//! are the fields needed, checked are the marks by which a document says what it is. Whatever else
//! a document holds is kept and not judged.
//!
//! Not here: trust. The signatures in a provenance envelope are not checked: what counts is who signed
//! the release.

mod bounded;
mod cyclonedx;
mod provenance;
mod spdx;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use waxwing_wire::Digest;

/// Longest document in bytes: SBOMs of firmware have a few hundred components of some hundred bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Most components of one SBOM.
pub const COMPONENTS_MAX: usize = 10_000;

/// Longest name, version, purl or CPE of a component, in bytes.
pub const FIELD_BYTES_MAX: usize = 1024;

/// Most lines of a provenance file, and most subjects or signatures of a statement.
pub const STATEMENTS_MAX: usize = 64;

/// What kind of document it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An SBOM: `CycloneDX` 1.4 to 1.6, JSON.
    CycloneDx,
    /// SLSA v1 provenance: in-toto Statements v1 in DSSE envelopes, JSON lines.
    Provenance,
    /// An SBOM: SPDX 2.3, JSON.
    Spdx,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::CycloneDx, Self::Provenance, Self::Spdx];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CycloneDx => "cyclonedx",
            Self::Provenance => "provenance",
            Self::Spdx => "spdx",
        }
    }

    /// Returns the name of the file in the Image repository: `<product>/<channel>/<version>/<this>`.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::CycloneDx => "sbom.cdx.json",
            Self::Provenance => "provenance.intoto.jsonl",
            Self::Spdx => "sbom.spdx.json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or(Malformed::Unknown)
    }
}

/// A kind of document that the releases of a channel may be required to come with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// SLSA provenance.
    Provenance,
    /// An SBOM of either format.
    Sbom,
}

impl Requirement {
    /// Tells whether a document of this format is what is required.
    pub const fn is_met_by(self, format: Format) -> bool {
        match self {
            Self::Provenance => matches!(format, Format::Provenance),
            Self::Sbom => matches!(format, Format::CycloneDx | Format::Spdx),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provenance => "provenance",
            Self::Sbom => "an SBOM",
        })
    }
}

/// What a document says, as far as anybody asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// What kind it is.
    pub format: Format,
    /// What the firmware is made of; empty for provenance.
    pub components: Vec<Component>,
    /// What was built; empty for SBOMs.
    pub subjects: Vec<Digest>,
    /// Who says to have built it, each once; empty for SBOMs.
    pub builders: Vec<String>,
}

/// A part of the firmware.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its package URL.
    pub purl: Option<String>,
    /// Its Common Platform Enumeration.
    pub cpe: Option<String>,
}

impl Document {
    /// Reads a document and finds out what it is.
    ///
    /// # Errors
    ///
    /// [`Malformed`] says why it is none of the formats.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        // Provenance has a document on each line, so it is no JSON text as a whole.
        let Ok(mark) = serde_json::from_slice::<Mark>(bytes) else {
            return provenance::parse(bytes);
        };
        match mark {
            Mark { payload_type: Some(_), .. } => provenance::parse(bytes),
            Mark { bom_format: Some(format), .. } if format == "CycloneDX" => {
                cyclonedx::parse(bytes)
            }
            Mark { spdx_version: Some(_), .. } => spdx::parse(bytes),
            Mark { .. } => Err(Malformed::Unknown),
        }
    }

    fn sbom(format: Format, components: Vec<Component>) -> Result<Self, Malformed> {
        components.iter().try_for_each(Component::check)?;
        Ok(Self { format, components, subjects: Vec::new(), builders: Vec::new() })
    }
}

impl Component {
    fn check(&self) -> Result<(), Malformed> {
        let Self { name, version, purl, cpe } = self;
        let all = [Some(name), version.as_ref(), purl.as_ref(), cpe.as_ref()];
        if all.into_iter().flatten().any(|text| text.len() > FIELD_BYTES_MAX) {
            return Err(Malformed::Field("component"));
        }
        let is_purl = purl.as_ref().is_none_or(|purl| purl.starts_with("pkg:"));
        match () {
            () if name.is_empty() => Err(Malformed::Field("name")),
            () if !is_purl => Err(Malformed::Field("purl")),
            () => Ok(()),
        }
    }
}

/// The fields by which each format says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    bom_format: Option<String>,
    payload_type: Option<String>,
    spdx_version: Option<String>,
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A field is empty, too long, or not what the format says.
    #[error("its field `{0}` is not what the format asks for")]
    Field(&'static str),
    /// Not JSON, or a field is missing or of another type.
    #[error("it is not what it says it is: {0}")]
    Json(#[from] serde_json::Error),
    /// Longer than [`DOCUMENT_BYTES_MAX`].
    #[error("it is longer than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong,
    /// Too many of something.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// None of the formats.
    #[error(
        "it is neither a CycloneDX nor an SPDX SBOM in JSON, nor in-toto provenance in JSON lines"
    )]
    Unknown,
    /// A version of the format that is not read.
    #[error("it has version {found}; read are {read}")]
    Version {
        /// As the document says.
        found: String,
        /// What is read.
        read: &'static str,
    },
}
