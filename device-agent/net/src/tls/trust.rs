//! Whether certificates are those of the server: signed by its pinned CA, for its name, for a
//! server, and by nobody in between but one.
//!
//! A device has no clock it could trust in TLS, so of a certificate's dates it only looks at the
//! end, and only compares it with the time its firmware was built (D5). Not here: whether who shows
//! them has the key.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName,
    SignatureVerificationAlgorithm, TrustAnchor, UnixTime, alg_id,
};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::Client;
use crate::identity::Identity;

/// Most certificates that a server may show: its own, and that of a CA between it and the pinned
/// one.
const CHAIN_CERTIFICATES_MAX: usize = 2;
/// Most pinned CAs: the present one, the next one, and one to spare.
const ROOTS_MAX: usize = 4;

/// The pinned CA certificates, and when the firmware was built.
#[derive(Clone, Debug)]
pub struct ServerTrust {
    roots: Vec<CertificateDer<'static>>,
    built_at: UnixTime,
}

impl ServerTrust {
    /// Reads the CA certificates of a PEM text. `built_at_s` is the Unix time at which the firmware
    /// was built.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] when there is none in it, one of them is none, or there are more than four.
    pub fn from_pem(pem: &[u8], built_at_s: u64) -> Result<Self, Untrusted> {
        let roots = CertificateDer::pem_slice_iter(pem).map(|root| root.map_err(|_| Untrusted));
        Self::new(roots.collect::<Result<_, _>>()?, built_at_s)
    }

    /// Takes one CA certificate, in DER.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] when it is none.
    pub fn from_der(der: &[u8], built_at_s: u64) -> Result<Self, Untrusted> {
        Self::new([CertificateDer::from(der.to_vec())].into(), built_at_s)
    }

    fn new(roots: Vec<CertificateDer<'static>>, built_at_s: u64) -> Result<Self, Untrusted> {
        let built_at = UnixTime::since_unix_epoch(Duration::from_secs(built_at_s));
        if roots.is_empty() || roots.len() > ROOTS_MAX {
            return Err(Untrusted);
        }
        let trust = Self { roots, built_at };
        trust.anchors()?;
        Ok(trust)
    }

    /// Makes a client that believes nobody else, and comes as somebody or as nobody.
    pub fn client(&self, identity: Option<&Rc<Identity>>) -> Rc<Client> {
        Rc::new(Client { trust: self.clone(), identity: identity.map(Rc::clone) })
    }

    fn anchors(&self) -> Result<Vec<TrustAnchor<'_>>, Untrusted> {
        let anchors = self.roots.iter().map(anchor_from_trusted_cert);
        anchors.collect::<Result<_, _>>().map_err(|_| Untrusted)
    }

    /// Checks the certificates that who answers to this name has shown, its own first.
    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), Untrusted> {
        let (own, between) = chain.split_first().ok_or(Untrusted)?;
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(Untrusted);
        }
        let own = EndEntityCert::try_from(own).map_err(|_| Untrusted)?;
        own.verify_is_valid_for_subject_name(name).map_err(|_| Untrusted)?;
        let anchors = self.anchors()?;
        let at = |time| {
            let usage = KeyUsage::server_auth();
            let path = own.verify_for_usage(&[&Es256], &anchors, between, time, usage, None, None);
            path.map(|_| ())
        };
        // Once as of the build, then as of the beginning of each certificate that begins later.
        let mut time = self.built_at;
        for _ in chain {
            match at(time) {
                Err(Error::CertNotValidYet { not_before, .. }) => time = not_before,
                outcome => return outcome.map_err(|_| Untrusted),
            }
        }
        at(time).map_err(|_| Untrusted)
    }
}

/// These are not the server's certificates, or no CA can be known by them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Untrusted;

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificates are not those of the server")
    }
}

impl core::error::Error for Untrusted {}

/// ECDSA with P-256 and SHA-256: the only signatures that our certificates have.
#[derive(Debug)]
pub(super) struct Es256;

impl SignatureVerificationAlgorithm for Es256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}
