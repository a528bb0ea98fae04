//! SPDX 2.3: packages, with purl and CPE among their external references.

use serde::Deserialize;

use crate::bounded::list;
use crate::{COMPONENTS_MAX, Component, Document, Format, Malformed};

/// Most references of a package: advisories may be among them, a few for each year.
const REFERENCES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    spdx_version: String,
    #[serde(rename = "SPDXID")]
    id: String,
    data_license: String,
    #[serde(default, deserialize_with = "list::<_, _, COMPONENTS_MAX>")]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    version_info: Option<String>,
    #[serde(default, deserialize_with = "list::<_, _, REFERENCES_MAX>")]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_type: String,
    reference_locator: String,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document, Malformed> {
    let spdx: File = serde_json::from_slice(bytes)?;
    if spdx.spdx_version != "SPDX-2.3" {
        return Err(Malformed::Version { found: spdx.spdx_version, read: "SPDX-2.3" });
    }
    // SPDX 2.3, sections 6.2 and 6.3: both are fixed.
    if spdx.id != "SPDXRef-DOCUMENT" {
        return Err(Malformed::Field("SPDXID"));
    }
    if spdx.data_license != "CC0-1.0" {
        return Err(Malformed::Field("dataLicense"));
    }
    Document::sbom(Format::Spdx, spdx.packages.into_iter().map(component).collect())
}

fn component(package: Package) -> Component {
    let reference = |kinds: [&str; 2]| {
        let found = package.external_refs.iter().find(|one| kinds.contains(&&*one.reference_type));
        found.map(|reference| reference.reference_locator.clone())
    };
    let purl = reference(["purl", "http://spdx.org/rdf/references/purl"]);
    let cpe = reference(["cpe23Type", "cpe22Type"]);
    // Tools write this where they do not know.
    let version = package.version_info.filter(|version| version != "NOASSERTION");
    Component { purl, cpe, name: package.name, version }
}
