//! MQTT as this server offers it: who is let in, and where messages go.
//!
//! Not here: sockets and TLS, which [`crate::listener`] has done, nor what a message means.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
#[cfg(feature = "development")]
use tokio::net::TcpStream;
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, Digest};

use super::{Endpoint, Guest, Ledger, Refused, Scope, Sink, serve};
use crate::app::App;
#[cfg(feature = "development")]
use crate::domain::device::Status;
use crate::http::device::admission;
use crate::ingest;
use crate::listener::Stream;
use crate::pki::{Client, OperatorPeer, Peer};
use crate::random;
use crate::store::operator_certificates;

/// The MQTT endpoint of a server.
pub struct Service {
    app: Arc<App>,
    endpoint: Endpoint<Ingestion, Ledger>,
}

impl Service {
    /// Makes the endpoint.
    pub fn new(app: Arc<App>) -> Self {
        let endpoint = Endpoint {
            hub: app.hub.clone(),
            audience: app.mqtt.audience.clone(),
            grants: app.mqtt.grants.clone(),
            keeper: app.ledger.clone(),
            refusals: app.mqtt.refusals.clone(),
            sink: Ingestion(app.clone()),
        };
        Self { app, endpoint }
    }

    /// Serves whoever has shown this certificate, which the TLS verifier has accepted.
    pub async fn serve(&self, certificate: CertificateDer<'_>, stream: Stream) {
        let client = self.app.pki.client(&certificate);
        // The connection may last for months, and its TLS has another copy.
        drop(certificate);
        match client {
            Some(Client::Device(peer)) => self.serve_device(peer, stream).await,
            Some(Client::Operator(peer)) => self.serve_operator(&peer, stream).await,
            None => {}
        }
    }

    /// Serves a device. One that is not welcome is told so in the answer to its CONNECT.
    async fn serve_device(&self, peer: Peer, stream: Stream) {
        let app = &self.app;
        let peer = Arc::new(peer);
        // The first use of a renewed certificate makes it the current one (D13), here as well.
        let admitted = Box::pin(admission::admit(app, &peer, "")).await.is_ok();
        let scope = Scope::Device(peer.device.clone());
        let nickname = peer.device.to_string();
        let (limits, until) = (app.config.mqtt.limits(), self.until(peer.not_after_ms));
        let guest = Guest { scope, nickname, limits, until };
        let is_admitted = || ready(admitted && admission::recognise(&app.fleet, &peer).is_ok());
        serve(&self.endpoint, &app.clock, guest, stream, is_admitted).await;
    }

    /// Serves whoever comes as a device, without any proof that it is the one.
    #[cfg(feature = "development")]
    pub(crate) async fn danger_serve_unproven(&self, device: DeviceId, stream: TcpStream) {
        let (app, nickname) = (&self.app, device.to_string());
        let is_known = || app.fleet.device(&device).is_some_and(|it| it.status != Status::Revoked);
        let scope = Scope::Device(device.clone());
        let guest =
            Guest { scope, nickname, limits: app.config.mqtt.limits(), until: Duration::MAX };
        serve(&self.endpoint, &app.clock, guest, stream, || ready(is_known())).await;
    }

    /// Serves an operator who listens, with a certificate that is on record.
    async fn serve_operator(&self, peer: &OperatorPeer, stream: Stream) {
        let app = &self.app;
        let scope = Scope::Operator(peer.operator.clone());
        let nickname = Digest(random::bytes(app.random.as_ref())).to_string();
        let (limits, until) = (app.config.mqtt.limits(), self.until(peer.not_after_ms));
        let guest = Guest { scope, nickname, limits, until };
        let is_admitted = || is_good(app, peer);
        serve(&self.endpoint, &app.clock, guest, stream, is_admitted).await;
    }

    /// Returns when a certificate ends, on the monotonic clock.
    fn until(&self, not_after_ms: u64) -> Duration {
        let clock = &self.app.clock;
        let life = Duration::from_millis(not_after_ms.saturating_sub(clock.now_ms()));
        clock.monotonic().saturating_add(life)
    }
}

async fn is_good(app: &App, peer: &OperatorPeer) -> bool {
    let OperatorPeer { operator, serial, .. } = peer;
    let now_ms = app.clock.now_ms();
    operator_certificates::is_good(&app.store, operator, serial, now_ms).await.unwrap_or(false)
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
