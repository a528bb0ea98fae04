//! What a device must know of its own certificate: for which key it is, and for how long.
//!
//! Whether it is to be believed is for others to say; it is ours.

use crate::asn1::{
    BIT_STRING, CONTEXT_0, GENERALIZED_TIME, INTEGER, Item, Reader, SEQUENCE, UTC_TIME,
};

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
    let mut file = Reader(certificate);
    let mut whole = file.enter(SEQUENCE)?;
    file.end()?;
    let read = to_be_signed(whole.enter(SEQUENCE)?)?;
    let _algorithm = whole.next(SEQUENCE)?;
    let _signature = whole.next(BIT_STRING)?;
    whole.end().map(|()| read)
}

fn to_be_signed(mut fields: Reader<'_>) -> Option<Certificate> {
    // The version: without it, the certificate is of the first.
    fields.skip(CONTEXT_0);
    let _serial = fields.next(INTEGER)?;
    let _algorithm = fields.next(SEQUENCE)?;
    let _issuer = fields.next(SEQUENCE)?;
    let mut validity = fields.enter(SEQUENCE)?;
    let (from_s, until_s) = (time(validity.any()?)?, time(validity.any()?)?);
    validity.end()?;
    let _subject = fields.next(SEQUENCE)?;
    let mut key = fields.enter(SEQUENCE)?;
    let _algorithm = key.next(SEQUENCE)?;
    // A bit string of whole bytes begins with the number of bits that are none.
    let public_point = key.next(BIT_STRING)?.strip_prefix(&[0])?.try_into().ok()?;
    key.end()?;
    Some(Certificate { from_s, until_s, public_point })
}

/// Reads a time (RFC 5280, 4.1.2.5): `UTCTime` until 2049, then `GeneralizedTime`. None before 1970.
fn time(item: Item<'_>) -> Option<u64> {
    let (year, rest) = match item.tag {
        GENERALIZED_TIME => {
            let (century, rest) = number(item.content)?;
            let (year, rest) = number(rest)?;
            (100 * century + year, rest)
        }
        UTC_TIME => {
            let (year, rest) = number(item.content)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        _ => return None,
    };
    let (month, rest) = number(rest)?;
    let (day, rest) = number(rest)?;
    let (hours, rest) = number(rest)?;
    let (minutes, rest) = number(rest)?;
    let (seconds, rest) = number(rest)?;
    let is_time = hours < 24 && minutes < 60 && seconds < 60 && rest == b"Z";
    let days = days_since_1970(year, month, day).filter(|_| is_time)?;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Reads two digits.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<2>()?;
    let [tens, ones] = digits.map(|digit| u64::from(digit.wrapping_sub(b'0')));
    (tens < 10 && ones < 10).then_some((10 * tens + ones, rest))
}

/// Counts days in the Gregorian calendar.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    const FROM_YEAR_0_TO_1970: u64 = 719_468;
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the day that leap years add at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let year_of_400 = year % 400;
    let day_of_400 = 365 * year_of_400 + year_of_400 / 4 - year_of_400 / 100 + day_of_year;
    (year / 400 * DAYS_OF_400_YEARS + day_of_400).checked_sub(FROM_YEAR_0_TO_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let check = |tag, content: &[u8], expected| {
            assert_eq!(time(Item { tag, content, whole: content }), expected, "{content:?}");
        };
        check(UTC_TIME, b"700101000000Z", Some(0));
        check(UTC_TIME, b"000229235959Z", Some(951_868_799));
        check(UTC_TIME, b"491231235959Z", Some(2_524_607_999));
        check(GENERALIZED_TIME, b"20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, b"21000301000000Z", Some(4_107_542_400));
        check(GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799));
        for wrong in [
            &b"691231235959Z"[..],
            b"260001000000Z",
            b"261301000000Z",
            b"260100000000Z",
            b"260101240000Z",
            b"260101006000Z",
            b"260101000060Z",
            b"260101000000",
            b"260101000000Zx",
            b"2601010000:0Z",
            b"",
        ] {
            check(UTC_TIME, wrong, None);
        }
        check(0x04, b"260101000000Z", None);
    }
}
