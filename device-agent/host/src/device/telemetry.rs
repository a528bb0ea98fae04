//! What a simulated sensor behind a gateway says of itself, again and again until the server has it.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use waxwing_agent::network::{Clock as _, Entropy as _};
use waxwing_wire::MessageId;
use waxwing_wire::frame::Outcome;
use waxwing_wire::topic::Kind;

use crate::random::SystemEntropy;
use crate::time::Uptime;
use crate::uplink::Relay;

/// What a sensor knows of the time, and says.
#[derive(Debug)]
pub(super) struct Chatter {
    clock: Uptime,
    /// Unix time when the device was switched on, once the Director has said what time it is.
    began_unix_s: Cell<Option<u64>>,
}

impl Chatter {
    pub(super) const fn new(clock: Uptime) -> Self {
        Self { clock, began_unix_s: Cell::new(None) }
    }

    /// Takes note of the time, as the agent knows it.
    pub(super) fn know(&self, unix_s: Option<u64>) {
        let began = unix_s.map(|unix_s| unix_s.saturating_sub(self.clock.now().as_secs()));
        self.began_unix_s.set(began);
    }

    /// Says how it is, for ever. Devices that say nothing have no memory for it.
    pub(super) fn chat<'a>(
        &'a self,
        relay: Option<Relay>,
        every: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = Infallible> + 'a>> {
        match relay.zip(every) {
            Some((relay, every)) => Box::pin(self.chat_over(relay, every)),
            None => Box::pin(std::future::pending()),
        }
    }

    async fn chat_over(&self, relay: Relay, every: Duration) -> Infallible {
        let mut boot = [0; 4];
        SystemEntropy.fill(&mut boot);
        let boot = u32::from_be_bytes(boot);
        for number in 0_u64.. {
            self.clock.reaches(self.clock.now() + every).await;
            let Ok(id) = MessageId::parse(&format!("t-{boot:08x}-{number}")) else { continue };
            self.say(&relay, &id, every).await;
        }
        std::future::pending().await
    }

    /// Says one thing until the server has it, or never will: sealed anew each time, under one id (D24).
    async fn say(&self, relay: &Relay, id: &MessageId, pause: Duration) {
        let measured = self.clock.now();
        loop {
            let now = self.clock.now();
            if let Some(began) = self.began_unix_s.get() {
                let (unix_s, measured_at) = (began + now.as_secs(), began + measured.as_secs());
                let uptime_s = measured.as_secs();
                let payload = format!("{{\"measured_at\":{measured_at},\"uptime_s\":{uptime_s}}}");
                let told = relay.say(Kind::Telemetry, unix_s, id, &payload).await;
                if matches!(told, Ok(Outcome::Stored | Outcome::Refused)) {
                    return;
                }
            }
            self.clock.reaches(now + pause).await;
        }
    }
}
