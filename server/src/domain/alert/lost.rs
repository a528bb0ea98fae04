//! From when on a device that is silent counts as lost.
//!
//! What a device said while the server was away, nobody heard: that time is no silence. Not here: when a
//! device was last heard of.

/// Since when the server listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listening {
    /// When it was started, in Unix milliseconds.
    pub since_ms: u64,
    /// When it was last alive before, in Unix milliseconds; 0 if it never was.
    pub alive_ms: u64,
}

impl Listening {
    /// Returns up to when a device must have been heard of last, to have been silent for so long while
    /// somebody listened; in Unix milliseconds.
    pub const fn lost_before_ms(self, silence_ms: u64, now_ms: u64) -> u64 {
        let listened_ms = now_ms.saturating_sub(self.since_ms);
        let before_ms = now_ms.saturating_sub(silence_ms);
        if listened_ms >= silence_ms {
            return before_ms;
        }
        let away_ms = self.since_ms.saturating_sub(self.alive_ms);
        before_ms.saturating_sub(away_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3600 * 1000;
    const SILENCE_MS: u64 = 24 * HOUR_MS;

    /// Away from hour 100 to 150.
    const LISTENING: Listening = Listening { since_ms: 150 * HOUR_MS, alive_ms: 100 * HOUR_MS };

    #[track_caller]
    fn check(now_h: u64, lost_before_h: u64) {
        let before = LISTENING.lost_before_ms(SILENCE_MS, now_h * HOUR_MS);
        assert_eq!(before, lost_before_h * HOUR_MS, "at hour {now_h}");
    }

    #[test]
    fn the_time_in_which_the_server_was_away_is_nobodys_silence() {
        check(150, 76);
        check(151, 77);
        check(173, 99);
    }

    #[test]
    fn who_is_silent_for_as_long_as_the_server_listens_again_is_lost() {
        check(174, 150);
        check(200, 176);
    }

    #[test]
    fn a_server_that_never_was_before_waits_for_as_long_as_it_takes() {
        let listening = Listening { since_ms: 150 * HOUR_MS, alive_ms: 0 };
        assert_eq!(listening.lost_before_ms(SILENCE_MS, 160 * HOUR_MS), 0);
        assert_eq!(listening.lost_before_ms(SILENCE_MS, 174 * HOUR_MS), 150 * HOUR_MS);
    }
}
