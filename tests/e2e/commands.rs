//! Commands of operators, from the command line to the devices and back.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

use std::fs;

use serde_json::{Value, json};
use waxwing_e2e::ceremony::{PRODUCT, Plan};
use waxwing_e2e::fleet::{Batch, Event, Fleet};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::world::World;

const DEVICE: &str = "th1-0001";

/// Sends a command and returns its id.
fn send(world: &World, arguments: &[&str]) -> String {
    let what = [&["device", "command", "send", DEVICE], arguments].concat();
    world.operator.ask(&what).unwrap()["id"].as_str().unwrap().to_owned()
}

fn show(world: &World, id: &str) -> Value {
    world.operator.ask(&["device", "command", "show", DEVICE, id]).unwrap()
}

/// Asks the server until a command has come to this state: nothing else tells of it.
fn wait_until(world: &World, id: &str, state: &str) {
    while show(world, id)["state"] != state {}
}

/// Follows the fleet up to this event, and returns everything before it too.
fn follow(fleet: &mut Fleet, field: &str, word: &str) -> Vec<Event> {
    let mut seen = Vec::new();
    let mut is_it = |event: &Event| {
        seen.push(event.clone());
        event.text(field) == word
    };
    fleet.wait_for(&mut is_it).unwrap();
    seen
}

fn count(seen: &[Event], field: &str, word: &str) -> usize {
    seen.iter().filter(|event| event.text(field) == word).count()
}

#[test]
fn commands_wait_for_a_sleeping_device_are_carried_out_once_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let mut world = World::create_as(folder.path(), plan).unwrap();
    let image = world.make_image("1.0.0", Behaviour::Work).unwrap();
    let names = [DEVICE.to_owned()];
    let tokens = world.register_all(&names).unwrap();
    let schema = folder.path().join("beep.json");
    let tone = json!({ "enum": ["low", "high"] });
    let text = json!({ "type": "object", "required": ["tone"], "properties": { "tone": tone } });
    fs::write(&schema, text.to_string()).unwrap();
    let schema = schema.to_str().unwrap();
    for name in ["beep", "jam", "sing"] {
        let set = ["product", "command", "set", PRODUCT, name, "--schema", schema];
        world.operator.ask(&set).unwrap();
    }

    // The device is not there yet.
    let low = ["--argument", "tone=low", "--expires", "1h"];
    let beep = send(&world, &[&["beep"], &low[..]].concat());
    let cancelled = send(&world, &[&["beep"], &low[..]].concat());
    let void = send(&world, &["beep", "--argument", "tone=high", "--expires", "10s"]);
    let reboot = send(&world, &["reboot", "--expires", "1h"]);
    world.operator.ask(&["device", "command", "cancel", DEVICE, &cancelled]).unwrap();
    let refused = ["device", "command", "send", DEVICE, "beep", "--argument", "tone=shrill"];
    let refused = world.operator.is_refused(&refused).unwrap();
    assert!(refused.contains("arguments.tone"), "{refused}");
    world.server.kill().unwrap();
    world.server.restart().unwrap();
    wait_until(&world, &void, "expired");

    let batch = Batch { names: &names, ..Batch::default() };
    let mut fleet = world.start_with(&batch, &tokens, &image).unwrap();
    wait_until(&world, &reboot, "done");
    let mut seen = follow(&mut fleet, "reset", "requested");
    let told = show(&world, &beep);
    assert_eq!((&told["state"], &told["detail"]), (&json!("done"), &json!(r#"{"tone":"low"}"#)));
    assert_eq!(count(&seen, "event", "commanded"), 1, "{seen:?}");
    assert_eq!(count(&seen, "reset", "requested"), 1, "{seen:?}");

    let jam = send(&world, &[&["jam"], &low[..]].concat());
    let sing = send(&world, &[&["sing"], &low[..]].concat());
    let interval = send(&world, &["set_interval", "--argument", "seconds=60"]);
    let logs = send(&world, &["collect_logs"]);
    wait_until(&world, &logs, "done");
    seen.extend(follow(&mut fleet, "command", "jam"));
    let log = show(&world, &logs)["detail"].as_str().unwrap().to_owned();
    assert!(log.starts_with("started after requested\nasked to jam"), "{log}");
    let listed = world.operator.ask(&["device", "command", "list", DEVICE]).unwrap();
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|it| (&it["id"], &it["state"])).collect();
    let expected = [
        (&logs, "done"),
        (&interval, "done"),
        (&sing, "unknown"),
        (&jam, "failed"),
        (&reboot, "done"),
        (&void, "expired"),
        (&cancelled, "cancelled"),
        (&beep, "done"),
    ];
    let expected = expected.map(|(id, state)| (json!(id), json!(state)));
    assert_eq!(states, expected.iter().map(|(id, state)| (id, state)).collect::<Vec<_>>());
    assert_eq!(count(&seen, "command", "beep"), 1, "{seen:?}");
}
