//! The answer of EST: certificates in a PKCS#7 without content or signers (RFC 7030, 4.1.3).
//!
//! One shape is read and nothing in it is trusted: the server is known from TLS.

use rustls_pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;
/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];

/// Returns the first certificate in a `SignedData`.
pub(super) fn first_certificate(der: &[u8]) -> Option<CertificateDer<'static>> {
    let (content_info, _) = element(der, SEQUENCE)?;
    let (kind, rest) = element(content_info, OBJECT_ID)?;
    if kind != SIGNED_DATA {
        return None;
    }
    let (content, _) = element(rest, CONTEXT_0)?;
    let (signed_data, _) = element(content, SEQUENCE)?;
    let (_version, rest) = element(signed_data, INTEGER)?;
    let (_digest_algorithms, rest) = element(rest, SET)?;
    let (_content, rest) = element(rest, SEQUENCE)?;
    let (certificates, _) = element(rest, CONTEXT_0)?;
    let (_, behind) = element(certificates, SEQUENCE)?;
    let length = certificates.len().checked_sub(behind.len())?;
    Some(certificates.get(..length)?.to_vec().into())
}

/// Splits off an element with this tag: its content, and what comes behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = length(rest)?;
    if *first == tag { rest.split_at_checked(length) } else { None }
}

/// X.690 8.1.3: one byte below 128, else the number of length bytes and the length.
fn length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = der.split_first()?;
    let count = usize::from(first & 0x7f);
    if first & 0x80 == 0 {
        return Some((count, rest));
    }
    if count == 0 || count > 4 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    Some((digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_certificate_is_found() {
        let certificate = [&[SEQUENCE, 0x81, 200][..], &[7; 200]].concat();
        let der = answer(&[&certificate[..], &[SEQUENCE, 0]].concat());
        assert_eq!(first_certificate(&der).unwrap().as_ref(), certificate);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let der = answer(&[SEQUENCE, 3, 1, 2, 3]);
        assert!(first_certificate(&der).is_some());
        for length in 0..der.len() - 2 {
            assert_eq!(first_certificate(&der[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(der in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = first_certificate(&der);
            let _ = first_certificate(&answer(&der));
        }
    }

    fn answer(certificates: &[u8]) -> Vec<u8> {
        let parts = [
            vec![INTEGER, 1, 1],
            vec![SET, 0],
            vec![SEQUENCE, 0],
            wrap(CONTEXT_0, certificates),
            vec![SET, 0],
        ];
        let signed_data = wrap(SEQUENCE, &parts.concat());
        let content_info = [wrap(OBJECT_ID, SIGNED_DATA), wrap(CONTEXT_0, &signed_data)].concat();
        wrap(SEQUENCE, &content_info)
    }

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let [.., high, low] = content.len().to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    }
}
