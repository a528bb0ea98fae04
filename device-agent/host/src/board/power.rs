//! The reset line of a board.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use waxwing_agent::ports::ResetReason;

/// Pulls the reset line, or waits until somebody does. Clones are the same line.
#[derive(Clone, Debug, Default)]
pub struct Power(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    reset: Mutex<Option<ResetReason>>,
    pulled: Notify,
}

impl Power {
    /// Resets the board. What runs on it stops at its next step.
    pub fn reset(&self, reason: ResetReason) {
        let mut reset = self.0.reset.lock().unwrap_or_else(PoisonError::into_inner);
        // The first reason is the one that counts.
        reset.get_or_insert(reason);
        self.0.pulled.notify_one();
    }

    /// Takes the reset that is due.
    pub fn take(&self) -> Option<ResetReason> {
        self.0.reset.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for a reset and takes it.
    pub async fn pulled(&self) -> ResetReason {
        loop {
            if let Some(reason) = self.take() {
                return reason;
            }
            self.0.pulled.notified().await;
        }
    }
}
