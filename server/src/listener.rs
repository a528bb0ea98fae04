//! The accept loop of all TLS listeners.
//!
//! A connection that stays silent must never keep another one waiting. So every handshake runs in
//! its own task with a deadline, nothing global is held while a peer is waited for, one source
//! address may have only so many handshakes pending, and whoever is too many is closed at once
//! instead of queued.
//!
//! Not here: what is spoken on the connection; the caller passes a function for that.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Handshake, Metrics, Name};
use crate::tls::Published;

/// Pause after `accept` failed: out of file descriptors, most likely, and some will be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket and everything its accept loop obeys.
pub struct Listener {
    /// What the listener is for.
    pub name: Name,
    /// The bound socket.
    pub socket: TcpListener,
    /// The TLS configuration of the moment.
    pub tls: Published,
    /// Bounds.
    pub limits: Limits,
    /// Counts handshakes and connections.
    pub metrics: Arc<Metrics>,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections, handshakes included.
    pub connections: usize,
    /// Pending handshakes of one source address.
    pub handshakes_per_source: usize,
    /// Time for a handshake.
    pub handshake: Duration,
    /// Time for a connection.
    pub connection: Duration,
}

/// How a server's tasks are told to end, and how it is known that they did.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled when no more work may begin.
    pub token: CancellationToken,
    /// Every running connection and job.
    pub tasks: TaskTracker,
}

/// Binds an address of the configuration; `key` is its name there.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { key, address, source })
}

impl Listener {
    /// Accepts until shutdown and runs `serve` on every connection whose handshake succeeded.
    pub async fn run<S, F>(self, shutdown: Shutdown, serve: S)
    where
        S: Fn(TlsStream<TcpStream>, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let gate = Arc::new(Gate::new(self.limits));
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = shutdown.token.cancelled() => return,
            };
            match accepted {
                Ok((stream, source)) => self.admit(&gate, stream, source, &shutdown, &serve),
                Err(error) => {
                    tracing::warn!(listener = %self.name, %error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit<S, F>(
        &self,
        gate: &Arc<Gate>,
        stream: TcpStream,
        source: SocketAddr,
        shutdown: &Shutdown,
        serve: &S,
    ) where
        S: Fn(TlsStream<TcpStream>, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Some((place, pending)) = gate.enter(source.ip()) else {
            self.metrics.handshake(self.name, Handshake::TooMany);
            return;
        };
        let acceptor = TlsAcceptor::from(self.tls.borrow().clone());
        let (name, limits, metrics) = (self.name, self.limits, self.metrics.clone());
        let serve = serve.clone();
        shutdown.tasks.spawn(async move {
            let _place = place;
            let handshake = timeout(limits.handshake, accept(acceptor, stream)).await;
            drop(pending);
            metrics.handshake(name, Handshake::of(&handshake));
            if let Ok(Ok(stream)) = handshake {
                let _open = metrics.connection(name);
                // The end of its time ends a connection like its peer would: by closing it.
                let _ = timeout(limits.connection, serve(stream, source)).await;
            }
        });
    }
}

async fn accept(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    acceptor.accept(stream).await
}

/// Counts who is inside and who is still in the doorway.
#[derive(Debug)]
struct Gate {
    limits: Limits,
    inside: AtomicUsize,
    pending: Mutex<HashMap<IpAddr, usize>>,
}

impl Gate {
    fn new(limits: Limits) -> Self {
        Self { limits, inside: AtomicUsize::new(0), pending: Mutex::default() }
    }

    /// Lets a connection in, unless there are too many.
    fn enter(self: &Arc<Self>, source: IpAddr) -> Option<(Place, Pending)> {
        let place = Place(self.clone());
        if self.inside.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            return None;
        }
        let source = network(source);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let count = pending.entry(source).or_default();
        if *count >= self.limits.handshakes_per_source {
            return None;
        }
        *count += 1;
        Some((place, Pending { gate: self.clone(), source }))
    }
}

/// Held as long as a connection is open.
#[derive(Debug)]
struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Held as long as a handshake is pending.
#[derive(Debug)]
struct Pending {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut pending = self.gate.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pending.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.source);
            }
        }
    }
}

/// One subscriber: an IPv4 address or an IPv6 /64.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// An address of the configuration cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (configuration key `{key}`)")]
pub struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, handshakes_per_source: usize) -> Arc<Gate> {
        let limits = Limits {
            connections,
            handshakes_per_source,
            handshake: Duration::from_secs(1),
            connection: Duration::from_secs(1),
        };
        Arc::new(Gate::new(limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_with_many_pending_handshakes_does_not_shut_others_out() {
        let gate = gate(100, 2);
        let held = [gate.enter(ip("2001:db8::1")).unwrap(), gate.enter(ip("2001:db8::2")).unwrap()];
        assert!(gate.enter(ip("2001:db8::3")).is_none(), "same /64");
        assert!(gate.enter(ip("2001:db8:0:1::3")).is_some());
        assert!(gate.enter(ip("192.0.2.1")).is_some());
        drop(held);
        assert!(gate.enter(ip("2001:db8::3")).is_some());
    }

    #[test]
    fn connections_are_bounded_and_refused_ones_are_not_counted() {
        let gate = gate(1, 10);
        let (place, pending) = gate.enter(ip("192.0.2.1")).unwrap();
        drop(pending);
        for _ in 0..3 {
            assert!(gate.enter(ip("192.0.2.2")).is_none());
        }
        drop(place);
        assert!(gate.enter(ip("192.0.2.2")).is_some());
        assert_eq!(gate.inside.load(Ordering::Relaxed), 0);
        assert!(gate.pending.lock().unwrap().is_empty());
    }
}
