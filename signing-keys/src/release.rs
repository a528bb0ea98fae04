//! Lists of releases: adding one after its image has been looked at, taking one off the list.
//!
//! Pure: from the old list and the bytes of an image to the new list. Taking a release off the list
//! revokes it. Not here: files and signatures.

use sha2::{Digest as _, Sha256};
use waxwing_esp_image::App;
use waxwing_esp_image::app::ImageError;
use waxwing_esp_image::check::{self, Expected, Mismatch};
use waxwing_esp_image::signature::{Sector, SignatureError};
use waxwing_secure_boot::{Foreign, Signed, Unsigned, check_chip, verify};
use waxwing_tuf::author::release::{METADATA_BYTES_MAX, ReleaseRefusal, check as check_releases};
use waxwing_tuf::author::{
    Hashes, ImageCustom, Match, Metadata, Repo, SignedFile, Target, TargetCustom, Targets,
};

use crate::definition::{Definition, ImageVersion};

/// Room kept for signatures in the metadata budget: eight, with their key ids.
const SIGNATURES_BYTES: usize = 8 * 256;

/// Adds a release to the list of its channel.
///
/// # Errors
///
/// [`Refusal`] when the image is none, is not what the definition says, or the list would break a
/// rule that devices and servers rely on.
pub fn add(mut role: Targets, definition: &Definition, image: &[u8]) -> Result<Targets, Refusal> {
    let product = &definition.product.id;
    if role.repo != Repo::Image(product.to_string()) {
        return Err(Refusal::OtherProduct(role.repo));
    }
    let target = describe(definition, image)?;
    let path = definition.target();
    if role.targets.contains_key(&path) {
        return Err(Refusal::AlreadyListed(path));
    }
    role.targets.insert(path, target);
    check_releases(&role)?;
    check_budget(&role)?;
    Ok(role)
}

/// Takes releases off the list.
///
/// # Errors
///
/// [`Refusal::NotListed`] names the path that is not on it.
pub fn remove(mut role: Targets, paths: &[String]) -> Result<Targets, Refusal> {
    for path in paths {
        if role.targets.remove(path).is_none() {
            return Err(Refusal::NotListed(path.clone()));
        }
    }
    Ok(role)
}

/// Changes how many of a thousand devices may install releases at most (D10); `None`: all.
///
/// # Errors
///
/// [`Refusal::NotListed`] names the path that is not on the list, [`Refusal::List`] a share that is
/// none.
pub fn limit(
    mut role: Targets,
    paths: &[String],
    permille: Option<u16>,
) -> Result<Targets, Refusal> {
    for path in paths {
        let target = role.targets.get_mut(path);
        let Some(TargetCustom::Image(image)) = target.and_then(|target| target.custom.as_mut())
        else {
            return Err(Refusal::NotListed(path.clone()));
        };
        image.ceiling_permille = permille;
    }
    check_releases(&role)?;
    Ok(role)
}

/// Checks the Secure Boot signatures of an image, and returns who signed it: nobody, if it has none.
///
/// # Errors
///
/// [`Refusal`] when it is no image or a signature is no good.
pub fn signed_by(image: &[u8]) -> Result<Vec<Signed>, Refusal> {
    let app = App::parse(image).map_err(Refusal::Image)?;
    let Some(at) = app.signature_at else { return Ok(Vec::new()) };
    let sector = Sector::of_file(image).map_err(waxwing_secure_boot::Refusal::from)?;
    // The boot loader looks nowhere else than at the first sector boundary behind the image.
    if !is_last_sector(at, image) {
        return Err(Refusal::SecureBoot(SignatureError::Truncated.into()));
    }
    let signed = verify(&sector)?;
    check_chip(&signed, app.header.chip)?;
    Ok(signed)
}

fn is_last_sector(at: u32, image: &[u8]) -> bool {
    u64::from(at) + u64::from(waxwing_esp_image::SECTOR_BYTES) == bytes(image)
}

fn bytes(image: &[u8]) -> u64 {
    u64::try_from(image.len()).unwrap_or(u64::MAX)
}

/// Looks at the image and says what metadata says of it.
fn describe(definition: &Definition, image: &[u8]) -> Result<Target, Refusal> {
    let Definition { product, release } = definition;
    let app = App::parse(image).map_err(Refusal::Image)?;
    let secure_version = app.descriptor.map_or(0, |descriptor| descriptor.secure_version);
    let version = release.version.to_string();
    let length = bytes(image);
    let expected = Expected {
        chip: product.chip,
        slot_bytes: product.slot_bytes,
        version: match product.image_version {
            ImageVersion::Ignore => None,
            ImageVersion::Match => Some(&version),
        },
        project: product.project(),
        secure_version,
    };
    check::against(&app, length, &expected).map_err(Refusal::Mismatch)?;
    let signed_by: Vec<_> = signed_by(image)?.iter().map(|block| block.key_digest).collect();
    product.secure_boot.judge(&signed_by)?;
    let r#match = Match {
        chip: product.chip.as_str().to_owned(),
        hw: product.hardware.iter().map(ToString::to_string).collect(),
        kind: "app".to_owned(),
        secure_version,
        security_version: release.security_version,
        version: release.version.clone(),
    };
    let ceiling_permille = release.ceiling_permille;
    let hashes = Hashes { sha256: Sha256::digest(image).into() };
    Ok(Target {
        custom: Some(TargetCustom::Image(ImageCustom { ceiling_permille, r#match })),
        hashes,
        length,
    })
}

fn check_budget(role: &Targets) -> Result<(), Refusal> {
    let file = SignedFile::unsigned(&Metadata::Targets(role.clone()))?;
    let bytes = file.to_bytes()?.len() + SIGNATURES_BYTES;
    if bytes > METADATA_BYTES_MAX { Err(Refusal::Budget(bytes)) } else { Ok(()) }
}

/// Why a release is not listed, or not taken off the list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A path is listed once, and its image never changes.
    #[error("{0} is listed already; a new image needs a new version")]
    AlreadyListed(String),
    /// The list could not be written.
    #[error(transparent)]
    Author(#[from] waxwing_tuf::author::Error),
    /// Devices refuse files that long.
    #[error(
        "the list would take {0} bytes with signatures, at most {METADATA_BYTES_MAX} are allowed; \
         take old releases off it"
    )]
    Budget(usize),
    /// Not an image that a boot loader would run.
    #[error("the file is no app image")]
    Image(#[source] ImageError),
    /// The list would break a rule.
    #[error(transparent)]
    List(#[from] ReleaseRefusal),
    /// The image is not what the definition says.
    #[error("the image does not fit its definition")]
    Mismatch(#[source] Mismatch),
    /// A Secure Boot signature is no good.
    #[error("the image's Secure Boot signature is no good")]
    SecureBoot(#[from] waxwing_secure_boot::Refusal),
    /// Its chip does not know how it is signed.
    #[error(transparent)]
    SecureBootForeign(#[from] Foreign),
    /// No device would boot the image.
    #[error("no device of the product would boot the image: {0}")]
    Unsigned(#[from] Unsigned),
    /// There is no such release.
    #[error("{0} is not listed; `waxwing-keys check` shows what is")]
    NotListed(String),
    /// The list belongs to another product.
    #[error("the list belongs to repository {0}")]
    OtherProduct(Repo),
}
