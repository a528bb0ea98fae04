//! Commands to devices, and what applications can be asked for.

use serde_json::json;

use crate::requests::sends;
use crate::world::World;

#[test]
fn a_command_is_sent_with_its_arguments_and_its_life() {
    let (line, send) = ("POST /devices/d1/commands", ["device", "command", "send", "d1"]);
    let poll = json!({ "command": "poll", "arguments": {}, "expires_in_s": 300 });
    sends(&[&send[..], &["poll"]].concat(), line, &poll);
    let interval = ["set_interval", "--argument", "seconds=600", "--expires", "7d"];
    let body = json!({
        "command": "set_interval", "arguments": { "seconds": 600 }, "expires_in_s": 604_800,
    });
    sends(&[&send[..], &interval].concat(), line, &body);
    let texts = ["beep", "--argument", "tone=low", "--argument", "really=true"];
    let arguments = json!({ "tone": "low", "really": true });
    let body = json!({ "command": "beep", "arguments": arguments, "expires_in_s": 300 });
    sends(&[&send[..], &texts].concat(), line, &body);
}

#[test]
fn a_command_is_taken_back_and_shown() {
    let line = "DELETE /devices/d1/commands/7";
    sends(&["device", "command", "cancel", "d1", "7"], line, &json!(null));
    sends(&["device", "command", "show", "d1", "7"], "GET /devices/d1/commands/7", &json!(null));
    let run = World::logged_in().run(&["device", "command", "send", "d1", "no way"]);
    assert_eq!(run.code, 2, "{run:?}");
}

#[test]
fn what_applications_can_be_asked_for_is_a_file_with_a_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beep.json");
    std::fs::write(&file, r#"{"type":"object"}"#).unwrap();
    let (line, file) = ("PUT /products/th1/commands/beep", file.to_str().unwrap());
    let set = ["product", "command", "set", "th1", "beep", "--schema", file];
    sends(&set, line, &json!({ "schema": { "type": "object" } }));
    let line = "DELETE /products/th1/commands/beep";
    sends(&["product", "command", "remove", "th1", "beep"], line, &json!(null));
}
