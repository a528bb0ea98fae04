//! A mail server that answers byte by byte and never comes to an end.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long it waits before each byte: always less than anybody waits for one.
const PACE: Duration = Duration::from_millis(100);

/// Far longer than a connection takes on one machine.
const SOON: Duration = Duration::from_secs(20);

/// A mail server that drips, until it is dropped.
pub(crate) struct Drip {
    pub(crate) port: u16,
    came: Receiver<()>,
    /// When they go, it hangs up.
    _ends: Sender<()>,
}

impl Drip {
    pub(crate) fn open() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (say, came) = channel();
        let (ends, ended) = channel();
        thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            socket.set_nonblocking(true).unwrap();
            // Nothing ever comes: it is the clock by which it drips.
            while ended.recv_timeout(PACE) == Err::<(), _>(RecvTimeoutError::Timeout) {
                while let Ok((stream, _)) = socket.accept() {
                    say.send(()).ok();
                    open.push(stream);
                }
                for stream in &mut open {
                    stream.write_all(b"2").ok();
                }
            }
        });
        Self { port, came, _ends: ends }
    }

    /// Waits for somebody to connect.
    pub(crate) fn next(&self) {
        self.came.recv_timeout(SOON).expect("nobody came");
    }

    /// Returns how many others have come since.
    pub(crate) fn others(&self) -> usize {
        self.came.try_iter().count()
    }
}
