//! How many devices may install a release at most, whatever a Director says (D10).
//!
//! A release that is listed with `custom.ceiling_permille` is for a share of the devices that the
//! release's own signers have chosen: even a Director in foreign hands cannot bring it to the others.

use sha2::{Digest, Sha256};

use crate::json::Value;
use crate::refusal::Cause;
use crate::role::Listed;

/// All devices: a ceiling is a share of this.
pub const CEILING_PERMILLE_MAX: u16 = 1_000;

/// Sets the hash apart from every other use of SHA-256 on such names.
const DOMAIN: &[u8] = b"waxwing-ceiling-v1\n";

/// Where among 1000 equal parts of the fleet `device` stands for the release at `path`: below
/// [`CEILING_PERMILLE_MAX`], and elsewhere for another release. A device may install a release with a
/// ceiling if its rank is below that.
///
/// The rank is `u64be(first 8 bytes of SHA-256(DOMAIN device "\n" path)) mod 1000`.
pub fn ceiling_rank(device: &str, path: &str) -> u16 {
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(device).chain_update(b"\n");
    let hash: [u8; 32] = hash.chain_update(path).finalize().into();
    let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    // What is left of a division by 1000 always fits.
    u16::try_from(first % u64::from(CEILING_PERMILLE_MAX)).unwrap_or(CEILING_PERMILLE_MAX)
}

/// Checks whether the Image repository lists `image` for this device too.
pub(super) fn check(image: &Listed, device: &str) -> Result<(), Cause> {
    let Some(ceiling) = image.custom().and_then(|custom| custom.field("ceiling_permille")) else {
        return Ok(());
    };
    let ceiling = Value::as_u64(ceiling).and_then(|ceiling| u16::try_from(ceiling).ok());
    let ceiling = ceiling.filter(|ceiling| *ceiling <= CEILING_PERMILLE_MAX);
    let ceiling = ceiling.ok_or(Cause::BadField("ceiling_permille"))?;
    if ceiling_rank(device, &image.path) < ceiling { Ok(()) } else { Err(Cause::AboveCeiling) }
}
