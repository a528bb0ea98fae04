//! Which Secure Boot keys a product has, and whether its images must be signed by them.

use serde::{Deserialize, Serialize};
use waxwing_wire::Digest;

/// Most keys a product may register, and most it may revoke: a chip holds three, and several
/// generations of chips may be in the field.
pub const KEY_DIGESTS_MAX: usize = 16;

/// The Secure Boot keys of a product, as its definition says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether an image must be signed by a registered key.
    pub required: bool,
    /// Digests of the keys in the eFuses of its devices.
    #[serde(default)]
    pub key_digests: Vec<Digest>,
    /// Digests of keys that devices were told to revoke.
    #[serde(default)]
    pub revoked_key_digests: Vec<Digest>,
}

impl Policy {
    /// Checks that the policy can be met.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`], the first reason why not.
    pub fn check(&self) -> Result<(), PolicyFault> {
        let Self { required, key_digests, revoked_key_digests } = self;
        if key_digests.len().max(revoked_key_digests.len()) > KEY_DIGESTS_MAX {
            return Err(PolicyFault::TooMany);
        }
        let all: Vec<_> = key_digests.iter().chain(revoked_key_digests).collect();
        let twice = all
            .iter()
            .enumerate()
            .find(|(at, digest)| all.iter().skip(at + 1).any(|other| other == *digest));
        if let Some((_, digest)) = twice {
            return Err(PolicyFault::Twice(**digest));
        }
        if *required && key_digests.is_empty() {
            return Err(PolicyFault::NoKeys);
        }
        Ok(())
    }

    /// Checks that devices of the product would boot an image with these good signatures.
    ///
    /// # Errors
    ///
    /// [`Unsigned`] if a signature is required and none counts.
    pub fn judge(&self, signed_by: &[Digest]) -> Result<(), Unsigned> {
        if !self.required || signed_by.iter().any(|digest| self.key_digests.contains(digest)) {
            return Ok(());
        }
        let is_revoked = |digest: &&Digest| self.revoked_key_digests.contains(digest);
        match (signed_by.iter().find(is_revoked), signed_by.first()) {
            (Some(revoked), _) => Err(Unsigned::Revoked(*revoked)),
            (None, Some(unknown)) => Err(Unsigned::Unregistered(*unknown)),
            (None, None) => Err(Unsigned::NoSignature),
        }
    }
}

/// Why a policy makes no sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyFault {
    /// No image could ever be accepted.
    #[error("secure boot is required, but no key digest is registered")]
    NoKeys,
    /// More keys than allowed.
    #[error("more than {KEY_DIGESTS_MAX} key digests are listed")]
    TooMany,
    /// Registered twice, or registered and revoked.
    #[error("key digest {0} is listed twice")]
    Twice(Digest),
}

/// Why the boot loader of a product's devices would refuse an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsigned {
    /// No signature sector.
    #[error("it has no Secure Boot signature, which the product requires; sign it with espsecure")]
    NoSignature,
    /// Signed by a key that devices no longer accept.
    #[error("it is signed by the revoked key {0}; sign it with a registered one")]
    Revoked(Digest),
    /// Signed by somebody else.
    #[error("it is signed by the key {0}, which is not registered for the product")]
    Unregistered(Digest),
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Digest = Digest([1; 32]);
    const REVOKED: Digest = Digest([2; 32]);
    const OTHER: Digest = Digest([3; 32]);

    fn policy(required: bool) -> Policy {
        Policy { required, key_digests: vec![GOOD], revoked_key_digests: vec![REVOKED] }
    }

    #[test]
    fn one_registered_key_is_enough_and_is_needed() {
        assert_eq!(policy(true).judge(&[GOOD]), Ok(()));
        assert_eq!(policy(true).judge(&[OTHER, REVOKED, GOOD]), Ok(()));
        assert_eq!(policy(true).judge(&[OTHER]), Err(Unsigned::Unregistered(OTHER)));
        assert_eq!(policy(true).judge(&[OTHER, REVOKED]), Err(Unsigned::Revoked(REVOKED)));
        assert_eq!(policy(true).judge(&[]), Err(Unsigned::NoSignature));
    }

    #[test]
    fn products_without_secure_boot_take_any_image() {
        assert_eq!(policy(false).judge(&[]), Ok(()));
        assert_eq!(policy(false).judge(&[OTHER]), Ok(()));
    }

    #[test]
    fn a_policy_that_nothing_could_meet_is_refused() {
        assert_eq!(policy(true).check(), Ok(()));
        let none = Policy { key_digests: Vec::new(), ..policy(true) };
        assert_eq!(none.check(), Err(PolicyFault::NoKeys));
        let both = Policy { key_digests: vec![REVOKED], ..policy(true) };
        assert_eq!(both.check(), Err(PolicyFault::Twice(REVOKED)));
        let twice = Policy { key_digests: vec![GOOD, GOOD], ..policy(false) };
        assert_eq!(twice.check(), Err(PolicyFault::Twice(GOOD)));
        let many = (0..17).map(|n| Digest([n; 32])).collect();
        let many = Policy { key_digests: many, revoked_key_digests: Vec::new(), required: false };
        assert_eq!(many.check(), Err(PolicyFault::TooMany));
    }
}
