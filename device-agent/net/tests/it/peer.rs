//! A CA that signs whatever it is asked to, and servers that show what it signed.

use std::rc::Rc;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use waxwing_agent_net::{Address, Client, DeviceKey, Identity, ServerTrust};

/// Unix time at which the firmware of these tests was built: 2026-11-01.
pub(crate) const BUILT_AT_S: u64 = 1_793_491_200;

/// What a server shows, and with which key.
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// An authority that signs whatever it is asked to.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of_curve(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn of_curve(curve: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(curve).unwrap();
        let params = authority();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A CA between this one and its servers.
    pub(crate) fn between(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A device that knows its server by this CA, and is nobody yet.
    pub(crate) fn client(&self) -> Rc<Client> {
        let trust = ServerTrust::from_der(&self.certificate, BUILT_AT_S).unwrap();
        trust.client(None)
    }

    /// A device that knows its server by this CA, and is one of the devices of the other.
    pub(crate) fn client_of(&self, devices: &Self) -> Rc<Client> {
        let trust = ServerTrust::from_der(&self.certificate, BUILT_AT_S).unwrap();
        trust.client(Some(&Rc::new(devices.identity())))
    }

    /// A key and a certificate of a device.
    pub(crate) fn identity(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity::new(DeviceKey::from_pkcs8_der(&key.serialize_der()).unwrap(), certificate)
            .unwrap()
    }

    /// A certificate of a server, with something changed.
    pub(crate) fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        self.server_of_curve(&rcgen::PKCS_ECDSA_P256_SHA256, change)
    }

    pub(crate) fn server_of_curve(
        &self,
        curve: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Shown {
        let key = KeyPair::generate_for(curve).unwrap();
        let leaf = server(change).signed_by(&key, &self.issuer).unwrap().der().clone();
        Shown { chain: vec![leaf], key: private(&key) }
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// What a server asks a CA for.
pub(crate) fn server(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

pub(crate) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// A server's configuration; `devices` is the CA whose certificates it demands.
pub(crate) fn config(shown: Shown, devices: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = match devices {
        None => builder.with_no_client_auth(),
        Some(devices) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(devices.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(shown.chain, shown.key).unwrap();
    config.max_fragment_size = Some(2048);
    config
}

/// Listens on a port of this machine.
pub(crate) async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Address { host: "localhost".into(), port })
}

/// Serves one connection after another; `serve` ends each.
pub(crate) async fn serve<F: Future<Output = ()> + Send>(
    config: ServerConfig,
    mut serve: impl FnMut(TlsStream<tokio::net::TcpStream>) -> F + Send + 'static,
) -> (Address, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(tcp).await {
                serve(stream).await;
            }
        }
    });
    (address, server)
}
