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
pub mod crl;
pub mod csr;
pub mod peer;
pub mod pkcs7;
pub mod shown;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls_pki_types::CertificateDer;

pub use self::authority::{Authority, Validity};
pub use self::csr::{CsrError, DeviceKey};
pub use self::peer::{OperatorPeer, Peer};
pub use self::shown::ServerCertificate;
use crate::random::{self, Random};

/// Life of the server's certificate. A new one is made at each start, so it need only outlast the
/// longest run; 825 days is what common clients accept at most.
pub const SERVER_CERTIFICATE_LIFE: Duration = Duration::from_hours(825 * 24);

/// The three roots.
#[derive(Debug)]
pub struct Pki {
    /// Signs device certificates: what the server takes for a device.
    pub device: Authority,
    /// Signed device certificates before, which are good until they are renewed. Signs lists of revoked
    /// ones only.
    pub previous_device: Option<Authority>,
    /// Signs operator certificates.
    pub operator: Authority,
    /// Signs server certificates: what devices and tools trust. May be replaced.
    server: RwLock<Arc<Authority>>,
}

/// Who shows a certificate that one of our roots signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Client {
    /// A device.
    Device(Peer),
    /// An operator.
    Operator(OperatorPeer),
}

impl Pki {
    /// Puts the three roots together.
    ///
    /// # Errors
    ///
    /// [`Shared`] when two of them are one and the same: then a certificate would not tell what its
    /// owner is (D15).
    pub fn new(device: Authority, operator: Authority, server: Authority) -> Result<Self, Shared> {
        if device.has_key_of(&operator) {
            return Err(Shared { roots: ["device", "operator"] });
        }
        let server = RwLock::new(Arc::new(server));
        let pki = Self { device, previous_device: None, operator, server };
        pki.check_server(&pki.server())?;
        Ok(pki)
    }

    /// Adds the device CA before.
    ///
    /// # Errors
    ///
    /// [`Shared`] when it has the key of another root: of the device CA too, for then nothing was
    /// replaced.
    pub fn with_previous_device(self, previous: Option<Authority>) -> Result<Self, Shared> {
        let server = self.server();
        let others = [("device", &self.device), ("operator", &self.operator), ("server", &server)];
        let shared = previous.iter().find_map(|previous| {
            others.iter().find(|(_, other)| previous.has_key_of(other)).map(|(name, _)| *name)
        });
        match shared {
            Some(name) => Err(Shared { roots: ["previous device", name] }),
            None => Ok(Self { previous_device: previous, ..self }),
        }
    }

    /// Returns the certificates of all CAs whose certificates make a peer a device.
    pub fn device_anchors(&self) -> Vec<CertificateDer<'static>> {
        let all = [Some(&self.device), self.previous_device.as_ref()];
        all.into_iter().flatten().map(|authority| authority.certificate().clone()).collect()
    }

    /// Reads who shows a certificate that the TLS verifier has accepted for a device or an operator. The
    /// issuer decides (D15): whoever the operator CA signed for is no device, whatever the name says.
    pub fn client(&self, certificate: &CertificateDer<'_>) -> Option<Client> {
        if self.operator.has_signed(certificate) {
            return OperatorPeer::from_certificate(certificate).map(Client::Operator);
        }
        Peer::from_certificate(certificate).map(Client::Device).ok()
    }

    /// Checks that a server CA has nothing in common with the other roots.
    ///
    /// # Errors
    ///
    /// [`Shared`] when it has the key of one of them.
    pub fn check_server(&self, server: &Authority) -> Result<(), Shared> {
        let previous = self.previous_device.iter().map(|root| ("previous device", root));
        let roots = [("device", &self.device), ("operator", &self.operator)];
        for (name, root) in roots.into_iter().chain(previous) {
            if server.has_key_of(root) {
                return Err(Shared { roots: ["server", name] });
            }
        }
        Ok(())
    }

    /// Returns the server CA of the moment.
    pub fn server(&self) -> Arc<Authority> {
        Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up another server CA, which was checked.
    pub fn replace_server(&self, server: Authority) {
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(server);
    }
}

impl Authority {
    /// Signs a certificate for the names under which the server is reached.
    pub fn server_certificate(
        &self,
        names: &[String],
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<ServerCertificate, authority::Error> {
        let validity = Validity { now_ms, life: SERVER_CERTIFICATE_LIFE };
        let (leaf, key) = self.issue_server(names, random::bytes(random), validity)?;
        Ok(ServerCertificate { chain: vec![leaf, self.certificate().clone()], key })
    }
}

/// Two roots are one and the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the {} CA and the {} CA have the same key; each needs its own (D15)", .roots[0], .roots[1])]
pub struct Shared {
    roots: [&'static str; 2],
}
