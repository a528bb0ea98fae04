//! The answer to an enrolment, as a device reads it: one certificate in a PKCS#7.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waxwing_agent_net::est::certificate;

/// A certificate, as far as who reads the answer can tell.
const CERTIFICATE: [u8; 3] = [0x30, 1, 7];

/// Tried as it is, and as a part of an answer with all lengths around it right. What is accepted has
/// one spelling: that of the certificate in it. And lines do not matter.
pub fn check(bytes: &[u8]) {
    let _ = certificate(bytes);
    check_answer(bytes);
    check_answer(&around(bytes));
    check_answer(&around(&inside(bytes, &[])));
    check_answer(&around(&inside(&CERTIFICATE, bytes)));
}

fn check_answer(der: &[u8]) {
    let text = STANDARD.encode(der);
    let found = certificate(text.as_bytes());
    let lines: Vec<&[u8]> = text.as_bytes().chunks(64).collect();
    assert_eq!(certificate(&lines.join(&b"\r\n"[..])), found, "lines matter");
    if let Some(certificate) = found {
        assert_eq!(around(&inside(&certificate, &[])), der, "another answer holds the same");
    }
}

/// RFC 7030, 4.1.3: what is inside of an answer with these certificates and signers: one and none.
pub(crate) fn inside(certificates: &[u8], signers: &[u8]) -> Vec<u8> {
    let (certificates, signers) = (element(0xa0, certificates), element(0x31, signers));
    [&[2, 1, 1, 0x31, 0], &element(0x30, &id(1))[..], &certificates, &signers].concat()
}

/// Makes an answer of what is inside of it.
pub(crate) fn around(inside: &[u8]) -> Vec<u8> {
    element(0x30, &[id(2), element(0xa0, &element(0x30, inside))].concat())
}

/// `id-data` and `id-signedData`.
fn id(last: u8) -> Vec<u8> {
    vec![6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, last]
}

/// X.690, 10.1: the length in as few bytes as possible.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> =
        content.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = match (&digits[..], digits.len()) {
        ([], _) => vec![0],
        ([short @ 0..0x80], _) => vec![*short],
        (_, count) => [&[0x80 | u8::try_from(count).unwrap_or(0)], &digits[..]].concat(),
    };
    [&[tag], &length[..], content].concat()
}
