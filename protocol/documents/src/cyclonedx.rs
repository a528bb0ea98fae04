//! `CycloneDX` 1.4 to 1.6: `bomFormat`, `specVersion`, and components that may hold others.

use serde::Deserialize;

use crate::{Component, Document, Format, Malformed};

const VERSIONS: [&str; 3] = ["1.4", "1.5", "1.6"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    spec_version: String,
    #[serde(default)]
    components: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    version: Option<String>,
    purl: Option<String>,
    cpe: Option<String>,
    #[serde(default)]
    components: Vec<Self>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document, Malformed> {
    let bom: Bom = serde_json::from_slice(bytes)?;
    if !VERSIONS.contains(&bom.spec_version.as_str()) {
        return Err(Malformed::Version { found: bom.spec_version, read: "1.4, 1.5 and 1.6" });
    }
    let mut components = Vec::new();
    let mut left = bom.components;
    while let Some(Part { kind, name, version, purl, cpe, components: inner }) = left.pop() {
        if kind.is_empty() {
            return Err(Malformed::Field("type"));
        }
        components.push(Component { name, version, purl, cpe });
        left.extend(inner);
    }
    Document::sbom(Format::CycloneDx, components)
}
