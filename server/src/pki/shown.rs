//! The certificate that the server shows, and the checks it passes before anybody sees it.
//!
//! They are made with the eyes of those who connect: a certificate that no device would accept must
//! not take the place of one that they do. Not here: where it comes from.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// A certificate of the server with its key, which lives in memory only.
pub struct ServerCertificate {
    /// The certificate, then the server CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the certificate.
    pub key: PrivateKeyDer<'static>,
}

impl ServerCertificate {
    /// Checks that whoever trusts `anchor` alone accepts this certificate now, under each name.
    ///
    /// # Errors
    ///
    /// [`Unfit`] says what they would not accept.
    pub fn check(
        &self,
        anchor: &CertificateDer<'static>,
        names: &[String],
        now_ms: u64,
    ) -> Result<(), Unfit> {
        check_authority(anchor, now_ms)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .map_err(Unfit::Key)?;
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone()).map_err(Unfit::Anchor)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|_| Unfit::NotAnAuthority)?;
        let (leaf, above) = self.chain.split_first().ok_or(Unfit::Empty)?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        for name in names {
            let unfit = |cause| Unfit::Name { name: name.clone(), cause };
            let server_name = ServerName::try_from(name.as_str()).map_err(|_| Unfit::Empty)?;
            verifier.verify_server_cert(leaf, above, &server_name, &[], now).map_err(unfit)?;
        }
        Ok(())
    }
}

/// Checks what verifiers take for granted of a certificate that they were told to trust.
fn check_authority(anchor: &CertificateDer<'_>, now_ms: u64) -> Result<(), Unfit> {
    let (_, anchor) = X509Certificate::from_der(anchor).map_err(|_| Unfit::NotAnAuthority)?;
    let usage = anchor.key_usage().map_err(|_| Unfit::NotAnAuthority)?;
    if !anchor.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Unfit::NotAnAuthority);
    }
    let second = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let life = anchor.validity();
    if (life.not_before.timestamp()..=life.not_after.timestamp()).contains(&second) {
        Ok(())
    } else {
        Err(Unfit::AuthorityExpired)
    }
}

/// Why nobody would accept what the server shows.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The CA cannot be trusted by anybody.
    #[error("the CA's certificate cannot be used")]
    Anchor(#[source] rustls::Error),
    /// Its time is over, or has not come.
    #[error("the CA's certificate is not valid now")]
    AuthorityExpired,
    /// There is no certificate, or no name for it.
    #[error("there is nothing to show")]
    Empty,
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate")]
    Key(#[source] rustls::Error),
    /// Whoever asks for this name would hang up.
    #[error("nobody would accept it as {name}")]
    Name {
        /// One of `server_names`.
        name: String,
        /// Why not.
        #[source]
        cause: rustls::Error,
    },
    /// The certificate may not sign others.
    #[error("not the certificate of a CA")]
    NotAnAuthority,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls_pki_types::PrivatePkcs8KeyDer;

    use super::*;

    /// 2026-11-20.
    const NOW_MS: u64 = 1_795_167_000_000;

    struct Shop {
        issuer: Issuer<'static, KeyPair>,
        anchor: CertificateDer<'static>,
    }

    fn shop(change: impl FnOnce(&mut CertificateParams)) -> Shop {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        change(&mut params);
        let anchor = params.self_signed(&key).unwrap().der().clone();
        Shop { issuer: Issuer::new(params, key), anchor }
    }

    fn shown(shop: &Shop, change: impl FnOnce(&mut CertificateParams)) -> ServerCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let leaf = params.signed_by(&key, &shop.issuer).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        ServerCertificate { chain: vec![leaf, shop.anchor.clone()], key }
    }

    fn check(shop: &Shop, shown: &ServerCertificate) -> Result<(), Unfit> {
        shown.check(&shop.anchor, &["a.example".to_owned()], NOW_MS)
    }

    #[test]
    fn what_everybody_would_accept_is_shown() {
        let shop = shop(|_| ());
        check(&shop, &shown(&shop, |_| ())).unwrap();
    }

    #[test]
    fn a_certificate_of_another_key_time_name_purpose_or_ca_is_not_shown() {
        let [shop, other] = [shop(|_| ()), shop(|_| ())];
        let mut mixed_up = shown(&shop, |_| ());
        mixed_up.key = shown(&shop, |_| ()).key;
        assert!(matches!(check(&shop, &mixed_up), Err(Unfit::Key(_))));
        let changes: [fn(&mut CertificateParams); 4] = [
            |params| params.not_after = date_time_ymd(2026, 1, 1),
            |params| params.not_before = date_time_ymd(2027, 1, 1),
            |params| params.subject_alt_names.clear(),
            |params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth],
        ];
        for change in changes {
            let refused = check(&shop, &shown(&shop, change));
            assert!(matches!(refused, Err(Unfit::Name { .. })), "{refused:?}");
        }
        assert!(matches!(check(&shop, &shown(&other, |_| ())), Err(Unfit::Name { .. })));
    }

    #[test]
    fn a_ca_that_is_none_or_expired_signs_nothing_that_is_shown() {
        let leaf = shop(|params| params.is_ca = IsCa::ExplicitNoCa);
        assert!(matches!(check(&leaf, &shown(&leaf, |_| ())), Err(Unfit::NotAnAuthority)));
        let willing = shop(|_| ());
        let mut no_signer = shop(|params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        });
        // The issuer itself would refuse to sign; what its certificate says is what counts.
        no_signer.issuer = willing.issuer;
        let refused = check(&no_signer, &shown(&no_signer, |_| ()));
        assert!(matches!(refused, Err(Unfit::NotAnAuthority)), "{refused:?}");
        let old = shop(|params| params.not_after = date_time_ymd(2026, 1, 1));
        assert!(matches!(check(&old, &shown(&old, |_| ())), Err(Unfit::AuthorityExpired)));
    }
}
