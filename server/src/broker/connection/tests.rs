//! A broker that keeps to nothing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use waxwing_wire::DeviceId;

use super::super::link::halves;
use super::*;

/// Far more than the broker is told that we take at once.
const MESSAGES: u16 = 4 * WINDOW_MAX;

/// Room for all that either side says.
const BUFFER: usize = 1 << 20;

/// Takes messages once the gate is open.
struct Slow {
    gate: Semaphore,
    taking: AtomicUsize,
    most: AtomicUsize,
    taken: AtomicUsize,
}

impl Taker for Slow {
    fn take(self: Arc<Self>, _: DeviceId, _: Kind, _: Bytes) -> Taking {
        self.most.fetch_max(self.taking.fetch_add(1, SeqCst) + 1, SeqCst);
        Box::pin(async move {
            assert!(self.gate.acquire().await.is_err(), "the gate opens by its end");
            self.taking.fetch_sub(1, SeqCst);
            self.taken.fetch_add(1, SeqCst);
            Fate::Done
        })
    }
}

#[tokio::test]
async fn a_broker_that_sends_more_than_it_may_waits_and_fills_no_memory() {
    let slow = Arc::new(Slow {
        gate: Semaphore::new(0),
        taking: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
    });
    let (ours, mut theirs) = duplex(BUFFER);
    theirs.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
    theirs.write_all(&[0x90, 7, 0xff, 0xff, 0, 1, 1, 1, 1]).await.unwrap();
    for id in 1..=MESSAGES {
        let topic = "waxwing/v1/d-1/telemetry";
        let message = packets::publish(topic, b"{}".to_vec(), id, 300).unwrap();
        theirs.write_all(&message).await.unwrap();
    }
    let section = "url = 'mqtts://b.example'\nca_file = 'a'\ncert_file = 'b'\nkey_file = 'c'";
    let config = toml::from_str(section).unwrap();
    let taker = Arc::clone(&slow);
    let connection = tokio::spawn(async move {
        let connection = Connection::begin(halves(ours), &config, taker, None).await.unwrap();
        connection.serve().await
    });
    // On one thread: it has done what it can when it lets us go on so often.
    for _ in 0..10 * MESSAGES {
        yield_now().await;
    }
    assert_eq!(slow.most.load(SeqCst), usize::from(WINDOW_MAX));
    slow.gate.close();
    for _ in 0..10 * MESSAGES {
        yield_now().await;
    }
    assert_eq!(slow.taken.load(SeqCst), usize::from(MESSAGES), "none is lost");
    drop(theirs);
    assert!(connection.await.unwrap().was_useful);
}
