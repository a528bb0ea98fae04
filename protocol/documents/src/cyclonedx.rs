//! `CycloneDX` 1.4 to 1.6: `bomFormat`, `specVersion`, and components that may hold others.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::bounded::push;
use crate::{COMPONENTS_MAX, Component, Document, Format, Malformed};

const VERSIONS: [&str; 3] = ["1.4", "1.5", "1.6"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    spec_version: String,
    #[serde(default, deserialize_with = "components")]
    components: Vec<Component>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document, Malformed> {
    let bom: Bom = serde_json::from_slice(bytes)?;
    if !VERSIONS.contains(&bom.spec_version.as_str()) {
        return Err(Malformed::Version { found: bom.spec_version, read: "1.4, 1.5 and 1.6" });
    }
    Document::sbom(Format::CycloneDx, bom.components)
}

/// Reads components and those within them into one list.
fn components<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Component>, D::Error> {
    let mut all = Vec::new();
    List(&mut all).deserialize(deserializer)?;
    Ok(all)
}

/// A list of components; they are added to one that all of them share, so that it has one limit.
struct List<'a>(&'a mut Vec<Component>);

/// A component with those within it.
struct Part<'a>(&'a mut Vec<Component>);

/// The fields of a component that are read.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Field {
    Components,
    Cpe,
    Name,
    Purl,
    Type,
    Version,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of components")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Part(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a component")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let (mut kind, mut name) = (None, None);
        let (mut version, mut purl, mut cpe) = (None, None, None);
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Components => fields.next_value_seed(List(&mut *self.0))?,
                Field::Cpe => cpe = fields.next_value()?,
                Field::Name => name = Some(fields.next_value()?),
                Field::Purl => purl = fields.next_value()?,
                Field::Type => kind = Some(fields.next_value::<String>()?),
                Field::Version => version = fields.next_value()?,
                Field::Other => drop(fields.next_value::<de::IgnoredAny>()?),
            }
        }
        if kind.ok_or_else(|| A::Error::missing_field("type"))?.is_empty() {
            return Err(A::Error::custom("a component has no type"));
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        push::<_, _, COMPONENTS_MAX>(self.0, Component { name, version, purl, cpe })
    }
}
