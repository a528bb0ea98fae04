//! The network with a device of smoltcp at the other end of the cable. Not here: DHCP and the real
//! firmware, which the emulated chip runs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use smoltcp::socket::tcp;

use super::*;

/// More than all buffers on the way together.
const STREAM_BYTES: usize = 300_000;

#[test]
fn only_this_machine_can_be_reached() {
    assert!("server.test:8443=127.0.0.1:1234".parse::<Host>().is_ok());
    for refused in ["server.test:8443=192.0.2.1:80", "server.test=127.0.0.1:1", "server.test:1"] {
        assert!(refused.parse::<Host>().is_err(), "{refused}");
    }
}

#[test]
fn two_hosts_cannot_share_a_port() {
    let hosts = |second: &str| {
        let first: Host = "a.test:1=127.0.0.1:10".parse().unwrap();
        Network::new(&[first, second.parse().unwrap()])
    };
    assert!(hosts("b.test:1=127.0.0.1:10").is_ok());
    assert!(hosts("b.test:1=127.0.0.1:11").is_err());
}

#[test]
fn a_stream_comes_back_whole_and_its_end_is_told_both_ways() {
    let mut device = Device::with_an_echo();
    for round in 0..3_u8 {
        let sent: Vec<u8> = (0..STREAM_BYTES).map(|at| at.to_le_bytes()[0] ^ round).collect();
        assert!(device.converse(&sent) == sent, "connection {round}");
    }
}

#[test]
fn who_does_not_answer_at_a_port_ends_the_connection() {
    // Bound and dropped: nobody listens there.
    let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut device = Device::new(to);
    assert_eq!(device.converse(b"anybody?"), b"");
}

/// The other end of the cable: a device with one connection at a time.
struct Device {
    network: Network,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    cycles: u64,
    next_port: u16,
}

impl Device {
    fn new(to: SocketAddr) -> Self {
        let network = Network::new(&[format!("a.test:7=127.0.0.1:{}", to.port()).parse().unwrap()]);
        let mut cable = Cable::default();
        let address = EthernetAddress([2, 0, 0, 0, 0, 9]);
        let mut interface = Interface::new(Config::new(address.into()), &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(DEVICE.into(), PREFIX_BITS)).unwrap();
        });
        let (network, sockets) = (network.unwrap(), SocketSet::new(Vec::new()));
        Self { network, cable, interface, sockets, cycles: 0, next_port: 50_000 }
    }

    /// With somebody at the other end who reads to the end and sends all of it back.
    fn with_an_echo() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut bytes) = (stream.unwrap(), Vec::new());
                stream.read_to_end(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
        Self::new(to)
    }

    /// Sends everything, and returns what comes until the other side ends.
    fn converse(&mut self, bytes: &[u8]) -> Vec<u8> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.connect(self.interface.context(), (ROUTER, 7), self.next_port).unwrap();
        let handle = self.sockets.add(socket);
        let (mut left, mut received) = (bytes, Vec::new());
        let begun = now();
        loop {
            assert!(begun.elapsed() < Duration::from_mins(1), "{} received", received.len());
            let is_over = {
                let socket = self.sockets.get_mut::<tcp::Socket<'static>>(handle);
                if socket.can_send() && !left.is_empty() {
                    left = &left[socket.send_slice(left).unwrap()..];
                } else if left.is_empty() && socket.may_send() && socket.send_queue() == 0 {
                    socket.close();
                }
                while socket.can_recv() {
                    received.extend(socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap());
                }
                !socket.may_recv() && !matches!(socket.state(), tcp::State::SynSent)
            };
            if is_over {
                self.sockets.remove(handle);
                return received;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        self.interface.poll(instant(self.cycles), &mut self.cable, &mut self.sockets);
        let sent: Vec<_> = self.cable.to_device.drain(..).collect();
        let was_quiet = sent.is_empty();
        let frames = self.network.exchange(self.cycles, sent);
        if was_quiet && frames.is_empty() {
            self.network.wait(Duration::from_millis(1));
        }
        self.cable.from_device.extend(frames);
        self.cycles += 100 * CYCLES_PER_US;
    }
}
