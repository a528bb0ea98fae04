//! The accept loop of all TLS listeners.
//!
//! A connection that stays silent must never keep another one waiting. So every handshake runs in
//! its own task with a deadline, nothing global is held while a peer is waited for, one source
//! address may have only so many handshakes pending, and whoever is too many is closed at once
//! instead of queued. Of handshakes, the oldest is too many: many devices share the address of a
//! carrier, and those who speak are done before those who stay silent. Where no certificate is asked for, one source address may have only so many
//! connections open, too.
//!
//! Not here: what is spoken on the connection; the caller passes a function for that.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Open connections of one source address, handshakes included.
    pub connections_per_source: usize,
    /// Pending handshakes of one source address; one more ends the oldest.
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

/// A connection whose handshake succeeded. In a box, as it is large, and is handed through.
pub type Stream = Box<TlsStream<TcpStream>>;

/// Binds an address of the configuration; `key` is its name there.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { key, address, source })
}

impl Listener {
    /// Accepts until shutdown and runs `serve` on every connection whose handshake succeeded.
    pub async fn run<S, F>(self, shutdown: Shutdown, serve: S)
    where
        S: Fn(Stream, SocketAddr) -> F + Clone + Send + 'static,
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
        S: Fn(Stream, SocketAddr) -> F + Clone + Send + 'static,
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
            // In a box, which is gone when the connection rests.
            let handshake = Box::pin(timeout(limits.handshake, accept(acceptor, stream)));
            let handshake = pending.ended.run_until_cancelled(handshake).await;
            drop(pending);
            let Some(handshake) = handshake else {
                return metrics.handshake(name, Handshake::TooMany);
            };
            metrics.handshake(name, Handshake::of(&handshake));
            if let Ok(Ok(stream)) = handshake {
                let _open = metrics.connection(name);
                // The end of its time ends a connection like its peer would: by closing it.
                let _ = timeout(limits.connection, serve(stream, source)).await;
            }
        });
    }
}

/// Accepts without TLS until shutdown, and runs `serve` on every connection there is room for. Of the
/// bounds, those of handshakes do not count.
pub async fn run_plain<S, F>(socket: TcpListener, limits: Limits, shutdown: Shutdown, serve: S)
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let gate = Arc::new(Gate::new(limits));
    while let Some(accepted) = shutdown.token.run_until_cancelled(socket.accept()).await {
        match accepted {
            Ok((stream, source)) => {
                let Some((place, _)) = gate.enter(source.ip()) else { continue };
                let served = timeout(limits.connection, serve(stream));
                shutdown.tasks.spawn(async move {
                    let _place = place;
                    let _ = served.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    acceptor.accept(stream).await.map(Box::new)
}

/// Counts who is inside and who is still in the doorway.
#[derive(Debug)]
struct Gate {
    limits: Limits,
    inside: Mutex<Inside>,
}

/// Everybody who has a connection open.
#[derive(Debug, Default)]
struct Inside {
    connections: usize,
    /// How many were ever let in; numbers them.
    admitted: u64,
    sources: HashMap<IpAddr, Source>,
}

/// What one source address has open.
#[derive(Debug, Default)]
struct Source {
    connections: usize,
    /// How to end each pending handshake, oldest first.
    pending: BTreeMap<u64, CancellationToken>,
}

impl Gate {
    fn new(limits: Limits) -> Self {
        Self { limits, inside: Mutex::default() }
    }

    /// Lets a connection in, unless there are too many.
    fn enter(self: &Arc<Self>, source: IpAddr) -> Option<(Place, Pending)> {
        let source = network(source);
        let (number, ended) = self.lock().admit(source, &self.limits)?;
        let gate = self.clone();
        Some((Place { gate: self.clone(), source }, Pending { gate, source, number, ended }))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Every change below is complete before anything can panic.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn admit(&mut self, source: IpAddr, limits: &Limits) -> Option<(u64, CancellationToken)> {
        let open = self.sources.get(&source).map_or(0, |of| of.connections);
        if self.connections >= limits.connections || open >= limits.connections_per_source {
            return None;
        }
        self.connections += 1;
        self.admitted += 1;
        let of = self.sources.entry(source).or_default();
        of.connections += 1;
        if of.pending.len() >= limits.handshakes_per_source
            && let Some((_, oldest)) = of.pending.pop_first()
        {
            oldest.cancel();
        }
        let ended = CancellationToken::new();
        of.pending.insert(self.admitted, ended.clone());
        Some((self.admitted, ended))
    }

    fn leave(&mut self, source: IpAddr) {
        self.connections -= 1;
        if let Entry::Occupied(mut of) = self.sources.entry(source) {
            of.get_mut().connections -= 1;
            if of.get().connections == 0 {
                of.remove();
            }
        }
    }
}

/// Held as long as a connection is open.
#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.lock().leave(self.source);
    }
}

/// Held as long as a handshake is pending.
#[derive(Debug)]
struct Pending {
    gate: Arc<Gate>,
    source: IpAddr,
    number: u64,
    /// Cancelled when a newer handshake takes the place of this one.
    ended: CancellationToken,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(of) = self.gate.lock().sources.get_mut(&self.source) {
            of.pending.remove(&self.number);
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
        gate_of(connections, connections, handshakes_per_source)
    }

    fn gate_of(
        connections: usize,
        connections_per_source: usize,
        handshakes_per_source: usize,
    ) -> Arc<Gate> {
        let limits = Limits {
            connections,
            connections_per_source,
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
        let ended = || held.each_ref().map(|(_, pending)| pending.ended.is_cancelled());
        drop(gate.enter(ip("2001:db8:0:1::3")).unwrap());
        drop(gate.enter(ip("192.0.2.1")).unwrap());
        assert_eq!(ended(), [false, false]);
        drop(gate.enter(ip("2001:db8::3")).unwrap());
        assert_eq!(ended(), [true, false], "the oldest of the same /64");
        drop(gate.enter(ip("2001:db8::3")).unwrap());
        assert_eq!(ended(), [true, false], "there is room again");
        drop(held);
        assert!(gate.lock().sources.is_empty());
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
        assert_eq!(gate.lock().connections, 0);
        assert!(gate.lock().sources.is_empty());
    }

    #[test]
    fn one_source_with_many_open_connections_does_not_shut_others_out() {
        let gate = gate_of(100, 2, 100);
        let open = |source| gate.enter(ip(source)).map(|(place, _)| place);
        let held = [open("192.0.2.1").unwrap(), open("192.0.2.1").unwrap()];
        assert!(open("192.0.2.1").is_none());
        assert!(open("192.0.2.2").is_some());
        drop(held);
        assert!(open("192.0.2.1").is_some());
        assert!(gate.lock().sources.is_empty());
    }
}
