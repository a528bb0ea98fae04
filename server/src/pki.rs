//! Certificates: who is a device, and how it gets to be one.
//!
//! Three disjoint roots (D15): the server CA signs what devices trust, the device CA signs what the
//! server trusts, the operator CA is for people. The issuer decides what a peer is, never a name.
//! Everything is ECDSA P-256 with SHA-256, because `mbedTLS` on the devices has no Ed25519
//! certificates.
//!
//! Not here: TLS configurations ([`crate::tls`]) and whether a device is still welcome (the fleet
//! decides that, on every request).

pub mod authority;
pub mod csr;
pub mod peer;
pub mod pkcs7;

use std::time::Duration;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use self::authority::{Authority, Validity};
pub use self::csr::{CsrError, DeviceKey};
pub use self::peer::Peer;
use crate::random::{self, Random};

/// Life of the server's certificate. A new one is made at each start, so it need only outlast the
/// longest run; 825 days is what common clients accept at most.
const SERVER_CERTIFICATE_LIFE: Duration = Duration::from_hours(825 * 24);

/// The three roots.
#[derive(Debug)]
pub struct Pki {
    /// Signs device certificates: what the server takes for a device.
    pub device: Authority,
    /// Signs operator certificates.
    pub operator: Authority,
    /// Signs server certificates: what devices and tools trust.
    pub server: Authority,
}

/// A certificate of the server with its key, which lives in memory only.
pub struct ServerCertificate {
    /// The certificate, then the server CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Pki {
    /// Signs a certificate for the names under which the server is reached.
    pub fn server_certificate(
        &self,
        names: &[String],
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<ServerCertificate, authority::Error> {
        let validity = Validity { now_ms, life: SERVER_CERTIFICATE_LIFE };
        let (leaf, key) = self.server.issue_server(names, random::bytes(random), validity)?;
        Ok(ServerCertificate { chain: vec![leaf, self.server.certificate().clone()], key })
    }
}
