//! Row 41 of the attack matrix: the certificate chains that a device's TLS must not take for its
//! server's, over a real connection. All but one are of a key that the CA which the device trusts
//! has signed: what a hostile owner of a device, or of any certificate of that CA, could show.

use std::rc::Rc;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use waxwing_agent_host::kit::BUILT_AT_S;
use waxwing_agent_host::network::HostNetwork;
use waxwing_agent_net::tls::Connection;
use waxwing_agent_net::{Address, ServerTrust};

/// What a server shows, and with which key.
pub(super) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// An authority that signs whatever it is asked to.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn trust(&self) -> ServerTrust {
        ServerTrust::from_der(&self.certificate, BUILT_AT_S).unwrap()
    }

    /// A certificate of a server, with something changed.
    pub(super) fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let key = KeyPair::generate().unwrap();
        let params = server(change);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Shown { chain: vec![leaf], key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    /// A certificate for this server that the key of a device has signed.
    fn forged_by_a_device(&self) -> Shown {
        let device_key = KeyPair::generate().unwrap();
        let mut device = CertificateParams::default();
        device.is_ca = IsCa::ExplicitNoCa;
        device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let device_leaf = device.signed_by(&device_key, &self.issuer).unwrap().der().clone();
        let key = KeyPair::generate().unwrap();
        let forger = Issuer::new(device, device_key);
        let leaf = server(|_| ()).signed_by(&key, &forger).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Shown { chain: vec![leaf, device_leaf], key }
    }
}

fn server(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

impl Shown {
    /// What a server needs to show it.
    pub(super) fn config(self) -> Arc<ServerConfig> {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(self.chain, self.key)
                .unwrap();
        // As ours does to devices.
        config.max_fragment_size = Some(2048);
        Arc::new(config)
    }
}

/// Tells whether a device with this trust goes on after the handshake.
async fn is_believed(trust: &ServerTrust, shown: Shown) -> bool {
    let acceptor = TlsAcceptor::from(shown.config());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.is_ok()
    };
    let address = Address { host: "localhost".into(), port };
    let (network, client) = (Rc::new(HostNetwork::start()), trust.client(None));
    let connecting = Connection::open(&network, &address, &client);
    let (_, connected) = tokio::join!(server, connecting);
    connected.is_ok()
}

#[tokio::test]
async fn row_41_no_chain_but_that_of_the_server_is_believed() {
    let (own, other) = (Authority::new(), Authority::new());
    let trust = own.trust();
    assert!(is_believed(&trust, own.server(|_| ())).await, "else this test shows nothing");
    let common_name = |params: &mut CertificateParams| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "localhost");
    };
    for (what, shown) in [
        ("signed by a device", own.forged_by_a_device()),
        (
            "a device's own",
            own.server(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
        (
            "the name in the subject only, beside another",
            own.server(|params| {
                *params = CertificateParams::new(vec!["other.example".into()]).unwrap();
                common_name(params);
            }),
        ),
        (
            "the name in the subject only",
            own.server(|params| {
                *params = CertificateParams::default();
                common_name(params);
            }),
        ),
        (
            "expired before the firmware was built",
            own.server(|params| {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
            }),
        ),
        (
            "another server's",
            own.server(|params| {
                *params = CertificateParams::new(vec!["other.example".into()]).unwrap();
            }),
        ),
        ("of another CA", other.server(|_| ())),
        ("signed by a device of another CA", other.forged_by_a_device()),
    ] {
        assert!(!is_believed(&trust, shown).await, "{what}");
    }
}
