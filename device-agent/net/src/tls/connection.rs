//! A connection to the server that can be kept, and whose reads may be given up without losing a
//! byte.
//!
//! The library borrows its buffers and its socket, so they live together in one future: it makes
//! the connection, then carries bytes between the socket and a [`Pipe`], and is driven by whoever
//! reads or writes.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::convert::Infallible;
use core::fmt;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_sync::mutex::Mutex;
use embedded_io_async::{BufRead as _, ErrorType, Read, Write};
use embedded_tls::{TlsConfig, TlsConnection, TlsContext, TlsError};
use rustls_pki_types::ServerName;

use super::cipher::Suite;
use super::pipe::{INCOMING_BYTES_MAX, OUTGOING_BYTES_MAX, Pipe};
use super::records::{RECORD_BYTES_MAX, Records, SharedRecords, Transport};
use super::verifier::{Provider, Verifier};
use super::{Broken, Client};
use crate::address::{Address, InvalidAddress};
use crate::network::{Network, within};
use crate::random::Random;

/// How long a connection may take until both sides have shown their certificates. A chip of
/// 160 MHz needs about two seconds for its share of the arithmetic.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// What the library wants to have around the bytes of a record, [`embedded_tls`] says.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// An open connection. It ends when it is dropped.
pub struct Connection {
    work: Pin<Box<dyn Future<Output = Broken>>>,
    ended: Option<Broken>,
    pipe: Rc<Pipe>,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// [`Broken`] when that did not work, who answers is not the server, or not in time.
    pub async fn open<N: Network + 'static>(
        network: &Rc<N>,
        address: &Address,
        client: &Rc<Client>,
    ) -> Result<Self, Broken> {
        let pipe = Rc::new(Pipe::default());
        let (with, to, whom) = (Rc::clone(network), address.clone(), Rc::clone(client));
        let shared = Rc::clone(&pipe);
        let work = Box::pin(async move {
            let Err(broken) = live(&*with, &to, &whom, &shared).await;
            broken
        });
        let mut connection = Self { work, ended: None, pipe };
        let opening = connection.drive(|pipe| pipe.is_open().then_some(()));
        within(&**network, CONNECT_MAX, pin!(opening)).await.map_err(|_| Broken::TimeUp)??;
        Ok(connection)
    }

    /// Says goodbye. Who just drops a connection leaves the server to wonder.
    ///
    /// # Errors
    ///
    /// [`Broken`] when it could not be said.
    pub async fn close(mut self) -> Result<(), Broken> {
        self.pipe.close();
        match self.drive(|_| None::<Infallible>).await {
            Err(Broken::Tls(TlsError::ConnectionClosed)) => Ok(()),
            Err(broken) => Err(broken),
            Ok(never) => match never {},
        }
    }

    /// Goes on until `done` says so, or the connection breaks.
    async fn drive<T>(&mut self, mut done: impl FnMut(&Pipe) -> Option<T>) -> Result<T, Broken> {
        poll_fn(|context| {
            if let Some(value) = done(&self.pipe) {
                return Poll::Ready(Ok(value));
            }
            self.work(context);
            match (done(&self.pipe), self.ended) {
                (Some(value), _) => Poll::Ready(Ok(value)),
                (None, Some(broken)) => Poll::Ready(Err(broken)),
                (None, None) => Poll::Pending,
            }
        })
        .await
    }

    fn work(&mut self, context: &mut Context<'_>) {
        if self.ended.is_none()
            && let Poll::Ready(broken) = self.work.as_mut().poll(context)
        {
            self.ended = Some(broken);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl ErrorType for Connection {
    type Error = Broken;
}

impl Read for Connection {
    /// Reads; 0 when the server has closed the connection as it should.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let taking = self.drive(|pipe| {
            let count = pipe.take(bytes);
            if count == 0 {
                pipe.want();
            }
            (count > 0).then_some(count)
        });
        match taking.await {
            Err(Broken::Tls(TlsError::ConnectionClosed)) => Ok(0),
            outcome => outcome,
        }
    }
}

impl Write for Connection {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let count = self.pipe.collect(bytes);
        if count == 0 && !bytes.is_empty() {
            self.flush().await?;
            return Ok(self.pipe.collect(bytes));
        }
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.pipe.flush();
        self.drive(|pipe| pipe.is_flushed().then_some(())).await
    }
}

/// Work with a place of its own, on the heap and on the stack.
type Apart<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

type Tls<'r, S> = TlsConnection<'r, Transport<'r, S>, Suite>;

/// Connects, shakes hands, and carries bytes until it is over. Each of these has a place of its own: what
/// one takes of the stack, the others do not.
async fn live<N: Network>(
    network: &N,
    address: &Address,
    client: &Client,
    pipe: &Pipe,
) -> Result<Infallible, Broken> {
    let connecting: Apart<'_, _> = Box::pin(network.connect(&address.host, address.port));
    let stream = connecting.await.map_err(|_| Broken::Network)?;
    let records: SharedRecords<_> = Mutex::new(Records::new(stream));
    let mut receive = vec![0; RECORD_BYTES_MAX];
    let mut send = vec![0; OUTGOING_BYTES_MAX + RECORD_OVERHEAD_BYTES];
    let mut tls = begin(&records, &mut receive, &mut send);
    let handshake: Apart<'_, _> = Box::pin(shake_hands(&mut tls, network, address, client));
    handshake.await?;
    records.lock().await.open();
    pipe.open();
    let carrying: Apart<'_, _> = Box::pin(carry(&mut tls, &records, pipe));
    carrying.await?;
    Err(Broken::Tls(end(tls).await))
}

/// Makes a connection in its place: it is large.
#[inline(never)]
fn begin<'r, S: Read + Write>(
    records: &'r SharedRecords<S>,
    receive: &'r mut [u8],
    send: &'r mut [u8],
) -> Box<Tls<'r, S>> {
    Box::new(Tls::new(Transport(records), receive, send))
}

/// Says goodbye; returns why the connection ended.
#[inline(never)]
fn end<S: Read + Write>(tls: Box<Tls<'_, S>>) -> Apart<'_, TlsError> {
    Box::pin(async {
        let closed = (*tls).close().await;
        closed.map_or_else(|(_, error)| error, |_| TlsError::ConnectionClosed)
    })
}

async fn shake_hands<N: Network, S: Read + Write>(
    tls: &mut Tls<'_, S>,
    network: &N,
    address: &Address,
    client: &Client,
) -> Result<(), Broken> {
    let name = address.server_name().map_err(|InvalidAddress| Broken::Stranger)?;
    let mut config = TlsConfig::new();
    if let ServerName::DnsName(name) = &name {
        config = config.with_server_name(name.as_ref());
    }
    let mut provider = Provider {
        random: Random(network.entropy()),
        verifier: Verifier::new(&client.trust, name.clone()),
        identity: client.identity.as_deref(),
    };
    let opened = tls.open(TlsContext::new(&config, &mut provider)).await;
    let is_proven = provider.verifier.is_proven();
    match opened {
        Ok(()) if is_proven => Ok(()),
        Ok(()) => Err(Broken::Stranger),
        Err(_) if provider.verifier.is_spoilt() => Err(Broken::Stranger),
        Err(error) => Err(Broken::Tls(error)),
    }
}

/// Carries bytes until there are no more to come or to go.
async fn carry<S: Read + Write>(
    tls: &mut Tls<'_, S>,
    records: &SharedRecords<S>,
    pipe: &Pipe,
) -> Result<(), Broken> {
    let mut is_record_left = false;
    while !pipe.is_closing() {
        let arrival = async {
            pipe.wanted().await;
            if is_record_left { Ok(()) } else { records.lock().await.arrival().await }
        };
        match select(pipe.outgoing(), arrival).await {
            Either::First(bytes) => {
                tls.write_all(&bytes).await.map_err(Broken::Tls)?;
                tls.flush().await.map_err(Broken::Tls)?;
                pipe.sent();
            }
            Either::Second(arrived) => {
                arrived.map_err(|_| Broken::Network)?;
                is_record_left = take_in(tls, pipe).await?;
            }
        }
    }
    Ok(())
}

/// Hands on some of what came: what has begun to come is read to its end, and the rest of a record stays
/// where it was decrypted. Returns whether there is any.
async fn take_in<S: Read + Write>(tls: &mut Tls<'_, S>, pipe: &Pipe) -> Result<bool, Broken> {
    let bytes = tls.fill_buf().await.map_err(Broken::Tls)?;
    let count = bytes.len().min(INCOMING_BYTES_MAX);
    let (now, later) = bytes.split_at(count);
    let is_record_left = !later.is_empty();
    pipe.came(now);
    tls.consume(count);
    Ok(is_record_left)
}
