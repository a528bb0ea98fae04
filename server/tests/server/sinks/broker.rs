//! A broker on a socket, in plain MQTT 5, that says what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Far longer than a packet takes on one machine.
const SOON: Duration = Duration::from_secs(20);

/// How long it waits before it chatters again: less than anybody waits for it.
const PACE: Duration = Duration::from_millis(100);

/// A broker.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    socket: TcpListener,
}

/// A connection to it.
pub(crate) struct Connection(TcpStream);

impl Broker {
    pub(crate) async fn open() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: socket.local_addr().unwrap(), socket }
    }

    /// Lets the next client in.
    pub(crate) async fn welcome(&self) -> Connection {
        let (stream, _) = timeout(SOON, self.socket.accept()).await.expect("nobody came").unwrap();
        let mut connection = Connection(stream);
        assert_eq!(connection.packet().await.0, 0x10, "CONNECT");
        connection.0.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        connection
    }
}

impl Connection {
    /// Waits for a message, and tells whether it may have been sent before.
    pub(crate) async fn is_marked(&mut self) -> bool {
        let (first, body) = self.packet().await;
        assert_eq!(first, 0x32, "PUBLISH with QoS 1");
        String::from_utf8_lossy(&body).contains("waxwing-redelivered")
    }

    /// Acknowledges the first message of a batch.
    pub(crate) async fn acknowledge(&mut self) {
        self.0.write_all(&[0x40, 2, 0, 1]).await.unwrap();
    }

    /// Says what means nothing, again and again, until the other end hangs up.
    pub(crate) async fn chatter(&mut self) {
        let chatter = async {
            while timeout(PACE, self.0.read_u8()).await.is_err()
                && self.0.write_all(&[0xd0, 0]).await.is_ok()
            {}
        };
        timeout(SOON, chatter).await.expect("it listens for ever");
    }

    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.0.read_u8().await.unwrap();
            let (mut length, mut place) = (0, 0);
            loop {
                let byte = usize::from(self.0.read_u8().await.unwrap());
                length |= (byte & 0x7f) << place;
                place += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            (first, body)
        };
        timeout(SOON, read).await.expect("nothing came")
    }
}
