//! Whether the answer to a range request fits the question (RFC 9110, section 14), and whether its
//! body comes fast enough.

use core::fmt;
use core::time::Duration;

/// How often the pace of a download is looked at: a server that trickles is given up after as long.
pub const PACE_WINDOW: Duration = Duration::from_mins(1);
/// Least bytes in each [`PACE_WINDOW`], 1 KiB a second: slower than any link worth an update.
pub const PACE_BYTES_MIN: u64 = 60 * 1024;
/// Longest that one download may take, whatever its pace: a slot of 8 MiB, the largest that fits
/// twice into 16 MiB of flash, takes 2.3 hours at the least pace.
pub const DOWNLOAD_MAX: Duration = Duration::from_hours(3);

/// How a server began to answer a download.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Opened {
    /// HTTP status.
    pub status: u16,
    /// `Content-Range`, if it was sent and is well-formed.
    pub range: Option<ContentRange>,
    /// Length of the body in bytes, if it was sent.
    pub body_bytes: Option<u64>,
    /// `Retry-After` in seconds, if it was sent and is a number.
    pub retry_after: Option<Duration>,
}

/// `Content-Range: bytes first-last/length`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentRange {
    /// Position of the first byte of the body.
    pub first: u64,
    /// Position of the last byte of the body.
    pub last: u64,
    /// Length of the whole image in bytes.
    pub length: u64,
}

impl ContentRange {
    /// Parses the header's value. A range of unknown length is of no use here and gives `None`.
    pub fn parse(value: &str) -> Option<Self> {
        let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self { first: digits(first)?, last: digits(last)?, length: digits(length)? };
        (range.first <= range.last && range.last < range.length).then_some(range)
    }
}

/// A number without sign or space.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What to make of the beginning of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// The body is what was asked for.
    AsAsked,
    /// The body is the whole image: start again with it.
    FromTheStart,
    /// The server cannot give that range: ask again for all of it.
    AskForAll,
    /// The server asks to come back after this long.
    Busy(Duration),
    /// It is another image, or another part of it.
    WrongRange,
    /// The server refused.
    Refused,
}

/// Judges the answer to a request for all bytes of an image of `length` bytes from `from` on.
pub fn begin(opened: &Opened, from: u32, length: u32) -> Begin {
    let (from, length) = (u64::from(from), u64::from(length));
    let body_is = |bytes| opened.body_bytes.is_none_or(|sent| sent == bytes);
    match opened.status {
        // A server may ignore `Range`, and must when `If-Range` does not match.
        200 if !body_is(length) => Begin::WrongRange,
        200 if from == 0 => Begin::AsAsked,
        200 => Begin::FromTheStart,
        206 => {
            let asked = ContentRange { first: from, last: length.saturating_sub(1), length };
            let fits = opened.range == Some(asked) && body_is(length.saturating_sub(from));
            if fits { Begin::AsAsked } else { Begin::WrongRange }
        }
        416 if from > 0 => Begin::AskForAll,
        _ => busy(opened).map_or(Begin::Refused, Begin::Busy),
    }
}

/// Returns how long a server that has too much to do asks to wait (RFC 9110, 10.2.3).
pub fn busy(opened: &Opened) -> Option<Duration> {
    opened.retry_after.filter(|_| matches!(opened.status, 429 | 503))
}

/// The pace of one download. Times are uptime.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    began: Duration,
    window_began: Duration,
    window_bytes: u64,
}

impl Pace {
    /// Begins to watch a download.
    pub const fn begin(now: Duration) -> Self {
        Self { began: now, window_began: now, window_bytes: 0 }
    }

    /// Returns when to look again, should nothing come until then.
    pub fn deadline(&self) -> Duration {
        let window = self.window_began.saturating_add(PACE_WINDOW);
        window.min(self.began.saturating_add(DOWNLOAD_MAX))
    }

    /// Takes note of `bytes` that came at `now`, or that none did until the deadline.
    ///
    /// # Errors
    ///
    /// [`TooSlow`] when the last window brought too little, or the whole takes too long.
    pub fn advance(&mut self, now: Duration, bytes: usize) -> Result<(), TooSlow> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        if now < self.deadline() {
            return Ok(());
        }
        let is_late = now >= self.began.saturating_add(DOWNLOAD_MAX);
        if is_late || self.window_bytes < PACE_BYTES_MIN {
            return Err(TooSlow);
        }
        (self.window_began, self.window_bytes) = (now, 0);
        Ok(())
    }
}

/// A download is slower than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("download is slower than 1 KiB a second")
    }
}

impl core::error::Error for TooSlow {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: u32 = 10_000;

    #[test]
    fn the_range_asked_for_is_taken() {
        check(206, Some((4096, 9999, 10_000)), Some(5904), 4096, Begin::AsAsked);
        check(206, Some((4096, 9999, 10_000)), None, 4096, Begin::AsAsked);
        check(200, None, Some(10_000), 0, Begin::AsAsked);
        check(200, None, None, 0, Begin::AsAsked);
    }

    #[test]
    fn a_whole_image_instead_of_a_range_starts_again() {
        check(200, None, Some(10_000), 4096, Begin::FromTheStart);
    }

    #[test]
    fn any_other_range_is_refused() {
        for range in [None, Some((0, 9999, 10_000)), Some((4096, 9998, 10_000))] {
            check(206, range, None, 4096, Begin::WrongRange);
        }
        check(206, Some((4096, 9999, 10_001)), None, 4096, Begin::WrongRange);
        check(206, Some((4096, 9999, 10_000)), Some(10_000), 4096, Begin::WrongRange);
        check(200, None, Some(9999), 0, Begin::WrongRange);
    }

    #[test]
    fn a_range_the_server_cannot_give_is_asked_for_whole_once() {
        check(416, None, None, 4096, Begin::AskForAll);
        check(416, None, None, 0, Begin::Refused);
    }

    #[test]
    fn other_statuses_are_refusals() {
        for status in [100, 204, 301, 304, 403, 404, 500, 503] {
            check(status, None, None, 0, Begin::Refused);
        }
    }

    #[test]
    fn a_busy_server_is_asked_again_when_it_says_so_and_no_other_status_may() {
        let retry_after = Some(Duration::from_secs(7));
        for (status, expected) in [
            (429, Begin::Busy(Duration::from_secs(7))),
            (503, Begin::Busy(Duration::from_secs(7))),
            (404, Begin::Refused),
            (500, Begin::Refused),
        ] {
            let opened = Opened { status, retry_after, ..Opened::default() };
            assert_eq!(begin(&opened, 0, LENGTH), expected);
        }
    }

    #[test]
    fn content_ranges_are_read_strictly() {
        let good = ContentRange { first: 1, last: 2, length: 3 };
        assert_eq!(ContentRange::parse("bytes 1-2/3"), Some(good));
        for bad in
            ["", "bytes */3", "bytes 1-2/*", "bytes 2-1/3", "bytes 1-3/3", "bytes +1-2/3", "1-2/3"]
        {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }

    /// Lets a piece come every so often, and returns when the download was given up.
    fn given_up(every: Duration, piece: usize) -> Option<Duration> {
        let mut pace = Pace::begin(Duration::ZERO);
        let mut now = Duration::ZERO;
        while now <= DOWNLOAD_MAX {
            let next = (now + every).min(pace.deadline());
            let came = if next == now + every { piece } else { 0 };
            now = next;
            if pace.advance(now, came).is_err() {
                return Some(now);
            }
        }
        None
    }

    #[test]
    fn a_byte_each_second_is_given_up_after_a_minute() {
        assert_eq!(given_up(Duration::from_secs(1), 1), Some(PACE_WINDOW));
        assert_eq!(given_up(Duration::from_secs(1), 1023), Some(PACE_WINDOW));
        assert_eq!(given_up(Duration::from_secs(100_000), 1 << 30), Some(PACE_WINDOW));
    }

    #[test]
    fn a_steady_download_goes_on_for_as_long_as_any_may() {
        for (every, piece) in [(1, 1024), (10, 10 * 1024), (59, 64 * 1024)] {
            let end = given_up(Duration::from_secs(every), piece);
            assert_eq!(end, Some(DOWNLOAD_MAX), "{piece} bytes every {every} s");
        }
    }

    #[test]
    fn what_came_early_does_not_count_for_later() {
        let mut pace = Pace::begin(Duration::from_secs(7));
        pace.advance(Duration::from_secs(8), 1 << 30).unwrap();
        pace.advance(pace.deadline(), 0).unwrap();
        assert_eq!(pace.deadline(), Duration::from_secs(7 + 60 + 60));
        assert_eq!(pace.advance(pace.deadline(), 1), Err(TooSlow));
    }

    proptest! {
        #[test]
        fn foreign_content_ranges_never_panic(value in ".*") {
            let _ = ContentRange::parse(&value);
            let _ = ContentRange::parse(&format!("bytes {value}"));
        }
    }

    #[track_caller]
    fn check(
        status: u16,
        range: Option<(u64, u64, u64)>,
        body_bytes: Option<u64>,
        from: u32,
        expected: Begin,
    ) {
        let range = range.map(|(first, last, length)| ContentRange { first, last, length });
        let opened = Opened { status, range, body_bytes, retry_after: None };
        assert_eq!(begin(&opened, from, LENGTH), expected);
    }
}
