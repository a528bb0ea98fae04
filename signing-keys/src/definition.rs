//! Products and releases as they are reviewed in git: `releases/<product>/product.toml` and
//! `releases/<product>/<version>.toml`.
//!
//! `releases/README.md` shows the format. Not here: images and metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use waxwing_documents::Requirement;
use waxwing_esp_image::Chip;
use waxwing_secure_boot::{Policy, PolicyFault};
use waxwing_wire::{Channel, Hardware, ProductId};

use crate::disk;

/// What every release of a product has in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Name of the product, and of its folder.
    pub id: ProductId,
    /// The chip it is built on.
    pub chip: Chip,
    /// Hardware revisions that releases run on.
    pub hardware: Vec<Hardware>,
    /// Channels it may be released to.
    pub channels: Vec<Channel>,
    /// Length of its smallest OTA slot in bytes.
    pub slot_bytes: u32,
    /// Whether the version inside the image must be that of the release (D27).
    #[serde(default)]
    pub image_version: ImageVersion,
    /// Which project name the image must carry (D27).
    #[serde(default)]
    pub image_project: ImageProject,
    /// Its Secure Boot keys.
    #[serde(default)]
    pub secure_boot: Policy,
    /// Documents that every release of a channel must come with; the server asks for them.
    #[serde(default)]
    pub required_documents: BTreeMap<Channel, Vec<Requirement>>,
    /// Who may have built a release, by the ids in provenance; the server asks for them.
    #[serde(default)]
    pub builders: Vec<String>,
}

/// Whether the version inside the image must be that of the release.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ImageVersion {
    /// For images built elsewhere: only the signed metadata counts.
    Ignore,
    /// It must.
    #[default]
    Match,
}

/// Which project name the image must carry.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "String")]
pub enum ImageProject {
    /// For images built elsewhere: any.
    Ignore,
    /// Exactly this one.
    Named(String),
    /// That of the product.
    #[default]
    Product,
}

impl From<String> for ImageProject {
    fn from(text: String) -> Self {
        if text == "ignore" { Self::Ignore } else { Self::Named(text) }
    }
}

/// One release.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Version of the release, and the name of its file.
    pub version: Version,
    /// The channel it goes to.
    pub channel: Channel,
    /// Anti-rollback epoch (D2): devices never go back to a lower one.
    pub security_version: u32,
    /// How many of a thousand devices may install it at most, whatever the server says (D10).
    #[serde(default)]
    pub ceiling_permille: Option<u16>,
    /// Where the build leaves the image; `--file` overrides it.
    #[serde(default)]
    pub image: Option<PathBuf>,
    /// What is new, for people.
    #[serde(default)]
    pub notes: String,
}

/// A release with the product it belongs to.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The product.
    pub product: Product,
    /// The release.
    pub release: Release,
}

impl Definition {
    /// Reads `<product>/<version>.toml` and the `product.toml` beside it.
    ///
    /// # Errors
    ///
    /// [`Error`] names the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let release: Release = read(path)?;
        if path.file_stem().is_none_or(|stem| *stem != *release.version.to_string()) {
            return Err(refuse(path, Fault::FileName(format!("{}.toml", release.version))));
        }
        let beside = path.with_file_name("product.toml");
        let product = Product::read(&beside)?;
        if !product.channels.contains(&release.channel) {
            return Err(refuse(path, Fault::Channel(release.channel)));
        }
        Ok(Self { product, release })
    }

    /// Returns the target path: `<product>/<channel>/<version>/<chip>.bin`.
    pub fn target(&self) -> String {
        let Self { product, release } = self;
        let chip = product.chip.as_str();
        format!("{}/{}/{}/{chip}.bin", product.id, release.channel, release.version)
    }
}

impl Product {
    /// Reads a `product.toml`.
    ///
    /// # Errors
    ///
    /// [`Error`] names the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let product: Self = read(path)?;
        let folder = std::path::absolute(disk::folder(path)).unwrap_or_default();
        if folder.file_name().is_none_or(|name| *name != *product.id.as_str()) {
            return Err(refuse(path, Fault::Folder(product.id)));
        }
        if product.hardware.is_empty() {
            return Err(refuse(path, Fault::Empty("hardware")));
        }
        if product.channels.is_empty() {
            return Err(refuse(path, Fault::Empty("channels")));
        }
        let keys = product.secure_boot.check();
        keys.map_err(|fault| refuse(path, Fault::SecureBoot(fault)))?;
        Ok(product)
    }

    /// Returns the project name an image must carry, if it must.
    pub fn project(&self) -> Option<&str> {
        match &self.image_project {
            ImageProject::Ignore => None,
            ImageProject::Named(name) => Some(name),
            ImageProject::Product => Some(self.id.as_str()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = disk::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse(path, Fault::Utf8))?;
    toml::from_str(text).map_err(|cause| refuse(path, Fault::Toml(cause)))
}

fn refuse(path: &Path, fault: Fault) -> Error {
    Error::Definition { path: path.to_owned(), fault }
}

/// A definition could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something in it is wrong.
    #[error("{} is not a good definition", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        fault: Fault,
    },
    /// The file could not be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// What is wrong in a definition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The product has no such channel.
    #[error("channel `{0}` is not among the channels of product.toml")]
    Channel(Channel),
    /// Nothing could ever be released.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// The file is named after another version.
    #[error("the file must be called {0}, after its version")]
    FileName(String),
    /// The folder is named after another product.
    #[error("the folder must be called {0}, after the product")]
    Folder(ProductId),
    /// The Secure Boot keys make no sense.
    #[error("`secure_boot`: {0}")]
    SecureBoot(PolicyFault),
    /// Not TOML, or not the fields expected.
    #[error("{0}")]
    Toml(toml::de::Error),
    /// Not text.
    #[error("it is not UTF-8")]
    Utf8,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PRODUCT: &str = r#"
        id = "acme-th1"
        chip = "esp32c3"
        hardware = ["r1"]
        channels = ["stable"]
        slot_bytes = 1966080
    "#;
    const RELEASE: &str = r#"
        version = "1.4.2"
        channel = "stable"
        security_version = 1
    "#;

    fn definition(product: &str, release: &str) -> Result<Definition, String> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("acme-th1");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("product.toml"), product).unwrap();
        fs::write(folder.join("1.4.2.toml"), release).unwrap();
        Definition::read(&folder.join("1.4.2.toml")).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        })
    }

    #[test]
    fn images_must_match_unless_the_product_says_otherwise() {
        let strict = definition(PRODUCT, RELEASE).unwrap();
        assert_eq!(strict.product.image_version, ImageVersion::Match);
        assert_eq!(strict.product.project(), Some("acme-th1"));
        assert_eq!(strict.target(), "acme-th1/stable/1.4.2/esp32c3.bin");
        let named = format!("{PRODUCT}\nimage_project = \"th\"");
        assert_eq!(definition(&named, RELEASE).unwrap().product.project(), Some("th"));
        let foreign = format!("{PRODUCT}\nimage_project = \"ignore\"\nimage_version = \"ignore\"");
        let foreign = definition(&foreign, RELEASE).unwrap();
        assert_eq!(foreign.product.image_version, ImageVersion::Ignore);
        assert_eq!(foreign.product.project(), None);
    }

    #[test]
    fn a_bad_definition_names_the_file_and_the_field() {
        for (product, release, said) in [
            (PRODUCT.replace("c3", "c4"), RELEASE.to_owned(), "chip = \"esp32c4\""),
            (PRODUCT.replace("\"r1\"", ""), RELEASE.to_owned(), "`hardware` is empty"),
            (PRODUCT.replace("\"stable\"", ""), RELEASE.to_owned(), "`channels` is empty"),
            (PRODUCT.replace("acme-th1", "acme"), RELEASE.to_owned(), "folder must be called acme"),
            (PRODUCT.replace("acme-th1", "../x"), RELEASE.to_owned(), "a name is"),
            (format!("{PRODUCT}\nx = 1"), RELEASE.to_owned(), "unknown field `x`"),
            (
                format!("{PRODUCT}\nsecure_boot = {{ required = true }}"),
                RELEASE.to_owned(),
                "no key",
            ),
            (PRODUCT.to_owned(), RELEASE.replace("1.4.2", "1.4.3"), "must be called 1.4.3.toml"),
            (PRODUCT.to_owned(), RELEASE.replace("stable", "beta"), "channel `beta`"),
            (PRODUCT.to_owned(), RELEASE.replace("1.4.2", "1.4"), "version"),
            (PRODUCT.to_owned(), RELEASE.replace("= 1\n", "= -1\n"), "security_version"),
            (PRODUCT.to_owned(), format!("{RELEASE}\nx = 1"), "unknown field `x`"),
        ] {
            let error = definition(&product, &release).unwrap_err();
            assert!(error.contains(".toml") && error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn every_definition_in_this_repository_is_good() {
        let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../releases");
        let mut read = 0;
        for product in fs::read_dir(releases).unwrap().map(|entry| entry.unwrap().path()) {
            if product.is_dir() {
                for file in fs::read_dir(product).unwrap().map(|entry| entry.unwrap().path()) {
                    if file.ends_with("product.toml") {
                        Product::read(&file).unwrap();
                    } else {
                        Definition::read(&file).unwrap();
                    }
                    read += 1;
                }
            }
        }
        assert!(read >= 2, "only {read} definitions found");
    }
}
