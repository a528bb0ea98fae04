//! The attributes of a key in a token: what a new one gets, and how its public half is read.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use waxwing_tuf::author::Algorithm;
use waxwing_tuf::key::PublicKey;

use super::ID_BYTES;
use super::error::{Error, call};

/// `edwards25519` as a `PrintableString` (PKCS#11 3.0, 2.3.10): what tokens of that time read.
const ED25519_PARAMETERS: [u8; 14] = *b"\x13\x0cedwards25519";

/// The object identifier of P-256 (RFC 5480).
const P256_PARAMETERS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Before an Ed25519 point or a P-256 point: DER, an octet string of 32 or 65 bytes.
const ED25519_OCTETS: [u8; 2] = [0x04, 0x20];
const P256_OCTETS: [u8; 2] = [0x04, 0x41];

/// Makes a pair whose secret half stays where it is.
pub(super) fn generate(
    session: &Session,
    object: &str,
    algorithm: Algorithm,
    id: [u8; ID_BYTES],
) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let (mechanism, parameters) = match algorithm {
        Algorithm::EcdsaP256 => (Mechanism::EccKeyPairGen, P256_PARAMETERS.to_vec()),
        Algorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMETERS.to_vec()),
    };
    let common = [
        Attribute::Token(true),
        Attribute::Label(object.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let public =
        [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(parameters)];
    let secret = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let (public, secret) = ([&common[..], &public].concat(), [&common[..], &secret].concat());
    let pair = session.generate_key_pair(&mechanism, &public, &secret);
    pair.map_err(call("make the key"))
}

/// Where the secret half of a key has been and can go, as the token says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Custody {
    /// Made in this token, never shown, and never to be shown.
    Confined,
    /// The token would show it, now.
    Exportable,
    /// It was elsewhere before, or could have been copied before: a copy may be about.
    Imported,
}

/// Asks the token for the rules that a key is under. What it does not say is not promised.
pub(super) fn custody(session: &Session, secret: ObjectHandle) -> Result<Custody, Error> {
    let now = [Attribute::Sensitive(true), Attribute::Extractable(false)];
    let ever = [
        Attribute::AlwaysSensitive(true),
        Attribute::NeverExtractable(true),
        Attribute::Local(true),
    ];
    let wanted: Vec<_> = now.iter().chain(&ever).map(Attribute::attribute_type).collect();
    let found = session.get_attributes(secret, &wanted).map_err(call("read the key's rules"))?;
    let promised = |rules: &[Attribute]| rules.iter().all(|rule| found.contains(rule));
    Ok(match (promised(&now), promised(&ever)) {
        (true, true) => Custody::Confined,
        (true, false) => Custody::Imported,
        (false, _) => Custody::Exportable,
    })
}

/// Reads what ties the halves of a key together (`CKA_ID`); empty where nobody has set it.
pub(super) fn id(session: &Session, half: ObjectHandle) -> Result<Vec<u8>, Error> {
    let found = session.get_attributes(half, &[AttributeType::Id]).map_err(call("read its id"))?;
    let id = |it| if let Attribute::Id(id) = it { Some(id) } else { None };
    Ok(found.into_iter().find_map(id).unwrap_or_default())
}

pub(super) fn read_public(
    session: &Session,
    public: ObjectHandle,
    object: &str,
) -> Result<(Algorithm, PublicKey), Error> {
    let wanted = [AttributeType::KeyType, AttributeType::EcParams, AttributeType::EcPoint];
    let found = session.get_attributes(public, &wanted).map_err(call("read the public key"))?;
    let (mut kind, mut parameters, mut point) = (None, Vec::new(), Vec::new());
    for attribute in found {
        if let Attribute::KeyType(found) = attribute {
            kind = Some(found);
        } else if let Attribute::EcParams(found) = attribute {
            parameters = found;
        } else if let Attribute::EcPoint(found) = attribute {
            point = found;
        }
    }
    let key = match kind {
        Some(KeyType::EC) if parameters == P256_PARAMETERS => {
            p256(&point).map(|key| (Algorithm::EcdsaP256, key))
        }
        Some(KeyType::EC_EDWARDS) => ed25519(&point).map(|key| (Algorithm::Ed25519, key)),
        Some(_) | None => None,
    };
    key.ok_or_else(|| Error::Kind(object.to_owned()))
}

/// Some tokens wrap the point as PKCS#11 2.40 says, some do not.
fn ed25519(point: &[u8]) -> Option<PublicKey> {
    let bare = point.strip_prefix(&ED25519_OCTETS).filter(|bare| bare.len() == 32);
    PublicKey::ed25519(bare.unwrap_or(point).try_into().ok()?).ok()
}

fn p256(point: &[u8]) -> Option<PublicKey> {
    let bare = point.strip_prefix(&P256_OCTETS).unwrap_or(point);
    PublicKey::p256(bare.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwing_tuf::author::{Ed25519Signer, P256Signer, Signer as _};

    #[test]
    fn a_public_key_is_read_with_and_without_its_wrapping_and_never_cut_short() {
        let key = Ed25519Signer::from_seed(&[7; 32]).unwrap().public().clone();
        let PublicKey::Ed25519(point) = &key else { unreachable!() };
        let bare = point.to_bytes();
        assert_eq!(ed25519(&bare), Some(key.clone()));
        assert_eq!(ed25519(&[&ED25519_OCTETS[..], &bare].concat()), Some(key));
        assert_eq!(ed25519(&bare[..31]), None);
        assert_eq!(ed25519(&[&P256_OCTETS[..], &bare].concat()), None);
        let key = P256Signer::from_seed(&[7; 32]).unwrap().public().clone();
        let PublicKey::EcdsaP256(point) = &key else { unreachable!() };
        let bare = point.to_bytes();
        assert_eq!(p256(&bare), Some(key.clone()));
        assert_eq!(p256(&[&P256_OCTETS[..], &bare].concat()), Some(key));
        assert_eq!(p256(&bare[..64]), None);
        let mut off_the_curve = bare;
        off_the_curve[64] ^= 1;
        assert_eq!(p256(&off_the_curve), None);
    }
}
