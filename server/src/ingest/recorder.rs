//! Group commit: messages that come while others are being written go to the disk together.
//!
//! One task writes, so that the disk is asked once for many messages, and each sender is answered
//! when its own is durable. Nothing waits for more to come: a lone message is written at once.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Refused;
use crate::store;
use crate::store::messages::{Added, Message, MessageLog};

/// Most messages of one transaction: few enough that the last of them does not wait long, many
/// enough that what the disk takes for the transaction is spread thin.
const BATCH_MAX: usize = 512;

/// Messages that wait for the task; whoever has more waits itself.
const QUEUE_MAX: usize = 2 * BATCH_MAX;

/// Writes messages to the log. Clones share the task, which ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    message: Message,
    answer: oneshot::Sender<Result<Added, Arc<store::Error>>>,
}

impl Recorder {
    /// Begins to write. Needs a runtime.
    pub(super) fn new(log: MessageLog) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write(log, jobs));
        Self { queue }
    }

    /// Returns when the message is durable, or known from before.
    pub(super) async fn record(&self, message: Message) -> Result<Added, Refused> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Job { message, answer }).await.map_err(|_| Refused::ShuttingDown)?;
        let added = answered.await.map_err(|_| Refused::ShuttingDown)?;
        added.map_err(Refused::Unavailable)
    }
}

async fn write(log: MessageLog, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (messages, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|job| (job.message, job.answer)).unzip();
        let outcome = log.add(&messages).await.map_err(Arc::new);
        for (n, answer) in answers.into_iter().enumerate() {
            let added = outcome.as_ref().map_err(Arc::clone);
            let added = added.map(|added| added.get(n).copied().unwrap_or(Added::Replay));
            // A sender that is gone sends its message again.
            let _ = answer.send(added);
        }
    }
}
