//! Which server a device talks to, and as whom.
//!
//! The server's CA is pinned; nothing else is trusted. A device has no clock it could
//! trust in TLS, so of a certificate's dates it only looks at the end, and only compares it with
//! the time its firmware was built (D5).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::address::Address;
use crate::credentials::Credentials;

/// How long a connection may take until both sides have shown their certificates.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Unix time at which the simulated firmware was built: 2026-11-01.
pub const BUILT_AT_S: u64 = 1_793_491_200;

/// A connection to the server.
pub type Stream = TlsStream<TcpStream>;

/// The pinned CA.
#[derive(Clone, Debug)]
pub struct ServerTrust(Arc<PatientVerifier>);

/// No connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be used.
    #[error("server CA cannot be used")]
    Ca(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The device's certificate or key cannot be used.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl ServerTrust {
    /// Reads the CA certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// [`TlsError::Ca`] when there is none in it.
    pub fn from_file(path: &Path) -> Result<Self, TlsError> {
        Self::from_pem(&std::fs::read(path).map_err(|error| TlsError::Ca(error.into()))?)
    }

    /// Reads the CA certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// [`TlsError::Ca`] when there is none in it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| TlsError::Ca(error.into()))?;
            roots.add(certificate).map_err(|error| TlsError::Ca(error.into()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let strict = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| TlsError::Ca(error.into()))?;
        Ok(Self(Arc::new(PatientVerifier(strict))))
    }

    /// Makes a configuration with or without a certificate of our own.
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`] when key and certificate do not fit.
    pub fn client(&self, credentials: Option<&Credentials>) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.0.clone());
        let mut config = match credentials {
            Some(credentials) => builder.with_client_auth_cert(
                vec![credentials.certificate().clone()],
                credentials.private_key(),
            )?,
            None => builder.with_no_client_auth(),
        };
        // Two listeners; the default keeps 256 sessions for each of thousands of devices.
        config.resumption = rustls::client::Resumption::in_memory_sessions(4);
        Ok(Arc::new(config))
    }
}

/// Connects and shakes hands.
///
/// # Errors
///
/// When that did not work, or not in time.
pub async fn connect(address: &Address, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    let name = address.server_name().map_err(std::io::Error::other)?;
    let connecting = async {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(config)).connect(name, tcp).await
    };
    tokio::time::timeout(CONNECT_MAX, connecting).await?
}

/// Checks as strictly as ever, at a time at which the certificate was certainly valid unless it
/// expired before the firmware was built.
#[derive(Debug)]
struct PatientVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for PatientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let begins = intermediates.iter().chain([end_entity]).filter_map(not_before_s);
        let time = begins.fold(BUILT_AT_S, u64::max);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn not_before_s(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_before.timestamp()).ok()
}

impl fmt::Display for ServerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pinned server CA")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_from_the_future_is_taken() {
        assert!(check("localhost", 2030, 2031).is_ok());
    }

    #[test]
    fn a_certificate_that_expired_before_the_firmware_was_built_is_refused() {
        let error = check("localhost", 2020, 2021).unwrap_err();
        assert!(error.to_string().contains("xpired"), "{error}");
    }

    #[test]
    fn a_certificate_for_another_name_is_refused() {
        let error = check("elsewhere", 2026, 2027).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }

    #[test]
    fn a_certificate_of_another_ca_is_refused() {
        let (trust, _) = authority();
        let (_, other) = authority();
        let certificate = issue(&other, "localhost", 2026, 2027);
        assert!(verify(&trust, &certificate).is_err());
    }

    #[test]
    fn a_certificate_signed_by_a_leaf_is_refused() {
        let (trust, ca) = authority();
        let leaf_key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["device".into()]).unwrap();
        let leaf = params.signed_by(&leaf_key, &ca).unwrap();
        let forged = issue(&Issuer::new(params, leaf_key), "localhost", 2026, 2027);
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::ZERO);
        let result = trust.0.verify_server_cert(&forged, &[leaf.der().clone()], &name, &[], now);
        assert!(result.is_err());
    }

    fn check(name: &str, from: i32, until: i32) -> Result<ServerCertVerified, rustls::Error> {
        let (trust, ca) = authority();
        verify(&trust, &issue(&ca, name, from, until))
    }

    fn verify(
        trust: &ServerTrust,
        certificate: &CertificateDer<'_>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::ZERO);
        trust.0.verify_server_cert(certificate, &[], &name, &[], now)
    }

    fn authority() -> (ServerTrust, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, certificate.pem()).unwrap();
        (ServerTrust::from_file(&path).unwrap(), Issuer::new(params, key))
    }

    fn issue(
        ca: &Issuer<'_, KeyPair>,
        name: &str,
        from: i32,
        until: i32,
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, ca).unwrap().der().clone()
    }
}
