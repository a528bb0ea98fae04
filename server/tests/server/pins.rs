//! Pins on their way to a device that believes nothing: sent until it says that it uses them.

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waxwing_tuf::uptane::{Answer as Verdict, SERVER_CA_PATH};
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Bundle, Kind, Writer};

use crate::api::sha256;
use crate::fleet::{Device, Fleet, files};
use crate::support::Folder;

async fn publish(fleet: &mut Fleet) -> (String, Digest) {
    let certificate = STANDARD.encode(fleet.server.running.app.pki.server().certificate());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
    let hash = sha256(pem.as_bytes());
    let target = json!({
        "length": pem.len(), "hashes": {"sha256": hash}, "custom": {"match": {"kind": "server-ca"}},
    });
    fleet.publisher.top.insert(SERVER_CA_PATH.to_owned(), target);
    let mut bundle = Writer::new();
    for (name, bytes) in fleet.publisher.publication() {
        bundle.push(Kind::Image, &name, &bytes).unwrap();
    }
    bundle.push(Kind::Image, SERVER_CA_PATH, pem.as_bytes()).unwrap();
    fleet.admin(Method::POST, "products/th1/metadata", bundle.finish(0)).await;
    (pem, hash)
}

/// What an idle device is sent of the Image repository when it says that it uses these pins.
async fn sent(device: &mut Device, pins: Option<Digest>) -> Vec<String> {
    let mut question = device.question();
    question.pins = pins;
    let answer = device.ask(&question).await;
    assert_eq!(device.check(&question, &answer), Ok(Verdict::Idle));
    files(&answer)["i"].clone()
}

#[tokio::test]
async fn pins_come_along_until_the_device_says_that_it_uses_them() {
    let mut fleet = Fleet::start(&Folder::new()).await;
    fleet.import_root().await;
    let mut device = fleet.device("d-1").await;
    assert_eq!(device.poll().await, Ok(Verdict::Nothing));
    let (pem, hash) = publish(&mut fleet).await;
    let question = device.question();
    let answer = device.ask(&question).await;
    assert_eq!(device.check(&question, &answer), Ok(Verdict::Nothing));
    let bundle = Bundle::parse(&answer.body).unwrap();
    assert_eq!(bundle.find(Kind::Image, SERVER_CA_PATH), Some(pem.as_bytes()));
    let listed = device.server_ca().expect("both repositories list them");
    assert_eq!(listed, hash);
    // Not the list of its channel, in which no device looks for pins.
    let all = [SERVER_CA_PATH];
    assert_eq!(sent(&mut device, None).await, all, "it does not use them yet");
    assert_eq!(sent(&mut device, Some(Digest([9; 32]))).await, all);
    assert_eq!(sent(&mut device, Some(hash)).await, [""; 0], "an idle poll is one file");
    let app = &fleet.server.running.app;
    waxwing_server::jobs::flush_sightings(&app.store, &app.fleet).await.unwrap();
    let view = fleet.admin(Method::GET, "devices/d-1", "").await;
    assert_eq!(view["pins"], json!(hash));
}

#[tokio::test]
async fn tools_find_pins_where_tuf_lays_them_out() {
    let mut fleet = Fleet::start(&Folder::new()).await;
    let mut device = fleet.device("d-1").await;
    let (pem, hash) = publish(&mut fleet).await;
    for path in [format!("trust/{hash}.server-ca.pem"), format!("{hash}.trust/server-ca.pem")] {
        let answer = device.client.get(&format!("/tuf/image/th1/targets/{path}")).await;
        assert_eq!(answer.body, pem.as_bytes(), "{path}");
    }
    let other = Digest([9; 32]);
    for path in [
        format!("/tuf/image/th1/targets/trust/{other}.server-ca.pem"),
        format!("/tuf/image/th2/targets/trust/{hash}.server-ca.pem"),
    ] {
        assert_eq!(device.client.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
