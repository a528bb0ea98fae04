//! The answer of EST: certificates in an empty PKCS#7 (RFC 5652 `SignedData` without content and
//! without signers, "certs-only", RFC 7030 4.1.3).
//!
//! Forty lines of DER are less to trust than a CMS library; only this one shape is written and
//! nothing is read. `openssl pkcs7 -print_certs` is the oracle in the tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// Media type of [`certs_only`] (RFC 7030 4.1.3).
pub const MEDIA_TYPE: &str = "application/pkcs7-mime; smime-type=certs-only";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// `id-data`, 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// `CMSVersion` 1.
const VERSION: &[u8] = &[2, 1, 1];

/// Characters in a line of base64: what every PEM reader takes.
const LINE_CHARS: usize = 64;

/// Encodes certificates as base64 PKCS#7, in lines.
pub fn certs_only(certificates: &[&CertificateDer<'_>]) -> String {
    let text = STANDARD.encode(der(certificates));
    let mut lines = String::with_capacity(text.len() + text.len() / LINE_CHARS + 1);
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at.is_multiple_of(LINE_CHARS) {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push('\n');
    lines
}

fn der(certificates: &[&CertificateDer<'_>]) -> Vec<u8> {
    let certificates: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    let signed_data = element(
        SEQUENCE,
        &[
            VERSION,
            &element(SET, &[]),
            &element(SEQUENCE, &[DATA]),
            &element(CONTEXT_0, &certificates),
            &element(SET, &[]),
        ],
    );
    element(SEQUENCE, &[SIGNED_DATA, &element(CONTEXT_0, &[&signed_data])])
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    out.extend(length(content.len()));
    out.extend(content);
    out
}

/// X.690 8.1.3: one byte below 128, else the number of length bytes and the length.
fn length(len: usize) -> Vec<u8> {
    if let Ok(short @ 0..0x80) = u8::try_from(len) {
        return vec![short];
    }
    let digits: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let count = u8::try_from(digits.len()).unwrap_or(u8::MAX);
    [vec![0x80 | count], digits].concat()
}
