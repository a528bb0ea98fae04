//! `waxwing device add` when the server is ill, or another than it should be.

use std::fs;

use serde_json::{Value, json};

use crate::doctor::root_of;
use crate::world::{Run, World};

const TOKEN: &str = "wxe_not-a-real-token";

/// A server with a product, and a template that fits it.
fn world() -> World {
    let world = World::logged_in();
    let director = root_of("director", 1, 2);
    world.file("director.json", &director.to_string());
    world.file("image.json", &root_of("image/th1", 1, 2).to_string());
    let template = "product = 'th1'\ndirector_root = 'director.json'\nimage_root = 'image.json'\n";
    world.file("th1.toml", template);
    let product = json!({ "chip": "esp32c3", "hardware": ["r1"], "channels": ["stable"] });
    world.server.on("GET /products/th1", (200, product));
    world.server.on("GET /director/roots/1", (200, director));
    world
}

fn add(world: &World, arguments: &[&str]) -> Run {
    let template = world.home.path().join("th1.toml");
    let template = ["--template", template.to_str().unwrap()];
    world.run(&[&["device", "add"], arguments, &template].concat())
}

fn add_all(world: &World, lines: &str) -> Run {
    let csv = world.file("devices.csv", lines);
    let folder = world.home.path().join("credentials");
    add(world, &["--csv", csv.to_str().unwrap(), "--out-dir", folder.to_str().unwrap()])
}

fn token() -> (u16, Value) {
    (201, json!({ "token": TOKEN, "expires_at": "2026-11-28T09:00:00Z" }))
}

#[test]
fn what_the_template_leaves_open_is_what_one_is_logged_in_to() {
    let world = world();
    world.server.on("POST /devices", (201, json!({})));
    world.server.on("POST /devices/d1/tokens", token());
    let out = world.home.path().join("a file.bin");
    let run = add(&world, &["d1", "--out", out.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    let made: Value = serde_json::from_str(&run.stdout).unwrap();
    let uri = made["uri"].as_str().unwrap();
    let start = format!("waxwing:1?device=d1&enrol=127.0.0.1:8444&token={TOKEN}&ca=");
    assert!(uri.starts_with(&start), "{uri}");
    assert!(made["flash"].as_str().unwrap().ends_with("a file.bin'"), "{made}");
    let provision = waxwing_wire::Provision::decode(&fs::read(out).unwrap()).unwrap();
    assert_eq!(provision.server, "127.0.0.1:8443");
    assert_eq!(provision.mqtt.as_deref(), Some("127.0.0.1:8883"));
    assert_eq!(provision.server_ca, world.server.ca.as_bytes());
    assert_eq!((provision.channels.len(), provision.token.expose()), (1, TOKEN));
}

#[test]
fn a_server_that_is_ill_is_not_asked_for_the_rest_of_the_lines() {
    let world = world();
    world.server.on("POST /devices", (201, json!({})));
    world.server.on("POST /devices", (503, json!({ "code": "unavailable" })));
    world.server.on("POST /devices/d1/tokens", token());
    let run = add_all(&world, "id\nd1\nd2\nd3\n");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("2 of 3 devices failed"), "{run:?}");
    assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN), "{run:?}");
    let report: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    let outcomes: Vec<_> = report.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["added", "failed", "not_tried"]);
    assert_eq!(report[1]["code"], "unavailable");
    let asked = world.server.requests().iter().filter(|it| it.line == "POST /devices").count();
    assert_eq!(asked, 2);
    let files = fs::read_dir(world.home.path().join("credentials")).unwrap().count();
    assert_eq!(files, 1, "and nothing half-written");
}

#[test]
fn a_server_with_other_roots_than_the_ceremony_left_makes_no_devices() {
    let world = world();
    for (answer, why) in [
        ((200, root_of("director", 1, 7)), "is not the one of this server"),
        ((404, json!({ "code": "unknown_root" })), "is not known to this server"),
    ] {
        world.server.replace("GET /director/roots/1", answer);
        let run = add_all(&world, "id\nd1\n");
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(why), "{run:?}");
    }
    assert!(!world.server.requests().iter().any(|it| it.line.starts_with("POST")));
}

#[test]
fn a_file_that_is_no_list_of_devices_is_refused_whole() {
    let world = world();
    let huge = "x".repeat((1 << 20) + 1);
    for (lines, why) in [
        ("d1\nd2\n", "names the columns"),
        (huge.as_str(), "longer than"),
        (&format!("id\n{}", "d\n".repeat(10_001)), "more than 10000 lines"),
    ] {
        let run = add_all(&world, lines);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(why) && run.stdout.is_empty(), "{run:?}");
    }
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let world = world();
    for arguments in [
        &["d1"][..],
        &["d1", "--csv", "x", "--out-dir", "y"],
        &["--csv", "x"],
        &["--csv", "x", "--out-dir", "y", "--out", "z"],
        &["--csv", "x", "--out-dir", "y", "--tag", "a"],
        &["d1", "--out", "x", "--spare", "coredump"],
    ] {
        assert_eq!(add(&world, arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(world.run(&["device", "add", "d1"]).code, 2);
    assert_eq!(world.run(&["device", "add", "d1", "--product", "th1", "--out", "x"]).code, 2);
}
