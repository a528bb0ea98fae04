//! That the server has shown its certificate and proven that it has the key, both exactly once.
//!
//! `embedded-tls` asks the verifier about what it was shown, and never asks for what it was not:
//! a server may leave out certificate and proof, and the handshake succeeds. So the one thing that
//! counts is [`Verifier::is_proven`], at the end.

use alloc::vec::Vec;

use embedded_tls::{
    Certificate, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider,
    CryptoRngCore, SignatureScheme, TlsError, TlsVerifier,
};
use p256::ecdsa::signature::SignerMut;
use p256::ecdsa::{DerSignature, SigningKey};
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use waxwing_agent::network::Entropy;
use webpki::EndEntityCert;

use super::cipher::Suite;
use super::trust::{Es256, ServerTrust};
use crate::identity::Identity;
use crate::random::Random;

/// RFC 8446, 4.4.3: what a server signs begins with 64 spaces and this.
const PROOF_BEGINS: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const PROOF_SPACES: [u8; 64] = [b' '; 64];

/// How far the server has got.
enum Progress {
    /// It has shown nothing.
    Nothing,
    /// It has shown certificates that are the server's: its own one, and what was said until then.
    Shown { certificate: Vec<u8>, transcript: Sha256 },
    /// It has proven that it has the key.
    Proven,
    /// It has done something that the server does not do.
    Spoilt,
}

/// Watches a server prove who it is.
pub(super) struct Verifier<'c> {
    trust: &'c ServerTrust,
    name: ServerName<'c>,
    progress: Progress,
}

impl<'c> Verifier<'c> {
    pub(super) const fn new(trust: &'c ServerTrust, name: ServerName<'c>) -> Self {
        Self { trust, name, progress: Progress::Nothing }
    }

    /// Tells whether the server has proven who it is.
    pub(super) const fn is_proven(&self) -> bool {
        matches!(self.progress, Progress::Proven)
    }

    /// Tells whether what the server has shown or proven was wrong.
    pub(super) const fn is_spoilt(&self) -> bool {
        matches!(self.progress, Progress::Spoilt)
    }

    /// Returns the server's own certificate, if it is one. Not a part of the handshake, whose stack it
    /// would fill: this goes deepest of all.
    #[inline(never)]
    fn shown(&self, certificates: &CertificateRef<'_>) -> Option<Vec<u8>> {
        let chain = certificates.entries.iter().map(|entry| match entry {
            CertificateEntryRef::X509(der) => Some(CertificateDer::from(*der)),
            CertificateEntryRef::RawPublicKey(_) => None,
        });
        let chain: Vec<CertificateDer<'_>> = chain.collect::<Option<_>>()?;
        self.trust.check(&chain, &self.name).ok()?;
        chain.first().map(|own| own.to_vec())
    }
}

impl TlsVerifier<Suite> for Verifier<'_> {
    /// The name is known from the beginning.
    fn set_hostname_verification(&mut self, _host: &str) -> Result<(), TlsError> {
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &Sha256,
        certificates: CertificateRef<'_>,
    ) -> Result<(), TlsError> {
        let before = core::mem::replace(&mut self.progress, Progress::Spoilt);
        let Progress::Nothing = before else { return Err(TlsError::InvalidCertificate) };
        let certificate = self.shown(&certificates).ok_or(TlsError::InvalidCertificate)?;
        self.progress = Progress::Shown { certificate, transcript: transcript.clone() };
        Ok(())
    }

    fn verify_signature(&mut self, proof: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let before = core::mem::replace(&mut self.progress, Progress::Spoilt);
        let Progress::Shown { certificate, transcript } = before else {
            return Err(TlsError::InvalidSignature);
        };
        if proof.signature_scheme != SignatureScheme::EcdsaSecp256r1Sha256 {
            return Err(TlsError::InvalidSignatureScheme);
        }
        check_proof(certificate, transcript, proof.signature)?;
        self.progress = Progress::Proven;
        Ok(())
    }
}

/// Checks that who has the key of this certificate has signed what was said. On its own, as
/// [`Verifier::shown`].
#[inline(never)]
fn check_proof(certificate: Vec<u8>, transcript: Sha256, signature: &[u8]) -> Result<(), TlsError> {
    let certificate = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&certificate);
    let certificate = certificate.map_err(|_| TlsError::InvalidCertificate)?;
    let said = [&PROOF_SPACES, PROOF_BEGINS, &transcript.finalize()].concat();
    let verdict = certificate.verify_signature(&Es256, &said, signature);
    verdict.map_err(|_| TlsError::InvalidSignature)
}

/// What the library asks us for during a handshake.
pub(super) struct Provider<'c, E> {
    pub(super) random: Random<E>,
    pub(super) verifier: Verifier<'c>,
    pub(super) identity: Option<&'c Identity>,
}

impl<'c, E> Provider<'c, E> {
    /// Who we are is for the server only.
    fn identity(&self) -> Option<&'c Identity> {
        self.identity.filter(|_| self.verifier.is_proven())
    }
}

impl<E: Entropy> CryptoProvider for Provider<'_, E> {
    type CipherSuite = Suite;
    type Signature = DerSignature;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Suite>, TlsError> {
        Ok(&mut self.verifier)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<DerSignature>, SignatureScheme), TlsError> {
        let identity = self.identity().ok_or(TlsError::InvalidPrivateKey)?;
        let key: SigningKey = identity.key().signing().clone();
        Ok((key, SignatureScheme::EcdsaSecp256r1Sha256))
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        self.identity().map(|identity| Certificate::X509(identity.certificate()))
    }
}
