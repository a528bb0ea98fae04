//! The TLS side of every listener: who must show what, and with which certificate we answer.
//!
//! Configurations are built here once and published through [`watch`] channels, so that a reload is
//! a `send`. Each has a fresh ticketer: a session ticket outlives the decision that issued it, and
//! a resumed handshake never runs the verifier. After a revocation the configurations in which a
//! client certificate was verified get a fresh one as well. And a handshake is no admission anyway:
//! requests compare the certificate with the device's record.
//!
//! Not here: sockets ([`crate::listener`]).

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::pki::{Peer, ServerCertificate, peer};

/// Largest TLS record we send to devices: their receive buffer, `mbedTLS` with 2 KiB input buffers.
const DEVICE_RECORD_BYTES_MAX: usize = 2048;

/// After how much of its life the server's certificate is replaced while the server runs.
const CERTIFICATE_SPENT: Duration = Duration::from_hours(275 * 24);

/// Sessions of TLS 1.2 clients without tickets that are remembered per listener: few such clients
/// are left.
const SESSION_IDS_MAX: usize = 256;

/// A configuration that can be replaced while the listener runs.
pub type Published = watch::Receiver<Arc<ServerConfig>>;

/// What the server shows and whom it believes.
pub struct Material {
    /// What the server shows.
    pub server: ServerCertificate,
    /// The CAs whose certificates make a peer a device.
    pub device_cas: Vec<CertificateDer<'static>>,
    /// The CA whose certificates make a peer an operator.
    pub operator_ca: CertificateDer<'static>,
    /// How long after its end a device certificate is still admitted to the device listener (D14).
    pub expired_grace: Duration,
    /// By which certificates and tickets are judged.
    pub clock: Arc<dyn Clock>,
}

impl Material {
    /// A certificate that cannot be read counts as one that has ended.
    fn expires_ms(&self) -> u64 {
        self.server.chain.first().and_then(peer::not_after_ms).unwrap_or(0)
    }
}

/// The configurations of all listeners.
#[derive(Debug)]
pub struct Tls {
    admin: watch::Sender<Arc<ServerConfig>>,
    device: watch::Sender<Arc<ServerConfig>>,
    enrol: watch::Sender<Arc<ServerConfig>>,
    mqtt: watch::Sender<Arc<ServerConfig>>,
    /// When the present configurations were made, in Unix milliseconds.
    published_ms: AtomicU64,
    /// When the certificate that is shown ends, in Unix milliseconds.
    expires_ms: AtomicU64,
}

impl Tls {
    /// Builds all configurations.
    pub fn new(material: &Material) -> Result<Self, Error> {
        let configs = Configs::build(material)?;
        Ok(Self {
            admin: watch::Sender::new(configs.admin),
            device: watch::Sender::new(configs.device),
            enrol: watch::Sender::new(configs.enrol),
            mqtt: watch::Sender::new(configs.mqtt),
            published_ms: AtomicU64::new(material.clock.now_ms()),
            expires_ms: AtomicU64::new(material.expires_ms()),
        })
    }

    /// Returns when the certificate that is shown ends, in Unix milliseconds.
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms.load(Ordering::Relaxed)
    }

    /// Tells whether it is time for a new server certificate.
    pub fn is_due(&self, now_ms: u64) -> bool {
        // One from the future was made before the clock was set back: nobody accepts it yet.
        let age_ms = now_ms.checked_sub(self.published_ms.load(Ordering::Relaxed));
        age_ms.is_none_or(|age_ms| Duration::from_millis(age_ms) > CERTIFICATE_SPENT)
    }

    /// Replaces all configurations, tickets included; connections that are open stay.
    pub fn publish(&self, material: &Material) -> Result<(), Error> {
        let configs = Configs::build(material)?;
        self.admin.send_replace(configs.admin);
        self.device.send_replace(configs.device);
        self.enrol.send_replace(configs.enrol);
        self.mqtt.send_replace(configs.mqtt);
        self.published_ms.store(material.clock.now_ms(), Ordering::Relaxed);
        self.expires_ms.store(material.expires_ms(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes every handshake that comes after it verify the client's certificate anew: nothing that
    /// was agreed upon before can be resumed on the listeners of devices. Open connections stay.
    pub fn end_sessions(&self) -> Result<(), Error> {
        for published in [&self.device, &self.mqtt] {
            let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
            // In place: what a reload publishes meanwhile must not be taken back.
            published.send_modify(|config| forget_sessions(Arc::make_mut(config), ticketer));
        }
        Ok(())
    }

    /// Returns the configuration of the REST API: no client certificate.
    pub fn admin(&self) -> Published {
        self.admin.subscribe()
    }

    /// Returns the configuration of the device listener: a device certificate is required, and an
    /// expired one passes within the grace so that it can be renewed.
    pub fn device(&self) -> Published {
        self.device.subscribe()
    }

    /// Returns the configuration of the enrolment listener: no client certificate.
    pub fn enrol(&self) -> Published {
        self.enrol.subscribe()
    }

    /// Returns the configuration of the MQTT listener: a valid certificate of a device or an operator is
    /// required.
    pub fn mqtt(&self) -> Published {
        self.mqtt.subscribe()
    }
}

struct Configs {
    admin: Arc<ServerConfig>,
    device: Arc<ServerConfig>,
    enrol: Arc<ServerConfig>,
    mqtt: Arc<ServerConfig>,
}

impl Configs {
    fn build(material: &Material) -> Result<Self, Error> {
        let verifier = verifier(&material.device_cas)?;
        let operators = [&material.device_cas[..], slice::from_ref(&material.operator_ca)].concat();
        let renewing =
            Arc::new(RenewableVerifier { strict: verifier.clone(), grace: material.expired_grace });
        Ok(Self {
            admin: Arc::new(http(config(material, None)?)),
            device: Arc::new(small_records(http(config(material, Some(renewing))?))),
            enrol: Arc::new(small_records(http(config(material, None)?))),
            mqtt: Arc::new(small_records(config(material, Some(self::verifier(&operators)?))?)),
        })
    }
}

fn config(
    material: &Material,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, Error> {
    let time = Arc::new(Time(material.clock.clone()));
    let builder = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(material.server.chain.clone(), material.server.key.clone_key())?;
    forget_sessions(&mut config, rustls::crypto::aws_lc_rs::Ticketer::new()?);
    #[cfg(feature = "development")]
    {
        config.key_log = crate::development::key_log();
    }
    Ok(config)
}

/// Tickets (both versions of TLS) and session ids (TLS 1.2 only).
fn forget_sessions(config: &mut ServerConfig, ticketer: Arc<dyn ProducesTickets>) {
    config.ticketer = ticketer;
    config.session_storage = ServerSessionMemoryCache::new(SESSION_IDS_MAX);
}

fn http(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn small_records(mut config: ServerConfig) -> ServerConfig {
    config.max_fragment_size = Some(DEVICE_RECORD_BYTES_MAX);
    config
}

/// Lets rustls read our clock.
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now_ms())))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn verifier(anchors: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.clone())?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
}

/// The strict verifier, but an expired certificate is checked as of its last valid second.
///
/// Everything else about the certificate must be in order. Requests see that it is expired and
/// offer it nothing but renewal (D14).
#[derive(Debug)]
struct RenewableVerifier {
    strict: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl RenewableVerifier {
    /// Returns the end of an expired certificate's life if the grace still runs.
    fn last_second(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let peer = Peer::from_certificate(certificate).ok()?;
        let end = Duration::from_millis(peer.not_after_ms);
        let expired_for = Duration::from_secs(now.as_secs()).checked_sub(end)?;
        (expired_for <= self.grace).then(|| UnixTime::since_unix_epoch(end))
    }
}

impl ClientCertVerifier for RenewableVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verdict = self.strict.verify_client_cert(end_entity, intermediates, now);
        match verdict {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => match self.last_second(end_entity, now) {
                Some(then) => self.strict.verify_client_cert(end_entity, intermediates, then),
                None => verdict,
            },
            _ => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Why no TLS configuration could be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Certificate, key or CA do not work together.
    #[error("the server's certificate, key or device CA is unusable for TLS")]
    Rustls(#[from] rustls::Error),
    /// The device CA is no trust anchor.
    #[error("the device CA is no trust anchor")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
