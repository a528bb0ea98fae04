//! One TCP connection of the device, or the wait for it, and the connection that carries it on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use crate::world::now;

/// Bytes that one side may send before the other has taken them.
const BUFFER_BYTES: usize = 32 * 1024;

/// A connection through the router.
pub(super) struct Session {
    port: u16,
    to: SocketAddr,
    handle: SocketHandle,
    stream: Option<TcpStream>,
    /// From the device, not yet taken by the other side.
    pending: Vec<u8>,
    asked_at: Option<Instant>,
    has_successor: bool,
    device_is_done: bool,
}

impl Session {
    /// Waits for the device to connect to a port.
    pub(super) fn listen(
        sockets: &mut SocketSet<'static>,
        port: u16,
        to: SocketAddr,
    ) -> anyhow::Result<Self> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(port).map_err(|error| anyhow::anyhow!("port {port}: {error}"))?;
        // The device's side of an emulated second is not slowed by waiting for company.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let handle = sockets.add(socket);
        let (stream, pending, asked_at) = (None, Vec::new(), None);
        let (has_successor, device_is_done) = (false, false);
        Ok(Self { port, to, handle, stream, pending, asked_at, has_successor, device_is_done })
    }

    /// Returns the port that the device connects to.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Returns what answers.
    pub(super) const fn to(&self) -> SocketAddr {
        self.to
    }

    /// Returns the connection to this machine, if there is one.
    pub(super) const fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    /// Returns when the device sent something that has not been answered.
    pub(super) const fn asked_at(&self) -> Option<Instant> {
        self.asked_at
    }

    /// Carries bytes both ways; returns whether there were any.
    pub(super) fn carry(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let socket = sockets.get_mut::<tcp::Socket<'static>>(self.handle);
        if !socket.is_active() {
            return false;
        }
        if self.stream.is_none() && !self.has_connected(socket) {
            return false;
        }
        let sent = self.carry_on(socket);
        let received = self.carry_back(socket);
        sent || received
    }

    /// Returns a session that waits for the next connection, once this one is taken.
    pub(super) fn successor(&mut self, sockets: &mut SocketSet<'static>) -> Option<Self> {
        let socket = sockets.get_mut::<tcp::Socket<'static>>(self.handle);
        if self.has_successor || socket.state() == tcp::State::Listen {
            return None;
        }
        self.has_successor = true;
        Self::listen(sockets, self.port, self.to).ok()
    }

    /// Returns whether nothing can come any more, and removes the socket if so.
    pub(super) fn is_over(&self, sockets: &mut SocketSet<'static>) -> bool {
        let socket = sockets.get_mut::<tcp::Socket<'static>>(self.handle);
        let over = self.has_successor
            && matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait);
        if over {
            sockets.remove(self.handle);
        }
        over
    }

    /// Connects on; the device sees a refusal as a connection that ends at once.
    fn has_connected(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        if !socket.may_send() {
            return false;
        }
        let stream = TcpStream::connect(self.to).and_then(|stream| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => self.stream = Some(stream),
            Err(_) => socket.abort(),
        }
        self.stream.is_some()
    }

    fn carry_on(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut any = false;
        while self.pending.len() < BUFFER_BYTES && socket.can_recv() {
            let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap_or_default();
            self.pending.extend(taken);
        }
        while !self.pending.is_empty() {
            match stream.write(&self.pending) {
                Ok(count) if count > 0 => {
                    self.pending.drain(..count);
                    self.asked_at = Some(now());
                    any = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {
                    socket.abort();
                    return any;
                }
            }
        }
        if !socket.may_recv() && self.pending.is_empty() && !self.device_is_done {
            self.device_is_done = true;
            let _ = stream.shutdown(Shutdown::Write);
        }
        any
    }

    fn carry_back(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut any = false;
        while socket.can_send() {
            let room = socket.send_capacity() - socket.send_queue();
            let mut bytes = vec![0; room];
            match stream.read(&mut bytes) {
                Ok(0) => {
                    self.asked_at = None;
                    socket.close();
                    break;
                }
                Ok(count) => {
                    let _ = socket.send_slice(bytes.get(..count).unwrap_or_default());
                    self.asked_at = None;
                    any = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.asked_at = None;
                    socket.abort();
                    break;
                }
            }
        }
        any
    }
}

/// Waits until one of the connections has something to read, or the time is over.
pub(super) fn wait_readable(streams: &[&TcpStream], at_most: Duration) {
    let mut waits: Vec<_> =
        streams.iter().map(|stream| PollFd::new(*stream, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(at_most).ok();
    // Interrupted or not: who called looks at the sockets anyway.
    let _ = poll(&mut waits, timeout.as_ref());
}
