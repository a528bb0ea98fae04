//! What lies below this crate: sockets, time and random numbers, by Wi-Fi, Ethernet or a host.

#![expect(async_fn_in_trait, reason = "whether futures move between threads is the host's choice")]

use core::fmt;
use core::pin::Pin;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use waxwing_agent::network::{Clock, Entropy};

/// A way to the network. Several connections may be open at once.
pub trait Network: Clock {
    /// A TCP connection. It ends when it is dropped.
    type Stream<'a>: Read + Write
    where
        Self: 'a;
    /// A source of numbers nobody can guess; keys are made of them.
    type Entropy: Entropy;

    /// Looks up the name, or takes it for an IP address, and connects. What it takes is limited
    /// here, not there: the future may be dropped.
    ///
    /// # Errors
    ///
    /// [`NoConnection`] when nobody answers.
    async fn connect(&self, host: &str, port: u16) -> Result<Self::Stream<'_>, NoConnection>;

    /// Returns the source of random numbers.
    fn entropy(&self) -> Self::Entropy;

    /// Waits until this uptime.
    async fn sleep_until(&self, uptime: Duration);
}

/// Nobody answers there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoConnection;

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no connection")
    }
}

impl core::error::Error for NoConnection {}

/// Time ran out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeUp;

/// Works for so long at most. The work stays where it is: handed over by value, it would be in memory
/// once more for each hand it goes through.
pub(crate) async fn within<N: Network, T>(
    network: &N,
    time: Duration,
    work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, TimeUp> {
    until(network, network.now().saturating_add(time), work).await
}

/// Works until this uptime at most.
pub(crate) async fn until<N: Network, T>(
    network: &N,
    uptime: Duration,
    work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, TimeUp> {
    match select(work, network.sleep_until(uptime)).await {
        Either::First(done) => Ok(done),
        Either::Second(()) => Err(TimeUp),
    }
}
