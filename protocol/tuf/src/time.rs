//! Points in time, as numbers. This crate has no clock: every caller brings the time it believes.

use core::fmt;

const MILLIS_PER_SECOND: u64 = 1_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const DAYS_BEFORE_EPOCH: u32 = 719_468;
const DAYS_PER_ERA: u32 = 146_097;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

impl Time {
    /// From Unix milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From Unix seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(MILLIS_PER_SECOND))
    }

    /// Reads the only form TUF allows (spec 4.2.1): `2026-11-20T09:30:00Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let is_date = (1970..=9999).contains(&year) && (1..=last_day(year, month)).contains(&day);
        if !is_date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = u64::from(days_since_epoch(year, month, day)?);
        let seconds = u64::from(hour * 3_600 + minute * 60 + second);
        Some(Self::from_seconds(days * SECONDS_PER_DAY + seconds))
    }

    /// Unix milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole Unix seconds.
    pub const fn as_seconds(self) -> u64 {
        self.0 / MILLIS_PER_SECOND
    }
}

/// The form [`Time::parse`] reads; what is below a second is cut off.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_seconds();
        let (year, month, day) = date_of(seconds / SECONDS_PER_DAY);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The last day of a month in the Gregorian calendar; 0 if there is no such month.
const fn last_day(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last.
fn days_since_epoch(year: u32, month: u32, day: u32) -> Option<u32> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * DAYS_PER_ERA + day_of_era).checked_sub(DAYS_BEFORE_EPOCH)
}

/// Howard Hinnant's `civil_from_days`.
fn date_of(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + u64::from(DAYS_BEFORE_EPOCH);
    let days_per_era = u64::from(DAYS_PER_ERA);
    let day_of_era = days % days_per_era;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (days / days_per_era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-20T09:30:00Z", 1_795_167_000),
            ("2099-12-31T00:00:00Z", 4_102_358_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(Time::parse(text), Some(Time::from_seconds(seconds)), "{text}");
            assert_eq!(std::format!("{}", Time::from_seconds(seconds)), text);
        }
    }

    #[test]
    fn every_day_of_a_thousand_years_survives_the_round_trip() {
        for day in 0..365_250 {
            let time = Time::from_seconds(day * SECONDS_PER_DAY);
            assert_eq!(Time::parse(&std::format!("{time}")), Some(time));
        }
    }

    #[test]
    fn other_forms_and_days_that_do_not_exist_are_refused() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T09:30:00",
            "2026-11-20T09:30:00+00:00",
            "2026-11-20T09:30:00.0Z",
            "2026-11-20t09:30:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T09:60:00Z",
            "2026-11-20T09:30:60Z",
            "1969-12-31T23:59:59Z",
            "+026-11-20T09:30:00Z",
            "2026-11-20-1T09:30:00Z",
            "02026-11-20T09:30:00Z",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
