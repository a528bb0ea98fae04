//! The network as the agent takes it: connections, time and randomness.

use core::time::Duration;

use embassy_net::Stack;
use embassy_time::{Instant, Timer};
use waxwing_agent::network::Clock;
use waxwing_agent_net::{Network, NoConnection};

use crate::clock::Uptime;
use crate::entropy::Noise;
use crate::network::tcp::{Connection, Tcp};

/// The way to the network.
pub struct Sockets {
    tcp: Tcp,
    noise: Noise,
}

impl Sockets {
    /// Opens connections over this stack; `None` when somebody else does already.
    pub fn new(stack: Stack<'static>, noise: Noise) -> Option<Self> {
        Some(Self { tcp: Tcp::new(stack)?, noise })
    }
}

impl Clock for Sockets {
    fn now(&self) -> Duration {
        Uptime.now()
    }
}

impl Network for Sockets {
    type Stream<'a> = Connection<'a>;
    type Entropy = Noise;

    async fn connect(&self, host: &str, port: u16) -> Result<Self::Stream<'_>, NoConnection> {
        self.tcp.connect(host, port).await.map_err(|_| NoConnection)
    }

    fn entropy(&self) -> Noise {
        self.noise.clone()
    }

    async fn sleep_until(&self, uptime: Duration) {
        let micros = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX);
        Timer::at(Instant::from_micros(micros)).await;
    }
}
