//! The roots of an answer, one at a time: a chip may need a second for one, and has a watchdog.

use waxwing_wire::bundle::Bundle;

use super::pause::yield_now;
use super::{Driver, Platform};

/// Most roots that are followed with one answer: as many as a server sends, of two repositories.
const ROOTS_MAX: u32 = 16;

impl<P: Platform> Driver<P> {
    /// Follows the roots of an answer. What is wrong with one is said when the rest is checked.
    pub(super) async fn follow_roots(&mut self, answer: &[u8]) {
        for _ in 0..ROOTS_MAX {
            if !self.follow_root(answer) {
                break;
            }
            yield_now().await;
        }
    }

    #[inline(never)]
    fn follow_root(&mut self, answer: &[u8]) -> bool {
        Bundle::parse(answer).is_ok_and(|bundle| self.trust.follow_root(&bundle))
    }
}
