//! Commands to devices: what is taken, kept, shown and taken back.

use serde_json::{Value, json};

use crate::support::Api;

const PATH: &str = "devices/d-0/commands";

async fn send(api: &Api, command: &Value) -> Value {
    let answer = api.post(PATH, command.clone()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json
}

#[tokio::test]
async fn a_command_waits_for_a_device_that_is_away_also_over_a_restart() {
    let (api, _) = Api::with_fleet(1).await;
    let arguments = json!({ "seconds": 600 });
    let command =
        json!({ "command": "set_interval", "arguments": arguments, "expires_in_s": 86400 });
    let sent = send(&api, &command).await;
    assert_eq!((&sent["state"], &sent["arguments"]), (&json!("queued"), &arguments), "{sent}");
    let api = api.restarted().await;
    let listed = api.get(PATH).await.ok();
    assert_eq!(listed, json!({ "items": [sent], "next": null }));
    let path = format!("{PATH}/{}", sent["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.ok(), sent);
    let line = api.get("audit").await.ok()["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&line["action"], &line["subject"]), (&json!("command_sent"), &json!("device/d-0")));
    assert_eq!(line["detail"]["arguments"], arguments);
}

#[tokio::test]
async fn commands_are_shown_page_by_page_the_newest_first() {
    let (api, _) = Api::with_fleet(1).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(send(&api, &json!({ "command": "poll" })).await["id"].clone());
    }
    let first = api.get(&format!("{PATH}?limit=2")).await.ok();
    assert_eq!((&first["items"][0]["id"], &first["next"]), (&ids[2], &ids[1]));
    let after = ids[1].as_str().unwrap();
    let second = api.get(&format!("{PATH}?limit=2&after={after}")).await.ok();
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&ids[0], &json!(null)));
    api.get(&format!("{PATH}?after=x")).await.refused(400, "invalid_query", Some("after"));
    api.get(&format!("{PATH}/1")).await.refused(404, "unknown_command", None);
    api.get(&format!("{PATH}/x")).await.refused(404, "unknown_command", None);
}

#[tokio::test]
async fn what_is_taken_back_stays_so_and_is_in_the_audit_log() {
    let (api, _) = Api::with_fleet(1).await;
    let sent = send(&api, &json!({ "command": "reboot" })).await;
    let path = format!("{PATH}/{}", sent["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(api.delete(&path).await.ok()["state"], "cancelled", "twice is no error");
    }
    let audit = api.get("audit").await.ok();
    let actions = audit["items"].as_array().unwrap().iter().map(|line| &line["action"]);
    assert_eq!(actions.filter(|action| *action == "command_cancelled").count(), 1);
}

#[tokio::test]
async fn a_command_is_void_when_its_time_is_over() {
    let (api, _) = Api::with_fleet(1).await;
    let sent = send(&api, &json!({ "command": "reboot", "expires_in_s": 10 })).await;
    let path = format!("{PATH}/{}", sent["id"].as_str().unwrap());
    api.clock.advance(std::time::Duration::from_secs(10));
    assert_eq!(api.get(&path).await.ok()["state"], "expired");
    api.delete(&path).await.refused(409, "command_ended", None);
}

#[tokio::test]
async fn so_many_commands_wait_for_a_device_and_no_more() {
    let (api, _) = Api::with_fleet(1).await;
    for _ in 0..16 {
        send(&api, &json!({ "command": "poll" })).await;
    }
    let one_more = api.post(PATH, json!({ "command": "poll" })).await;
    one_more.refused(409, "device_behind", None);
    api.act("devices/d-0/revoke").await.ok();
    let items = api.get(PATH).await.ok()["items"].clone();
    let is_cancelled = |it: &Value| it["state"] == "cancelled";
    assert!(items.as_array().unwrap().iter().all(is_cancelled), "nobody is there to take them");
}

#[tokio::test]
async fn what_no_device_knows_is_refused_by_its_field() {
    let (api, _) = Api::with_fleet(1).await;
    let command = |name: &str, arguments: Value| json!({ "command": name, "arguments": arguments });
    for (body, status, code, field) in [
        (command("explode", json!({})), 422, "unknown_command", "command"),
        (command("no way", json!({})), 400, "invalid_json", "command"),
        (command("reboot", json!([])), 400, "invalid_json", "arguments"),
        (command("reboot", json!({ "now": true })), 422, "invalid_arguments", "arguments.now"),
        (command("set_interval", json!({})), 422, "invalid_arguments", "arguments.seconds"),
        (
            command("set_interval", json!({ "seconds": 5 })),
            422,
            "invalid_arguments",
            "arguments.seconds",
        ),
        (json!({ "command": "poll", "expires_in_s": 9 }), 400, "invalid_life", "expires_in_s"),
        (
            json!({ "command": "poll", "expires_in_s": 2_678_401 }),
            400,
            "invalid_life",
            "expires_in_s",
        ),
    ] {
        api.post(PATH, body).await.refused(status, code, Some(field));
    }
    assert_eq!(api.get(PATH).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn applications_are_asked_for_what_their_product_knows_with_arguments_that_fit() {
    let (api, _) = Api::with_fleet(1).await;
    let schema = json!({
        "type": "object", "required": ["tones"], "additionalProperties": false,
        "properties": { "tones": { "type": "array", "items": { "type": "integer", "maximum": 9 } } },
    });
    let known = api.put("products/th1/commands/beep", json!({ "schema": schema })).await.ok();
    assert_eq!((&known["name"], &known["schema"]), (&json!("beep"), &schema));
    let beep = |arguments: Value| json!({ "command": "beep", "arguments": arguments });
    let sent = send(&api, &beep(json!({ "tones": [1, 2.0] }))).await;
    assert_eq!((&sent["command"], &sent["arguments"]["tones"][1]), (&json!("beep"), &json!(2.0)));
    for (arguments, field) in [
        (json!({}), "arguments.tones"),
        (json!({ "tones": [1, 10] }), "arguments.tones[1]"),
        (json!({ "tones": [], "loud": true }), "arguments.loud"),
    ] {
        let refused = api.post(PATH, beep(arguments)).await;
        refused.refused(422, "invalid_arguments", Some(field));
    }
    let long = json!({ "tones": vec![1; 300] });
    api.post(PATH, beep(long)).await.refused(422, "arguments_too_long", Some("arguments"));
    assert_eq!(api.get("products/th1/commands").await.ok().as_array().unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(api.delete("products/th1/commands/beep").await.status, 204);
    }
    let gone = api.post(PATH, beep(json!({ "tones": [] }))).await;
    gone.refused(422, "unknown_command", Some("command"));
    assert_eq!(api.get(PATH).await.ok()["items"], json!([sent]), "what was sent before stays");
}

#[tokio::test]
async fn a_schema_that_is_not_understood_is_refused_where_it_is_not() {
    let (api, _) = Api::with_fleet(0).await;
    let pattern = json!({ "type": "object", "properties": { "a": { "pattern": ".*" } } });
    for (name, schema, code, field) in [
        ("beep", json!({}), "invalid_schema", "schema.type"),
        ("beep", json!(true), "invalid_schema", "schema.type"),
        ("beep", pattern, "invalid_schema", "schema.properties.a.pattern"),
        (
            "beep",
            json!({ "type": "object", "title": "x".repeat(8192) }),
            "invalid_schema",
            "schema",
        ),
        ("reboot", json!({ "type": "object" }), "invalid_command", "name"),
        ("-x", json!({ "type": "object" }), "invalid_command", "name"),
    ] {
        let path = format!("products/th1/commands/{name}");
        let refused = api.put(&path, json!({ "schema": schema })).await;
        refused.refused(422, code, Some(field));
    }
    let path = "products/none/commands/beep";
    let unknown = api.put(path, json!({ "schema": { "type": "object" } })).await;
    unknown.refused(404, "unknown_product", None);
}
