//! What devices measured, and what sinks did not take, as operators see it.

use serde_json::json;
use waxwing_server::domain::sink::progress::{Cursor, Dead};
use waxwing_server::store::messages::Message;
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;

use crate::support::Api;

const HOUR_MS: u64 = 3600 * 1000;

/// Logs a reading of a device that came so many hours ago.
async fn measured(api: &Api, id: &str, hours: u64) {
    let (device, message_id): (_, waxwing_wire::MessageId) =
        ("d-0".parse().unwrap(), id.parse().unwrap());
    let header = Header { device_id: device, timestamp: 0, message_id: message_id.clone() };
    let message = Message {
        device: header.device_id.clone(),
        kind: Kind::Telemetry,
        message_id,
        signed_by: "00".to_owned(),
        received_at: api.now_s() * 1000 - hours * HOUR_MS,
        envelope: header.seal(&format!(r#"{{"h":{hours}}}"#), "00"),
    };
    api.app.log.add(&[message]).await.unwrap();
}

#[tokio::test]
async fn a_device_shows_its_last_value_and_those_of_a_day() {
    let (api, _) = Api::with_fleet(1).await;
    let path = "devices/d-0/telemetry";
    let nothing = api.get(path).await.ok();
    assert_eq!(nothing, json!({"last": null, "items": [], "next": null}));
    measured(&api, "m-1", 30).await;
    let old = api.get(path).await.ok();
    assert_eq!((&old["last"]["payload"], &old["items"]), (&json!({"h": 30}), &json!([])));
    for (id, hours) in [("m-2", 20), ("m-3", 1)] {
        measured(&api, id, hours).await;
    }
    let first = api.get(&format!("{path}?limit=1")).await.ok();
    assert_eq!(first["items"][0]["payload"], json!({"h": 1}));
    assert_eq!(first["last"], first["items"][0]);
    let next = first["next"].as_str().unwrap();
    let second = api.get(&format!("{path}?limit=1&after={next}")).await.ok();
    assert_eq!(second["items"][0]["payload"], json!({"h": 20}));
    assert_eq!(second["next"], json!(null), "what is older than a day is in the message log");
    api.get("devices/d-9/telemetry").await.refused(404, "unknown_device", None);
    api.get(&format!("{path}?after=x")).await.refused(400, "invalid_query", Some("after"));
}

#[tokio::test]
async fn dead_letters_are_shown_sent_again_and_removed_and_each_is_audited() {
    let sink = "name = 'backend'\nkind = 'http'\nurl = 'https://b.example/secret/{device}'";
    let api = Api::open_with(|config| config.sinks = vec![toml::from_str(sink).unwrap()]).await;
    let log = &api.app.log;
    log.cursor("backend", true).await.unwrap();
    measured(&api, "m-1", 0).await;
    measured(&api, "m-2", 0).await;
    let dead = log.after(0, 9).await.unwrap().into_iter().map(|logged| {
        let position = logged.position;
        (logged, Dead { position, reason: "http_400: no".to_owned(), tries: 1 })
    });
    let cursor = Cursor { taken: 2, sent: 2 };
    log.move_sink("backend", cursor, &dead.collect::<Vec<_>>(), 0).await.unwrap();

    let sinks = api.get("sinks").await.ok();
    let shown = &sinks["items"][0];
    assert_eq!((&shown["origin"], &shown["behind"]), (&json!("https://b.example:443"), &json!(0)));
    assert_eq!(shown["dead_letters"], 2);
    assert!(!sinks.to_string().contains("secret"), "{sinks}");
    let page = api.get("sinks/backend/dead-letters?limit=1").await.ok();
    assert_eq!(page["items"][0]["reason"], "http_400: no");
    assert_eq!((&page["items"][0]["asked"], &page["next"]), (&json!(false), &json!("1")));
    let one = json!({"dead_letters": 1});
    assert_eq!(api.act("sinks/backend/dead-letters/2/replay").await.ok(), one);
    let second = api.get("sinks/backend/dead-letters?after=1").await.ok();
    assert_eq!(second["items"][0]["asked"], true);
    assert_eq!(api.delete("sinks/backend/dead-letters/1").await.ok(), one);
    assert_eq!(api.act("sinks/backend/dead-letters/replay").await.ok(), one);
    assert_eq!(api.delete("sinks/backend/dead-letters").await.ok(), one);
    let audit = api.get("audit?limit=100").await.ok();
    let lines = audit["items"].as_array().unwrap().iter();
    let actions: Vec<_> = lines.map(|line| line["action"].as_str().unwrap()).collect();
    let of = |action: &str| actions.iter().filter(|it| **it == action).count();
    assert_eq!((of("dead_letters_replayed"), of("dead_letters_discarded")), (2, 2));

    api.act("sinks/other/dead-letters/replay").await.refused(404, "unknown_sink", None);
    let gone = api.delete("sinks/backend/dead-letters/1").await;
    gone.refused(404, "unknown_dead_letter", None);
}
