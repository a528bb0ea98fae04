//! The network of this machine.

use std::rc::Rc;
use std::time::Duration;

use embedded_io_adapters::tokio_1::FromTokio;
use tokio::net::TcpStream;
use tokio::time::Instant;
use waxwing_agent::network::{Clock, Entropy};
use waxwing_agent_net::{Network, NoConnection};

/// Sockets, time and random numbers of this machine.
pub(crate) struct Host(Instant);

impl Host {
    #[expect(clippy::disallowed_methods, reason = "the clock of these tests")]
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self(Instant::now()))
    }
}

impl Clock for Host {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Network for Host {
    type Stream<'a> = FromTokio<TcpStream>;
    type Entropy = Dice;

    async fn connect(&self, host: &str, port: u16) -> Result<FromTokio<TcpStream>, NoConnection> {
        let stream = TcpStream::connect((host, port)).await.map_err(|_| NoConnection)?;
        stream.set_nodelay(true).map_err(|_| NoConnection)?;
        Ok(FromTokio::new(stream))
    }

    fn entropy(&self) -> Dice {
        Dice
    }

    async fn sleep_until(&self, uptime: Duration) {
        let forever = std::future::pending::<()>();
        let _ = tokio::time::timeout_at(self.0 + uptime, forever).await;
    }
}

/// The operating system's generator.
pub(crate) struct Dice;

impl Entropy for Dice {
    #[expect(clippy::disallowed_methods, reason = "the entropy of these tests")]
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}
