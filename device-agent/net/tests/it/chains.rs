//! The certificate chains that a device's TLS must not take for its
//! server's, over a real connection. All but a few are of a key that the CA which the device trusts
//! has signed: what a hostile owner of a device, or of any certificate of that CA, could show.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd,
};
use tokio::io::AsyncReadExt as _;
use waxwing_agent_net::tls::Connection;

use crate::network::Host;
use crate::peer::{Authority, Shown, config, private, serve, server};

impl Authority {
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
        Shown { chain: vec![leaf, device_leaf], key: private(&key) }
    }

    /// A server of this CA that shows the CA, too.
    fn server_beside_it(&self) -> Shown {
        let mut shown = self.server(|_| ());
        shown.chain.push(self.certificate.clone());
        shown
    }
}

/// Tells whether a device that trusts this CA speaks to who shows this.
async fn is_believed(own: &Authority, shown: Shown) -> bool {
    let discard = |mut stream: tokio_rustls::server::TlsStream<_>| async move {
        let _ = stream.read(&mut [0]).await;
    };
    let (address, peer) = serve(config(shown, None), discard).await;
    let connected = Connection::open(&Host::new(), &address, &own.client()).await;
    peer.abort();
    connected.is_ok()
}

fn named_in_the_subject(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

#[tokio::test]
async fn the_chain_of_the_server_is_believed_whenever_it_begins() {
    let own = Authority::new();
    assert!(is_believed(&own, own.server(|_| ())).await, "as it is");
    assert!(is_believed(&own, own.server_beside_it()).await, "with the pinned CA beside it");
    let between = own.between(|_| ());
    assert!(is_believed(&own, between.server_beside_it()).await, "through a CA in between");
    let later = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2031, 1, 1);
    };
    assert!(is_believed(&own, own.server(later)).await, "from the future");
    let between = own.between(|params| {
        params.not_before = date_time_ymd(2029, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
    });
    let mut shown = between.server(later);
    shown.chain.push(between.certificate);
    assert!(is_believed(&own, shown).await, "both from the future");
}

#[tokio::test]
async fn no_chain_that_is_wrong_longer_or_anothers_is_believed() {
    let (own, other) = (Authority::new(), Authority::new());
    let past = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let between = own.between(|_| ());
    let further = between.between(|_| ());
    let mut of_three = further.server_beside_it();
    of_three.chain.push(between.certificate.clone());
    let (expired, elsewhere) = (
        own.between(past),
        own.between(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
    );
    let p384 = Authority::of_curve(&PKCS_ECDSA_P384_SHA384);
    for (what, authority, shown) in [
        ("signed by a device", &own, own.forged_by_a_device()),
        (
            "a device's own",
            &own,
            own.server(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
        (
            "the name in the subject only, beside another",
            &own,
            own.server(|params| *params = named_in_the_subject(&["other.example"])),
        ),
        (
            "the name in the subject only",
            &own,
            own.server(|params| *params = named_in_the_subject(&[])),
        ),
        ("expired before the firmware was built", &own, own.server(past)),
        (
            "another server's",
            &own,
            own.server(|params| {
                *params = CertificateParams::new(vec!["other.example".into()]).unwrap();
            }),
        ),
        ("of another CA", &own, other.server(|_| ())),
        ("signed by a device of another CA", &own, other.forged_by_a_device()),
        ("longer than two certificates", &own, of_three),
        ("through a CA that has expired", &own, expired.server_beside_it()),
        ("through a CA for devices", &own, elsewhere.server_beside_it()),
        ("on P-384", &own, own.server_of_curve(&PKCS_ECDSA_P384_SHA384, |_| ())),
        ("on Ed25519", &own, own.server_of_curve(&PKCS_ED25519, |_| ())),
        ("of a CA on P-384", &p384, p384.server(|_| ())),
    ] {
        assert!(!is_believed(authority, shown).await, "{what}");
    }
}
