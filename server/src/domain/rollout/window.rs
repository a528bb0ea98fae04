//! A maintenance window: when a device may be interrupted, in its own time.
//!
//! Not here: which time zone a device is in.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

/// The days of a week, in order.
const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Minutes of a day.
const DAY_MIN: u16 = 24 * 60;
/// How far a window that is open every week can be away, in days: a change of clocks may swallow one.
const DAYS_MAX: i32 = 14;

/// A span of each of some days, in local time. One that ends before it begins ends on the next day.
/// Written as `Mon,Tue,Wed 22:00-04:00`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// The days on which it opens, Monday first; bit 0 is Monday.
    pub days: u8,
    /// When it opens, in minutes after midnight.
    pub from_min: u16,
    /// When it closes, in minutes after midnight.
    pub to_min: u16,
}

/// The text is no window.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a window is written like `Mon,Tue,Wed 22:00-04:00`")]
pub struct NoWindow;

/// Why a window never opens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NeverOpens {
    /// It has no days.
    #[error("it opens on no day")]
    Days,
    /// It is empty, or no time of a day.
    #[error("it must open and close at two different times between 00:00 and 23:59")]
    Times,
}

impl Window {
    /// Checks that it opens.
    ///
    /// # Errors
    ///
    /// [`NeverOpens`] says why not.
    pub const fn check(self) -> Result<(), NeverOpens> {
        if self.days == 0 || self.days >= 1 << 7 {
            return Err(NeverOpens::Days);
        }
        if self.from_min == self.to_min || self.from_min >= DAY_MIN || self.to_min >= DAY_MIN {
            return Err(NeverOpens::Times);
        }
        Ok(())
    }

    /// Returns when it is open if it opens so many days after today. One over midnight closes a day later.
    fn span(self, zone: &TimeZone, today: Date, day: i32) -> Option<Range<u64>> {
        let date =
            today.checked_add(day.days()).ok().filter(|date| self.opens_on(date.weekday()))?;
        let is_next_day = self.to_min < self.from_min;
        let closes_on = if is_next_day { date.tomorrow().ok()? } else { date };
        let span = instant(zone, date, self.from_min)?..instant(zone, closes_on, self.to_min)?;
        (!span.is_empty()).then_some(span)
    }

    fn opens_on(self, day: Weekday) -> bool {
        self.days & (1 << day.to_monday_zero_offset()) != 0
    }
}

/// Tells whether one of the windows is open at a time, given in Unix milliseconds; none means always.
pub fn is_open(windows: &[Window], zone: &TimeZone, now_ms: u64) -> bool {
    let mut spans = spans(windows, zone, now_ms, -1..=0);
    windows.is_empty() || spans.any(|span| span.contains(&now_ms))
}

/// Returns the most days from one on which a window opens to the next such; 0 if they are always open.
pub fn longest_pause_days(windows: &[Window]) -> u32 {
    let days = windows.iter().fold(0, |days, window| days | window.days);
    let opens = |day: &u32| days & (1 << (day % 7)) != 0;
    let next = |day: u32| (1..=7).find(|later| opens(&(day + later)));
    (0..7).filter(opens).filter_map(next).max().unwrap_or(0)
}

/// Returns when the next window opens after a time, both in Unix milliseconds.
pub fn next_opening(windows: &[Window], zone: &TimeZone, now_ms: u64) -> Option<u64> {
    let openings = spans(windows, zone, now_ms, 0..=DAYS_MAX).map(|span| span.start);
    openings.filter(|time| *time > now_ms).min()
}

/// Returns when a window last opened or closed, both in Unix milliseconds; 0 if there is none.
pub fn last_change(windows: &[Window], zone: &TimeZone, now_ms: u64) -> u64 {
    let changes = spans(windows, zone, now_ms, -DAYS_MAX..=0);
    let changes = changes.flat_map(|span| [span.start, span.end]);
    changes.filter(|time| *time <= now_ms).max().unwrap_or(0)
}

/// Returns when windows are open that open on some days, counted from today, in Unix milliseconds. Each is
/// open once a day: an hour that comes twice when clocks are set back counts the first time, and what
/// clocks that are set forward leave out comes as much later.
fn spans(
    windows: &[Window],
    zone: &TimeZone,
    now_ms: u64,
    days: RangeInclusive<i32>,
) -> impl Iterator<Item = Range<u64>> {
    let today = today(zone, now_ms);
    days.flat_map(move |day| windows.iter().filter_map(move |it| it.span(zone, today, day)))
}

fn today(zone: &TimeZone, now_ms: u64) -> Date {
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    zone.to_datetime(Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX)).date()
}

/// Returns a minute of a day in Unix milliseconds.
fn instant(zone: &TimeZone, date: Date, minute: u16) -> Option<u64> {
    let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    let time = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0)).compatible().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

impl FromStr for Window {
    type Err = NoWindow;

    fn from_str(text: &str) -> Result<Self, NoWindow> {
        let (days, span) = text.split_once(' ').ok_or(NoWindow)?;
        let (from, to) = span.split_once('-').ok_or(NoWindow)?;
        let day = |name: &str| Some(1 << NAMES.iter().position(|other| *other == name)?);
        let days = days.split(',').try_fold(0, |days, name| Some(days | day(name)?));
        let days = days.ok_or(NoWindow)?;
        Ok(Self { days, from_min: minutes(from)?, to_min: minutes(to)? })
    }
}

impl TryFrom<String> for Window {
    type Error = NoWindow;

    fn try_from(text: String) -> Result<Self, NoWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

/// Reads `22:30`.
fn minutes(text: &str) -> Result<u16, NoWindow> {
    let text = Some(text).filter(|text| text.len() == "22:30".len()).ok_or(NoWindow)?;
    let time: Time = format!("{text}:00").parse().map_err(|_| NoWindow)?;
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).map_err(|_| NoWindow)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut days = (0..).zip(NAMES).filter(|(day, _)| self.days & (1 << day) != 0);
        if let Some((_, first)) = days.next() {
            f.write_str(first)?;
        }
        days.try_for_each(|(_, name)| write!(f, ",{name}"))?;
        let time = |minutes: u16| (minutes / 60, minutes % 60);
        let ((from_h, from_m), (to_h, to_m)) = (time(self.from_min), time(self.to_min));
        write!(f, " {from_h:02}:{from_m:02}-{to_h:02}:{to_m:02}")
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::DateTime;
    use proptest::prelude::*;

    use super::*;

    const NIGHTS: Window = Window { days: 0b001_1111, from_min: 22 * 60, to_min: 4 * 60 };

    fn at(zone: &TimeZone, local: &str) -> u64 {
        let local: DateTime = local.parse().unwrap();
        let time = zone.to_ambiguous_timestamp(local).compatible().unwrap();
        u64::try_from(time.as_millisecond()).unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn the_longest_pause_between_windows_is_known_over_the_end_of_a_week() {
        let pause = |texts: &[&str]| {
            let windows: Vec<Window> = texts.iter().map(|it| it.parse().unwrap()).collect();
            longest_pause_days(&windows)
        };
        assert_eq!(pause(&[]), 0);
        assert_eq!(pause(&["Sat 02:00-04:00"]), 7);
        assert_eq!(pause(&["Mon 02:00-04:00", "Tue,Fri 22:00-01:00"]), 3);
        assert_eq!(pause(&["Mon,Tue,Wed,Thu,Fri,Sat,Sun 22:00-04:00"]), 1);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        let open = |local| is_open(&[NIGHTS], &berlin(), at(&berlin(), local));
        // 2026-11-20 is a Friday.
        assert!(!open("2026-11-20T21:59:59") && open("2026-11-20T22:00:00"));
        assert!(open("2026-11-21T03:59:59") && !open("2026-11-21T04:00:00"));
        assert!(!open("2026-11-21T22:00:00") && !open("2026-11-22T03:00:00"));
    }

    #[test]
    fn a_window_is_open_in_the_time_of_the_device() {
        let noon = Window { days: 0x7f, from_min: 12 * 60, to_min: 13 * 60 };
        let now = at(&berlin(), "2026-07-01T12:30:00");
        assert!(is_open(&[noon], &berlin(), now));
        assert!(!is_open(&[noon], &TimeZone::UTC, now));
        assert!(is_open(&[], &TimeZone::UTC, now), "no window means always");
    }

    #[test]
    fn the_next_opening_is_found_over_a_weekend_and_over_a_change_of_clocks() {
        let next = |local| next_opening(&[NIGHTS], &berlin(), at(&berlin(), local));
        let monday = at(&berlin(), "2026-11-23T22:00:00");
        assert_eq!(next("2026-11-20T23:00:00"), Some(monday));
        // At 02:00 on 2026-03-29 the clocks of Berlin jump to 03:00.
        let swallowed = Window { days: 0x7f, from_min: 150, to_min: 170 };
        let next = next_opening(&[swallowed], &berlin(), at(&berlin(), "2026-03-28T12:00:00"));
        let opens = at(&berlin(), "2026-03-29T03:30:00");
        assert_eq!(next, Some(opens));
        assert!(is_open(&[swallowed], &berlin(), opens));
    }

    #[test]
    fn a_window_in_the_hour_that_comes_twice_opens_once() {
        // At 03:00 on 2026-10-25 the clocks of Berlin go back to 02:00.
        let window = Window { days: 0x7f, from_min: 22 * 60, to_min: 150 };
        let closes = at(&berlin(), "2026-10-25T02:30:00");
        let [before, after, again] = [closes - 1, closes, closes + 45 * 60_000];
        let open = [before, after, again].map(|now_ms| is_open(&[window], &berlin(), now_ms));
        assert_eq!(open, [true, false, false]);
        assert_eq!(last_change(&[window], &berlin(), again), closes);
    }

    proptest! {
        /// Decisions are versions: another answer has another time (D3).
        #[test]
        fn nothing_changes_but_at_a_change(
            days in 1_u8..0x80, from_min in 0..DAY_MIN, to_min in 0..DAY_MIN,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York"]),
            start_s in 1_760_000_000_u64..1_800_000_000, wait_s in 0_u64..200_000,
        ) {
            let (window, zone) = ([Window { days, from_min, to_min }], TimeZone::get(zone).unwrap());
            prop_assume!(window[0].check().is_ok());
            let [one, later] = [start_s, start_s + wait_s].map(|at_s| at_s * 1000);
            let [open, open_later] = [one, later].map(|at| is_open(&window, &zone, at));
            let [changed, changed_later] = [one, later].map(|at| last_change(&window, &zone, at));
            prop_assert!(changed <= one && changed <= changed_later);
            prop_assert!(open == open_later || changed < changed_later);
            if !open && let Some(opens) = next_opening(&window, &zone, one) {
                prop_assert!(!is_open(&window, &zone, opens - 1) && is_open(&window, &zone, opens));
                prop_assert_eq!(last_change(&window, &zone, opens), opens);
            }
        }
    }

    #[test]
    fn the_last_change_is_the_last_opening_or_closing() {
        let last = |local| last_change(&[NIGHTS], &berlin(), at(&berlin(), local));
        assert_eq!(last("2026-11-21T12:00:00"), at(&berlin(), "2026-11-21T04:00:00"));
        assert_eq!(last("2026-11-20T22:00:00"), at(&berlin(), "2026-11-20T22:00:00"));
        assert_eq!(last("2026-11-23T12:00:00"), at(&berlin(), "2026-11-21T04:00:00"));
        assert_eq!(last_change(&[], &berlin(), 5), 0);
    }

    #[test]
    fn a_window_that_never_opens_is_refused() {
        let check = |days, from_min, to_min| Window { days, from_min, to_min }.check();
        assert_eq!(check(0, 0, 60), Err(NeverOpens::Days));
        assert_eq!(check(0x80, 0, 60), Err(NeverOpens::Days));
        assert_eq!(check(1, 60, 60), Err(NeverOpens::Times));
        assert_eq!(check(1, 0, 1440), Err(NeverOpens::Times));
        assert_eq!(NIGHTS.check(), Ok(()));
    }

    #[test]
    fn a_window_is_written_in_words() {
        assert_eq!(NIGHTS.to_string(), "Mon,Tue,Wed,Thu,Fri 22:00-04:00");
        assert_eq!("Mon,Tue,Wed,Thu,Fri 22:00-04:00".parse(), Ok(NIGHTS));
        for bad in ["", "Mon", "Mon 22:00", "Mon 22-04", "Mon 24:00-01:00", "mon 1:00-2:00"] {
            assert_eq!(bad.parse::<Window>(), Err(NoWindow), "{bad}");
        }
    }
}
