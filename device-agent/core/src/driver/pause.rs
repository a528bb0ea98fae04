//! Letting others run.

use core::future::poll_fn;
use core::task::Poll;

/// Lets others run: between two sectors, between two roots.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
