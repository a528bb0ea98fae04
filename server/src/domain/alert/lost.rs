//! From when on a device that is silent counts as lost.
//!
//! What a device said while the server was away, nobody heard: that time is no silence, however often the
//! server was started since. Not here: when a device was last heard of.

/// Most absences that are remembered. Of more, the two oldest become one: who is lost may then be told later,
/// and nobody is told who is not.
const ABSENCES_MAX: usize = 100;

/// Between two absences so close, in milliseconds, nothing counts as heard: what devices said is written
/// every five minutes.
const BETWEEN_MS_MIN: u64 = 5 * 60 * 1000;

/// The longest silence that somebody may ask for, in milliseconds: what lies further back than that is
/// forgotten.
const SILENCE_MS_MAX: u64 = 90 * 24 * 3600 * 1000;

/// A time in which the server was away, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Absence {
    /// When it was last alive before; 0 if it never was.
    pub from_ms: u64,
    /// When it was started.
    pub to_ms: u64,
}

/// When the server listened: always, but for some absences.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listening {
    /// Oldest first, apart from each other.
    absences: Vec<Absence>,
}

impl Listening {
    /// Begins to listen again at the end of an absence, after those that are known.
    pub fn again(known: &[Absence], last: Absence) -> Self {
        let mut all: Vec<_> = known.iter().copied().chain([last]).collect();
        // A clock that was set back leaves some that are still to come.
        all.retain(|it| it.from_ms < it.to_ms && it.to_ms <= last.to_ms);
        all.sort_by_key(|it| it.from_ms);
        let mut absences = Vec::<Absence>::new();
        for next in all {
            match absences.last_mut() {
                Some(last) if next.from_ms < last.to_ms.saturating_add(BETWEEN_MS_MIN) => {
                    last.to_ms = last.to_ms.max(next.to_ms);
                }
                _ => absences.push(next),
            }
        }
        let mut listening = Self { absences };
        listening.forget(last.to_ms);
        listening
    }

    /// Returns when it was away, as far as that counts, oldest first.
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// Returns up to when a device must have been heard of last, to have been silent for so long while
    /// somebody listened; in Unix milliseconds.
    pub fn lost_before_ms(&self, silence_ms: u64, now_ms: u64) -> u64 {
        let (mut before_ms, mut left_ms) = (now_ms, silence_ms);
        for absence in self.absences.iter().rev() {
            let listened_ms = before_ms.saturating_sub(absence.to_ms);
            if listened_ms >= left_ms {
                break;
            }
            left_ms -= listened_ms;
            before_ms = before_ms.min(absence.from_ms);
        }
        before_ms.saturating_sub(left_ms)
    }

    /// Forgets what no silence reaches back to, and what is too much.
    fn forget(&mut self, now_ms: u64) {
        let before_ms = self.lost_before_ms(SILENCE_MS_MAX, now_ms);
        self.absences.retain(|it| it.to_ms > before_ms);
        while let [first, second, _rest @ ..] = self.absences.as_slice()
            && self.absences.len() > ABSENCES_MAX
        {
            let both = Absence { from_ms: first.from_ms, to_ms: second.to_ms };
            self.absences.splice(..2, [both]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::*;
    use crate::domain::alert::Kind;

    const HOUR_MS: u64 = 3600 * 1000;
    const SILENCE_MS: u64 = 24 * HOUR_MS;

    fn absence(from_h: u64, to_h: u64) -> Absence {
        Absence { from_ms: from_h * HOUR_MS, to_ms: to_h * HOUR_MS }
    }

    #[track_caller]
    fn check(listening: &Listening, now_h: u64, lost_before_h: u64) {
        let before = listening.lost_before_ms(SILENCE_MS, now_h * HOUR_MS);
        assert_eq!(before, lost_before_h * HOUR_MS, "at hour {now_h}");
    }

    #[test]
    fn the_time_in_which_the_server_was_away_is_nobodys_silence() {
        let listening = Listening::again(&[], absence(100, 150));
        check(&listening, 150, 76);
        check(&listening, 151, 77);
        check(&listening, 173, 99);
    }

    #[test]
    fn who_is_silent_for_as_long_as_the_server_listens_again_is_lost() {
        let listening = Listening::again(&[], absence(100, 150));
        check(&listening, 174, 150);
        check(&listening, 200, 176);
    }

    #[test]
    fn a_second_restart_soon_after_a_long_absence_makes_nobody_lost() {
        let first = Listening::again(&[], absence(100, 150));
        let second = Listening::again(first.absences(), absence(152, 153));
        check(&second, 153, 78);
        check(&second, 160, 85);
        check(&second, 174, 99);
        check(&second, 176, 151);
        check(&second, 177, 153);
    }

    #[test]
    fn a_server_that_never_was_before_waits_for_as_long_as_it_takes() {
        let listening = Listening::again(&[], absence(0, 150));
        check(&listening, 160, 0);
        check(&listening, 174, 150);
    }

    #[test]
    fn absences_of_a_clock_that_was_ahead_are_none() {
        let listening = Listening::again(&[absence(900, 950)], absence(100, 150));
        assert_eq!(listening.absences(), [absence(100, 150)]);
        assert_eq!(Listening::again(&[], absence(950, 150)).absences(), []);
    }

    #[test]
    fn what_no_silence_reaches_back_to_is_forgotten() {
        let longest_s = u64::from(*Kind::DeviceLost.windows_s().end());
        assert_eq!(SILENCE_MS_MAX, longest_s * 1000);
        let longest_h = longest_s / 3600;
        let last = absence(longest_h + 30, longest_h + 31);
        let near = Listening::again(&[absence(10, 31)], last);
        assert_eq!(near.absences(), [absence(10, 31), last]);
        let far = Listening::again(&[absence(10, 30)], last);
        assert_eq!(far.absences(), [last]);
    }

    proptest! {
        #[test]
        fn whoever_is_lost_was_silent_for_long_enough_while_the_server_listened(
            steps in vec((1_u64..40 * HOUR_MS, 1_u64..40 * HOUR_MS), 1..300),
            after_ms in 0..30 * HOUR_MS,
        ) {
            let (mut now_ms, mut all) = (1000 * HOUR_MS, Vec::new());
            let mut listening = Listening::default();
            for (listened_ms, away_ms) in steps {
                let from_ms = now_ms + listened_ms;
                now_ms = from_ms + away_ms;
                let absence = Absence { from_ms, to_ms: now_ms };
                all.push(absence);
                listening = Listening::again(listening.absences(), absence);
                prop_assert!(listening.absences().len() <= ABSENCES_MAX);
            }
            now_ms += after_ms;
            let before_ms = listening.lost_before_ms(SILENCE_MS, now_ms);
            let away = |it: &Absence| it.to_ms.saturating_sub(it.from_ms.max(before_ms));
            let away_ms: u64 = all.iter().map(away).sum();
            prop_assert!(now_ms - before_ms - away_ms >= SILENCE_MS);
        }
    }
}
