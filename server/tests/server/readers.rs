//! One device shows what another one says, as an operator has granted.

use axum::http::Method;
use serde_json::{Value, json};
use waxwing_server::mqtt::refusals::Part;
use waxwing_wire::topic::Kind;

use crate::mqtt::{Line, sealed, sealed_as};
use crate::operators::{ask, heard, start, subscribe};
use crate::support::id;

const TOPIC: &str = "waxwing/v1/d-1/telemetry";
const GRANT: &str = "devices/d-1/readers/d-2";

#[tokio::test]
async fn a_device_reads_another_one_by_a_grant_and_only_as_long_as_it_holds() {
    let server = start().await;
    let (sensor, display) = (server.enrolled("d-1").await, server.enrolled("d-2").await);
    let mut line = Line::open(&server, &display, "d-2").await;
    assert_eq!(subscribe(&mut line, TOPIC).await, 0x87);
    let refused = server.running.app.mqtt.refusals.of(Part::Subscribe, "not_authorized");
    assert_eq!(refused, 1, "and counted");
    let granted = ask(&server, Method::PUT, GRANT, &json!({ "kinds": ["telemetry"] })).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    assert_eq!(subscribe(&mut line, TOPIC).await, 0);
    assert_eq!(subscribe(&mut line, "waxwing/v1/d-1/state").await, 0x87);
    let mut sender = Line::open(&server, &sensor, "d-1").await;
    let message = sealed(&server, &sensor.key, "d-1", Kind::Telemetry);
    assert_eq!(sender.publish(TOPIC, &message).await, 0);
    assert_eq!(heard(&mut line).await, (TOPIC.to_owned(), message));
    assert_eq!(ask(&server, Method::DELETE, GRANT, &Value::Null).await.status, 204);
    assert_eq!(subscribe(&mut line, TOPIC).await, 0x87, "it is told when it asks");
    assert_eq!(sender.publish(TOPIC, "online").await, 0x99);
    let later = sealed_as(&server, &sensor.key, "d-1", Kind::Telemetry, "m-2");
    assert_eq!(sender.publish(TOPIC, &later).await, 0);
    line.send(&[0xc0, 0]).await;
    assert_eq!(line.packet().await, Some((0xd0, Vec::new())), "it hears nothing any more");
}

#[tokio::test]
async fn grants_survive_a_restart_and_end_with_either_device() {
    let folder = crate::support::Folder::new();
    let server = crate::operators::start_in(&folder).await;
    for device in ["d-1", "d-2", "d-3"] {
        server.enrolled(device).await;
    }
    let body = json!({ "kinds": ["telemetry", "state"] });
    for path in [GRANT, "devices/d-1/readers/d-3"] {
        assert_eq!(ask(&server, Method::PUT, path, &body).await.status, 200);
    }
    server.running.stop().await;
    let server = folder.start().await;
    let grants = &server.running.app.mqtt.grants;
    assert_eq!((grants.of(&id("d-2")).len(), grants.of(&id("d-3")).len()), (2, 2));
    server.revoke("d-2").await;
    assert_eq!((grants.of(&id("d-2")).len(), grants.of(&id("d-3")).len()), (0, 2));
    server.revoke("d-1").await;
    assert!(grants.of(&id("d-3")).is_empty());
    let listed = ask(&server, Method::GET, "devices/d-1/readers", &Value::Null).await;
    assert_eq!(&listed.body[..], b"[]");
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused_with_its_reason() {
    let server = start().await;
    for number in 1..=19 {
        server.register(&format!("d-{number}")).await;
    }
    let refused = async |path: &str, body: Value| {
        let answer = ask(&server, Method::PUT, path, &body).await;
        (answer.status.as_u16(), answer.code())
    };
    let telemetry = || json!({ "kinds": ["telemetry"] });
    for (path, body, expected) in [
        ("devices/d-1/readers/d-1", telemetry(), (422, "own_reader")),
        ("devices/d-1/readers/nobody", telemetry(), (404, "unknown_device")),
        (GRANT, json!({ "kinds": [] }), (422, "invalid_kinds")),
        (GRANT, json!({ "kinds": ["command"] }), (422, "invalid_kinds")),
        (GRANT, json!({ "kinds": ["telemetry", "x"] }), (422, "invalid_kinds")),
        (GRANT, json!({ "kinds": ["state"], "until": 1 }), (400, "invalid_json")),
    ] {
        let expected = (expected.0, expected.1.to_owned());
        assert_eq!(refused(path, body).await, expected, "{path}");
    }
    for number in 2..=17 {
        let path = format!("devices/d-1/readers/d-{number}");
        assert_eq!(ask(&server, Method::PUT, &path, &telemetry()).await.status, 200);
    }
    let full = (409, "too_many_readers".to_owned());
    assert_eq!(refused("devices/d-1/readers/d-18", telemetry()).await, full);
    // One that is there already can be changed.
    let answer = ask(&server, Method::PUT, GRANT, &json!({ "kinds": ["state"] })).await;
    assert_eq!(answer.status, 200);
    server.revoke("d-19").await;
    let revoked = (409, "device_revoked".to_owned());
    assert_eq!(refused("devices/d-18/readers/d-19", telemetry()).await, revoked);
}
