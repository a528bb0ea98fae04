//! How soon something ends: metadata of every role, and certificates.
//!
//! An expired role stops updates, by design; an expired certificate stops everything. Both are mended
//! by people, who need days. Not here: where the times come from.

use std::collections::BTreeMap;

use super::words;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Time left at which a level is reached: enough to convene keyholders, enough to convene them in a
/// hurry, and the last moment to do so.
const NOTICE_MS: u64 = 30 * DAY_MS;
const WARNING_MS: u64 = 14 * DAY_MS;
const CRITICAL_MS: u64 = 7 * DAY_MS;

words!(
    /// How urgent an end is.
    Level {
        /// More than 30 days are left.
        Ok "ok",
        /// At most 30 days are left.
        Notice "notice",
        /// At most 14 days are left.
        Warning "warning",
        /// At most 7 days are left.
        Critical "critical",
        /// It has ended.
        Expired "expired",
    }
);

impl Level {
    /// Judges an end; both in Unix milliseconds. What ends now has ended.
    pub const fn of(ends_ms: u64, now_ms: u64) -> Self {
        match ends_ms.saturating_sub(now_ms) {
            0 => Self::Expired,
            left if left <= CRITICAL_MS => Self::Critical,
            left if left <= WARNING_MS => Self::Warning,
            left if left <= NOTICE_MS => Self::Notice,
            _ => Self::Ok,
        }
    }

    /// Returns its place in the order of urgency: 0 is no reason to do anything, 4 is too late.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Notice => 1,
            Self::Warning => 2,
            Self::Critical => 3,
            Self::Expired => 4,
        }
    }

    /// Returns up to which end something is of this level or a more urgent one, in Unix milliseconds.
    pub const fn until_ms(self, now_ms: u64) -> u64 {
        let left_ms = match self {
            Self::Ok => u64::MAX,
            Self::Notice => NOTICE_MS,
            Self::Warning => WARNING_MS,
            Self::Critical => CRITICAL_MS,
            Self::Expired => 0,
        };
        now_ms.saturating_add(left_ms)
    }
}

/// Something that ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// What: `image/<product>/<role>`, `director/root`, `certificate/<name>`,
    /// `pins/<product>/<number>` or `crl/<name>`.
    pub subject: String,
    /// When, in Unix milliseconds.
    pub ends_ms: u64,
    /// Who makes a new one in time.
    pub renewal: Renewal,
}

/// Who makes something new before it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// The server, every day, with a life of seven days: it is late once two days are missed.
    Daily,
    /// People, who need days.
    People,
}

/// Time left of what is renewed daily once two renewals were missed, and a day before its end.
const DAILY_WARNING_MS: u64 = 5 * DAY_MS;
const DAILY_CRITICAL_MS: u64 = DAY_MS;

impl Expiry {
    /// Judges it.
    pub const fn level(&self, now_ms: u64) -> Level {
        match self.renewal {
            Renewal::People => Level::of(self.ends_ms, now_ms),
            Renewal::Daily => match self.ends_ms.saturating_sub(now_ms) {
                0 => Level::Expired,
                left if left <= DAILY_CRITICAL_MS => Level::Critical,
                left if left <= DAILY_WARNING_MS => Level::Warning,
                _ => Level::Ok,
            },
        }
    }

    /// Returns how many seconds are left; negative once it has ended.
    pub fn seconds_left(&self, now_ms: u64) -> i64 {
        let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        seconds(self.ends_ms).saturating_sub(seconds(now_ms))
    }
}

/// The levels that were told of already. A restart forgets them: better told twice than never.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<String, Level>);

impl Told {
    /// Returns what reached a more urgent level since the last call. What was renewed, or is gone, may
    /// reach it again.
    pub fn news<'e>(&mut self, expiries: &'e [Expiry], now_ms: u64) -> Vec<(&'e Expiry, Level)> {
        let before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        for expiry in expiries {
            let level = expiry.level(now_ms);
            let known = before.get(&expiry.subject).copied().unwrap_or(Level::Ok);
            if level.rank() > known.rank() {
                news.push((expiry, level));
            }
            self.0.insert(expiry.subject.clone(), level);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_MS: u64 = 1_795_167_000_000;

    #[test]
    fn each_level_begins_exactly_at_its_days() {
        let cases = [
            (30 * DAY_MS + 1, Level::Ok),
            (30 * DAY_MS, Level::Notice),
            (14 * DAY_MS + 1, Level::Notice),
            (14 * DAY_MS, Level::Warning),
            (7 * DAY_MS + 1, Level::Warning),
            (7 * DAY_MS, Level::Critical),
            (1, Level::Critical),
            (0, Level::Expired),
        ];
        for (left_ms, level) in cases {
            assert_eq!(Level::of(END_MS, END_MS - left_ms), level, "{left_ms} ms left");
        }
        assert_eq!(Level::of(END_MS, END_MS + 1), Level::Expired);
        assert_eq!(Level::of(0, u64::MAX), Level::Expired);
    }

    #[test]
    fn what_is_renewed_daily_is_late_once_two_days_are_missed() {
        let expiry = Expiry { subject: String::new(), ends_ms: END_MS, renewal: Renewal::Daily };
        for (left_ms, level) in [
            (7 * DAY_MS, Level::Ok),
            (5 * DAY_MS + 1, Level::Ok),
            (5 * DAY_MS, Level::Warning),
            (DAY_MS + 1, Level::Warning),
            (DAY_MS, Level::Critical),
            (0, Level::Expired),
        ] {
            assert_eq!(expiry.level(END_MS - left_ms), level, "{left_ms} ms left");
        }
    }

    #[test]
    fn levels_rise_and_reach_as_far_as_they_begin() {
        for pair in Level::ALL.windows(2) {
            assert!(pair[0].rank() < pair[1].rank());
            assert!(pair[0].until_ms(0) > pair[1].until_ms(0));
        }
        for level in &Level::ALL[1..] {
            assert_eq!(Level::of(level.until_ms(END_MS), END_MS), *level);
        }
    }

    #[test]
    fn a_level_is_told_once_and_again_after_it_was_mended() {
        let mut told = Told::default();
        let mut expiries = vec![Expiry {
            subject: "image/th1/targets".to_owned(),
            ends_ms: END_MS,
            renewal: Renewal::People,
        }];
        let mut levels = |expiries: &[Expiry], left_days: u64| {
            let news = told.news(expiries, END_MS - left_days * DAY_MS);
            news.into_iter().map(|(_, level)| level).collect::<Vec<_>>()
        };
        assert_eq!(levels(&expiries, 31), []);
        assert_eq!(levels(&expiries, 30), [Level::Notice]);
        assert_eq!(levels(&expiries, 29), []);
        assert_eq!(levels(&expiries, 14), [Level::Warning]);
        assert_eq!(levels(&expiries, 3), [Level::Critical]);
        assert_eq!(levels(&expiries, 0), [Level::Expired]);
        assert_eq!(levels(&expiries, 0), []);
        expiries[0].ends_ms += 90 * DAY_MS;
        assert_eq!(levels(&expiries, 0), []);
        expiries[0].ends_ms = END_MS;
        assert_eq!(levels(&expiries, 7), [Level::Critical]);
    }

    #[test]
    fn seconds_left_go_below_zero() {
        let renewal = Renewal::People;
        let expiry = Expiry { subject: String::new(), ends_ms: END_MS, renewal };
        assert_eq!(expiry.seconds_left(END_MS - 1000), 1);
        assert_eq!(expiry.seconds_left(END_MS + 5000), -5);
        assert!(expiry.seconds_left(u64::MAX) < -1_000_000_000);
    }
}
