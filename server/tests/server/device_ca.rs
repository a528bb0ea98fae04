//! Another device CA while the fleet is in the field: the one before is good until every device has
//! renewed its certificate.

use std::fs;
use std::time::Duration;

use axum::http::StatusCode;
use rcgen::KeyPair;
use waxwing_server::clock::Clock as _;
use waxwing_server::random::SystemRandom;
use waxwing_server::setup;

use crate::support::{Folder, Identity, Server, csr};

const ENDINGS: [&str; 2] = ["key", "pem"];

async fn is_admitted(server: &Server, identity: &Identity) -> bool {
    let Ok(mut client) = server.connect(server.device(), Some(identity)).await else {
        return false;
    };
    let answer = client.try_send(axum::http::Method::GET, "/x", &[], "").await;
    answer.is_ok_and(|answer| answer.status == StatusCode::NOT_FOUND)
}

async fn renewed(server: &Server, identity: &Identity) -> Identity {
    let key = KeyPair::generate().unwrap();
    let answer = server.reenroll(identity, &csr(&key)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    Identity { certificate: answer.certificate(), key }
}

/// The path of the list that a certificate names; its port was another before the restart.
fn crl_path(identity: &Identity) -> String {
    let arguments = ["x509", "-inform", "DER", "-noout", "-text"];
    let text = crate::support::openssl(&arguments, &identity.certificate);
    let url = text.lines().find_map(|line| line.trim().strip_prefix("URI:http://"));
    url.unwrap().split_once('/').map(|(_, path)| format!("/{path}")).unwrap()
}

/// Puts a new device CA in the place of the present one, which stays as the one before.
fn rotate(folder: &Folder) {
    let (secrets, new) = (folder.config.secrets_dir(), folder.temporary.path().join("new"));
    setup::make_device_ca(&new, &SystemRandom, folder.clock.now_ms()).unwrap();
    for ending in ENDINGS {
        let file = format!("device-ca.{ending}");
        fs::rename(secrets.join(&file), secrets.join(format!("device-ca-previous.{ending}")))
            .unwrap();
        fs::rename(new.join(&file), secrets.join(&file)).unwrap();
    }
}

#[tokio::test]
async fn devices_of_the_old_device_ca_are_served_until_it_goes_and_renew_with_the_new_one() {
    let folder = Folder::new();
    let server = folder.start().await;
    let (early, late) = (server.enrolled("d-1").await, server.enrolled("d-2").await);
    let revoked = server.enrolled("d-3").await;
    let old_ca = server.running.app.pki.device.certificate().clone();
    server.running.stop().await;
    rotate(&folder);

    let server = folder.start().await;
    assert_ne!(*server.running.app.pki.device.certificate(), old_ca);
    for identity in [&early, &late, &revoked] {
        assert!(is_admitted(&server, identity).await, "the old one is good");
    }
    let new = renewed(&server, &early).await;
    assert!(is_admitted(&server, &new).await, "the new one is, too");
    server.clock.advance(Duration::from_mins(2));
    server.revoke("d-3").await;
    assert!(!is_admitted(&server, &revoked).await);
    for (name, identity) in [("device-ca", &new), ("device-ca-previous", &late)] {
        let named = crl_path(identity);
        let url = format!("http://{}{named}", server.running.addresses.crl);
        let list = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        let ca = folder.config.secrets_dir().join(format!("{name}.pem"));
        let ca = ca.to_str().unwrap();
        // Fails unless this CA signed it.
        crate::support::openssl(&["crl", "-inform", "DER", "-noout", "-CAfile", ca], &list);
    }
    server.running.stop().await;

    for ending in ENDINGS {
        fs::remove_file(folder.config.secrets_dir().join(format!("device-ca-previous.{ending}")))
            .unwrap();
    }
    let server = folder.start().await;
    assert!(is_admitted(&server, &new).await);
    assert!(!is_admitted(&server, &late).await, "the overlap is over");
}

#[tokio::test]
async fn a_device_ca_that_was_not_replaced_is_no_previous_one() {
    let folder = Folder::new();
    folder.start().await.running.stop().await;
    let secrets = folder.config.secrets_dir();
    for root in ["device-ca", "operator-ca", "server-ca"] {
        for ending in ENDINGS {
            let (from, to) = (format!("{root}.{ending}"), format!("device-ca-previous.{ending}"));
            fs::copy(secrets.join(from), secrets.join(to)).unwrap();
        }
        let error = folder.try_start().await.unwrap_err();
        assert!(error.contains("secrets"), "{root}: {error}");
    }
}
