//! Following a rollout until it ends, and how its end becomes an exit code.

use std::io::{BufRead as _, BufReader, Read as _};

use serde_json::{Value, json};

use crate::world::World;

const LINE: &str = "GET /rollouts/r1";

fn rollout(state: &str, healthy: u64) -> (u16, Value) {
    let reason = (state == "halted").then_some("phase 1: 2 of 2 failed");
    let rollout = json!({
        "id": "r1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "lab",
        "state": state, "reason": reason, "phase": 0, "members": 2,
        "phases": [{ "size": { "percent": 10 }, "started_at": "2026-11-20T09:30:00Z", "members": 2 },
                   { "size": { "percent": 100 }, "started_at": null, "members": null }],
        "counts": { "waiting": 2 - healthy, "healthy": healthy },
        "created_at": "2026-11-20T09:29:00Z", "started_at": null, "finished_at": null,
    });
    (200, rollout)
}

#[test]
fn a_watched_rollout_prints_each_change_once_and_ends_well() {
    let world = World::logged_in();
    for (state, healthy) in [("running", 1), ("running", 1), ("finished", 2)] {
        world.server.on(LINE, rollout(state, healthy));
    }
    let run = world.run(&["rollout", "watch", "r1"]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 2), "{run:?}");
}

#[test]
fn a_rollout_that_halts_is_a_failure_with_its_reason() {
    let world = World::logged_in();
    world.server.on(LINE, rollout("halted", 0));
    let run = world.run(&["rollout", "watch", "r1"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("rollout r1 is halted: phase 1: 2 of 2 failed"), "{}", run.stderr);
}

#[test]
fn watching_survives_a_server_that_is_killed_and_comes_back() {
    let mut world = World::logged_in();
    world.server.on(LINE, rollout("running", 1));
    let mut child = world.command(&["rollout", "watch", "r1"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();

    world.server.kill();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    line.clear();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "waxwing: no answer, asking again\n");

    world.server.on(LINE, rollout("finished", 2));
    world.server.resume();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("finished"), "{rest}");
    assert!(child.wait().unwrap().success());
}
