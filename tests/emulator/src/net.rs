//! The other end of the emulated network cable: a router that gives the device an address, resolves
//! the names it was told, and carries TCP connections on to ports of this machine.
//!
//! Frames, ARP, IP and TCP are smoltcp's, in the time of the chip. Nothing else is reachable: no
//! other name, port or host, and no way in.

mod dhcp;
mod dns;
mod session;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant as WallTime};

use anyhow::{Context as _, bail};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint, Ipv4Address};

use crate::board::time::CYCLES_PER_US;
use crate::world::now;
use session::Session;

/// The router, which also answers for every name.
const ROUTER: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
/// The only other host.
const DEVICE: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const PREFIX_BITS: u8 = 24;
const ROUTER_HARDWARE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

/// Largest frame, in bytes, without its checksum.
const FRAME_BYTES_MAX: usize = 1514;

/// How long an answer may be under way, in time of the world: while one is, chip time does not run
/// ahead. Longer than a server on a busy machine thinks.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after the last byte of a connection more is expected at once.
const GRACE: Duration = Duration::from_millis(20);

/// A name and port that the device may connect to, and what answers there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    name: String,
    port: u16,
    to: SocketAddr,
}

impl FromStr for Host {
    type Err = anyhow::Error;

    /// Reads `NAME:PORT=ADDRESS:PORT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once('=').context("write NAME:PORT=ADDRESS:PORT")?;
        let (name, port) = from.split_once(':').context("the name needs a port")?;
        let to: SocketAddr = to.parse().context("what answers is an address with a port")?;
        if !to.ip().is_loopback() {
            bail!("the device reaches this machine only, not {}", to.ip());
        }
        Ok(Self { name: name.to_owned(), port: port.parse().context("port")?, to })
    }
}

/// The router and the connections through it.
pub struct Network {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    dns: SocketHandle,
    names: Vec<String>,
    sessions: Vec<Session>,
    last_byte: WallTime,
}

impl Network {
    /// Makes a network in which these hosts can be reached.
    ///
    /// # Errors
    ///
    /// When two hosts want one port.
    pub fn new(hosts: &[Host]) -> anyhow::Result<Self> {
        let mut cable = Cable::default();
        let config = Config::new(ROUTER_HARDWARE.into());
        let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(ROUTER.into(), PREFIX_BITS));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = listen_udp(&mut sockets, dhcp::SERVER_PORT)?;
        let dns = listen_udp(&mut sockets, dns::PORT)?;
        let mut sessions: Vec<Session> = Vec::new();
        for host in hosts {
            match sessions.iter().find(|session| session.port() == host.port) {
                Some(session) if session.to() == host.to => {}
                Some(_) => bail!("two hosts want port {}", host.port),
                None => sessions.push(Session::listen(&mut sockets, host.port, host.to)?),
            }
        }
        let names = hosts.iter().map(|host| host.name.clone()).collect();
        let last_byte = now();
        Ok(Self { cable, interface, sockets, dhcp, dns, names, sessions, last_byte })
    }

    /// Takes frames from the device and returns those for it.
    pub(crate) fn exchange(&mut self, cycles: u64, sent: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        self.cable.from_device.extend(sent);
        self.poll(cycles);
        dhcp::serve(self.sockets.get_mut(self.dhcp));
        dns::serve(self.sockets.get_mut(self.dns), &self.names);
        let mut opened = Vec::new();
        for session in &mut self.sessions {
            if session.carry(&mut self.sockets) {
                self.last_byte = now();
            }
            opened.extend(session.successor(&mut self.sockets));
        }
        self.sessions.extend(opened);
        let sockets = &mut self.sockets;
        self.sessions.retain(|session| !session.is_over(sockets));
        self.poll(cycles);
        self.cable.to_device.drain(..).collect()
    }

    /// Returns when a timer of a connection ends, in cycles.
    pub(crate) fn next_event(&mut self, cycles: u64) -> u64 {
        let delay = self.interface.poll_delay(instant(cycles), &self.sockets);
        delay.map_or(u64::MAX, |delay| cycles + delay.total_micros() * CYCLES_PER_US)
    }

    /// Waits for something from this machine's side, if something is to be expected; returns how
    /// long that took, or nothing if there is no reason to wait.
    pub(crate) fn wait(&self, at_most: Duration) -> Option<Duration> {
        let patience = self.sessions.iter().filter_map(Session::asked_at).max();
        let patience = patience.map_or(Duration::ZERO, |at| PATIENCE.saturating_sub(at.elapsed()));
        let streams: Vec<_> = self.sessions.iter().filter_map(Session::stream).collect();
        let grace = GRACE.saturating_sub(self.last_byte.elapsed());
        let longest = if streams.is_empty() { Duration::ZERO } else { patience.max(grace) };
        if longest.is_zero() {
            return None;
        }
        let begun = now();
        session::wait_readable(&streams, longest.min(at_most));
        // Never nothing: the chip's time has to go on.
        Some(begun.elapsed().max(Duration::from_micros(1)))
    }

    fn poll(&mut self, cycles: u64) {
        self.interface.poll(instant(cycles), &mut self.cable, &mut self.sockets);
    }
}

fn instant(cycles: u64) -> Instant {
    Instant::from_micros(i64::try_from(cycles / CYCLES_PER_US).unwrap_or(i64::MAX))
}

fn listen_udp(sockets: &mut SocketSet<'static>, port: u16) -> anyhow::Result<SocketHandle> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8192]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).map_err(|error| anyhow::anyhow!("port {port}: {error}"))?;
    Ok(sockets.add(socket))
}

fn reply(socket: &mut udp::Socket<'_>, bytes: &[u8], to: IpEndpoint) {
    // A full buffer loses an answer, as a network may.
    let _ = socket.send_slice(bytes, to);
}

/// Frames under way.
#[derive(Default)]
struct Cable {
    from_device: VecDeque<Vec<u8>>,
    to_device: VecDeque<Vec<u8>>,
}

struct Arrived(Vec<u8>);

struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::Device for Cable {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.from_device.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.to_device)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.to_device))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl phy::TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests;
