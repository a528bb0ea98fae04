//! The byte budget: how many downloads may begin, so that a rollout sends no more than its plan says.
//!
//! A leaky bucket: it fills with time and never beyond a minute's worth or one image. It begins empty,
//! so a server that restarts sends no more for it. Not here: which devices begin.

/// How much may be saved up for later, in seconds of the budget.
const SAVED_S: u64 = 60;

/// What may be sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Budget {
    /// When it was last filled, in Unix milliseconds.
    filled_at: u64,
    /// What is left, in thousandths of a byte.
    left: u64,
}

impl Budget {
    /// Takes the bytes of as many images as it has, of those wanted; returns how many that are. With
    /// no limit, given in bytes per second, that is all of them.
    pub fn take(
        &mut self,
        bytes_per_s: Option<u64>,
        image_bytes: u64,
        wanted: u64,
        now_ms: u64,
    ) -> u64 {
        let taken = self.holds(bytes_per_s, image_bytes, now_ms).min(wanted);
        if bytes_per_s.is_some() {
            self.left -= taken * thousandths(image_bytes);
        }
        taken
    }

    /// Returns of how many images it has the bytes by a time; with no limit, of as many as one likes.
    pub fn holds(&mut self, bytes_per_s: Option<u64>, image_bytes: u64, now_ms: u64) -> u64 {
        let Some(bytes_per_s) = bytes_per_s else { return u64::MAX };
        let image = thousandths(image_bytes);
        self.fill(bytes_per_s, image, now_ms);
        self.left / image
    }

    fn fill(&mut self, bytes_per_s: u64, image: u64, now_ms: u64) {
        let passed_ms = match self.filled_at {
            0 => 0,
            filled_at => now_ms.saturating_sub(filled_at),
        };
        let most = bytes_per_s.saturating_mul(SAVED_S * 1000).max(image);
        self.left = self.left.saturating_add(passed_ms.saturating_mul(bytes_per_s)).min(most);
        self.filled_at = self.filled_at.max(now_ms);
    }
}

const fn thousandths(image_bytes: u64) -> u64 {
    let image_bytes = if image_bytes == 0 { 1 } else { image_bytes };
    image_bytes.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_limit_everybody_may_begin() {
        assert_eq!(Budget::default().take(None, 1_000_000, 7, 5), 7);
    }

    #[test]
    fn a_slow_budget_lets_an_image_begin_when_its_bytes_have_come_together() {
        let mut budget = Budget::default();
        let mut take = |now_ms| budget.take(Some(1_000), 1_000_000, 5, now_ms);
        assert_eq!(take(1), 0, "it begins empty");
        assert_eq!(take(999_000), 0);
        assert_eq!(take(1_000_001), 1);
        assert_eq!(take(1_000_002), 0);
    }

    proptest! {
        #[test]
        fn no_more_is_sent_than_the_limit_and_what_was_saved_up(
            steps in prop::collection::vec((0_u64..10_000, 0_u64..50), 1..200),
            bytes_per_s in 1_u64..1_000_000, image_bytes in 1_u64..2_000_000,
        ) {
            let (mut budget, mut now_ms, mut sent) = (Budget::default(), 1, 0);
            for (wait_ms, wanted) in steps {
                now_ms += wait_ms;
                sent += budget.take(Some(bytes_per_s), image_bytes, wanted, now_ms) * image_bytes;
            }
            prop_assert!(sent * 1000 <= bytes_per_s * (now_ms - 1));
        }
    }
}
