//! What a device must know of its own certificate: for which key it is, and for how long.
//!
//! Whether it is to be believed is for others to say; it is ours.

use der::asn1::{AnyRef, BitStringRef, ContextSpecific, GeneralizedTime, UtcTime};
use der::{Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

/// What is of interest in a certificate.
pub(super) struct Certificate {
    /// Unix time from which on it is valid.
    pub(super) from_s: u64,
    /// Unix time of its end.
    pub(super) until_s: u64,
    /// The public key as an uncompressed point.
    pub(super) public_point: [u8; 65],
}

/// Reads a certificate (RFC 5280, 4.1).
pub(super) fn read(certificate: &[u8]) -> Option<Certificate> {
    let mut reader = SliceReader::new(certificate).ok()?;
    let read = reader.sequence(|whole| {
        let tbs: AnyRef<'_> = whole.decode()?;
        let _algorithm: AnyRef<'_> = whole.decode()?;
        let _signature: AnyRef<'_> = whole.decode()?;
        tbs.sequence(to_be_signed)
    });
    let read = read.ok()?;
    reader.finish(read).ok()
}

fn to_be_signed(reader: &mut SliceReader<'_>) -> der::Result<Certificate> {
    let _version: Option<ContextSpecific<AnyRef<'_>>> =
        ContextSpecific::decode_explicit(reader, TagNumber::N0)?;
    for tag in [Tag::Integer, Tag::Sequence, Tag::Sequence] {
        reader.decode::<AnyRef<'_>>()?.tag().assert_eq(tag)?;
    }
    let validity: AnyRef<'_> = reader.decode()?;
    let (from_s, until_s) = validity.sequence(|times| Ok((time(times)?, time(times)?)))?;
    let _subject: AnyRef<'_> = reader.decode()?;
    let key: AnyRef<'_> = reader.decode()?;
    let public_point = key.sequence(|key| {
        let _algorithm: AnyRef<'_> = key.decode()?;
        let point: BitStringRef<'_> = key.decode()?;
        let point = point.as_bytes().and_then(|point| point.try_into().ok());
        point.ok_or_else(|| Tag::BitString.value_error())
    })?;
    while !reader.is_finished() {
        let _extensions: AnyRef<'_> = reader.decode()?;
    }
    Ok(Certificate { from_s, until_s, public_point })
}

/// RFC 5280, 4.1.2.5: `UTCTime` until 2049, then `GeneralizedTime`.
fn time<'r>(reader: &mut impl der::Reader<'r>) -> der::Result<u64> {
    let any: AnyRef<'_> = reader.decode()?;
    let since_1970 = if any.tag() == Tag::UtcTime {
        any.decode_as::<UtcTime>()?.to_unix_duration()
    } else {
        any.decode_as::<GeneralizedTime>()?.to_unix_duration()
    };
    Ok(since_1970.as_secs())
}
