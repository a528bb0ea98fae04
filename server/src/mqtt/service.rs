//! MQTT as this server offers it: who is let in, and where messages go.
//!
//! Not here: sockets and TLS, which [`crate::listener`] has done, nor what a message means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::{Endpoint, Guest, Ledger, Refused, Sink, serve};
use crate::app::App;
use crate::http::device::admission;
use crate::ingest;
use crate::pki::Peer;

/// The MQTT endpoint of a server.
pub struct Service {
    app: Arc<App>,
    endpoint: Endpoint<Ingestion, Ledger>,
}

impl Service {
    /// Makes the endpoint.
    pub fn new(app: Arc<App>) -> Self {
        let (hub, keeper) = (app.hub.clone(), app.ledger.clone());
        let endpoint = Endpoint { hub, keeper, sink: Ingestion(app.clone()) };
        Self { app, endpoint }
    }

    /// Serves a device with a certificate of the device CA. One that is not welcome is told so in
    /// the answer to its CONNECT.
    pub async fn serve(&self, peer: Peer, stream: TlsStream<TcpStream>) {
        let app = &self.app;
        let peer = Arc::new(peer);
        // The first use of a renewed certificate makes it the current one (D13), here as well.
        let admitted = admission::admit(app, &peer, "").await.is_ok();
        let life = Duration::from_millis(peer.not_after_ms.saturating_sub(app.clock.now_ms()));
        let until = app.clock.monotonic().saturating_add(life);
        let guest = Guest { device: peer.device.clone(), until };
        let is_admitted = || admitted && admission::recognise(&app.fleet, &peer).is_ok();
        serve(&self.endpoint, &app.clock, guest, stream, is_admitted).await;
    }
}

/// Hands messages to the part of the server that checks and stores them.
struct Ingestion(Arc<App>);

impl Sink for Ingestion {
    async fn accept(&self, device: &DeviceId, kind: Kind, payload: Bytes) -> Result<(), Refused> {
        match self.0.take_in(device, kind, &payload).await {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}

impl From<ingest::Refused> for Refused {
    fn from(refused: ingest::Refused) -> Self {
        match refused {
            ingest::Refused::Kind(_)
            | ingest::Refused::NotInRollout
            | ingest::Refused::Replay
            | ingest::Refused::Signature
            | ingest::Refused::WrongSender => Self::Forbidden,
            ingest::Refused::Malformed(_) => Self::Malformed,
            ingest::Refused::Stale => Self::Stale,
            ingest::Refused::TooMany => Self::TooMany,
            ingest::Refused::Clock(_)
            | ingest::Refused::ShuttingDown
            | ingest::Refused::Unavailable(_) => Self::Unavailable,
        }
    }
}
