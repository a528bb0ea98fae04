//! Byte ranges (RFC 9110, 14): which part of an image is asked for.
//!
//! One range only. Several in one request are answered with the whole image, as the RFC allows: no
//! device asks for them, and they are a way to make a server send much for little.

use axum::http::{HeaderMap, header};

/// The part of a representation that goes into the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// 206: from the first to before the second offset; never empty.
    Range(u64, u64),
    /// 416: the range begins behind the end.
    Unsatisfiable,
    /// 200.
    Whole,
}

impl Part {
    /// Reads `Range` and `If-Range` for a representation with this length and strong `ETag`.
    pub fn asked(headers: &HeaderMap, len: u64, etag: &str) -> Self {
        let Some(range) = text(headers, &header::RANGE) else { return Self::Whole };
        // RFC 9110, 13.1.5: a validator that does not match exactly means "send all of it".
        let is_current = headers
            .get(header::IF_RANGE)
            .is_none_or(|validator| validator.as_bytes() == etag.as_bytes());
        if is_current { parse(range, len).unwrap_or(Self::Whole) } else { Self::Whole }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns nothing for a field that is malformed or of an unknown unit: such a field is ignored
/// (RFC 9110, 14.2).
fn parse(range: &str, len: u64) -> Option<Part> {
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    if first.is_empty() {
        return Some(suffix(number(last)?, len));
    }
    let first = number(first)?;
    let end = if last.is_empty() { len } else { number(last)?.saturating_add(1) };
    if end <= first && !last.is_empty() {
        return None;
    }
    Some(if first < len { Part::Range(first, end.min(len)) } else { Part::Unsatisfiable })
}

fn suffix(wanted: u64, len: u64) -> Part {
    let is_possible = wanted > 0 && len > 0;
    if is_possible { Part::Range(len.saturating_sub(wanted), len) } else { Part::Unsatisfiable }
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"abc\"";

    #[track_caller]
    fn check(range: &str, expected: Part) {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
        assert_eq!(Part::asked(&headers, 100, ETAG), expected, "{range}");
    }

    #[test]
    fn single_ranges_are_honoured() {
        check("bytes=0-0", Part::Range(0, 1));
        check("bytes=10-19", Part::Range(10, 20));
        check("bytes=90-", Part::Range(90, 100));
        check("bytes=90-1000", Part::Range(90, 100));
        check("bytes=90-18446744073709551615", Part::Range(90, 100));
        check("bytes=-10", Part::Range(90, 100));
        check("bytes=-1000", Part::Range(0, 100));
    }

    #[test]
    fn ranges_behind_the_end_are_unsatisfiable() {
        for range in ["bytes=100-", "bytes=100-200", "bytes=18446744073709551615-", "bytes=-0"] {
            check(range, Part::Unsatisfiable);
        }
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for range in [
            "bytes=0-1,5-6",
            "bytes=9-1",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=+1-2",
            "bytes 0-1",
            "bytes=99999999999999999999-",
        ] {
            check(range, Part::Whole);
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole() {
        for (validator, expected) in [
            (ETAG, Part::Range(0, 1)),
            ("\"other\"", Part::Whole),
            ("W/\"abc\"", Part::Whole),
            ("Fri, 20 Nov 2026 09:30:00 GMT", Part::Whole),
        ] {
            let headers = HeaderMap::from_iter([
                (header::RANGE, "bytes=0-0".parse().unwrap()),
                (header::IF_RANGE, validator.parse().unwrap()),
            ]);
            assert_eq!(Part::asked(&headers, 100, ETAG), expected, "{validator}");
        }
    }

    #[test]
    fn an_empty_representation_has_no_ranges() {
        let headers = HeaderMap::from_iter([(header::RANGE, "bytes=0-".parse().unwrap())]);
        assert_eq!(Part::asked(&headers, 0, ETAG), Part::Unsatisfiable);
    }
}
