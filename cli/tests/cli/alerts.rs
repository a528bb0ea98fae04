//! `waxwing alert`: what it asks for.

use serde_json::{Value, json};

use crate::world::{Run, World};

/// Runs a command, and returns the line, the seen state and the body of its last request.
#[track_caller]
fn ask(answers: &[(&str, Value)], arguments: &[&str]) -> (Run, String, String, Value) {
    let world = World::logged_in();
    for (line, answer) in answers {
        world.server.on(line, (200, answer.clone()));
    }
    let run = world.run(arguments);
    let last = world.server.requests().pop().unwrap();
    (run, last.line, last.if_match, last.body)
}

#[test]
fn alerts_are_listed_by_state_and_rule() {
    let line = "GET /alerts?state=firing&rule=device_lost&limit=100";
    let alert = json!({ "id": "al-1", "summary": "warning product/th1: 3 devices" });
    let arguments = ["alert", "list", "--state", "firing", "--rule", "device_lost"];
    let (run, asked, ..) = ask(&[(line, json!({ "items": [alert], "next": null }))], &arguments);
    assert_eq!((run.code, asked.as_str()), (0, line), "{run:?}");
    assert!(run.stdout.contains("al-1"), "{}", run.stdout);
}

#[test]
fn a_rule_is_changed_only_as_it_was_seen() {
    let rule = "/alert-rules/rollout_halted";
    let answers = [
        (format!("GET {rule}"), json!({ "name": "rollout_halted", "revision": 3 })),
        (format!("PATCH {rule}"), json!({ "revision": 4 })),
        (format!("DELETE {rule}"), json!({ "revision": 4 })),
    ];
    let answers: Vec<_> = answers.iter().map(|(line, it)| (line.as_str(), it.clone())).collect();
    for (arguments, method, body) in [
        (vec!["set", "rollout_halted", "--off"], "PATCH", json!({ "enabled": false })),
        (vec!["set", "rollout_halted", "--on"], "PATCH", json!({ "enabled": true })),
        (
            vec!["set", "rollout_halted", "--threshold", "5", "--for", "1m", "--clear-for", "1h"],
            "PATCH",
            json!({ "threshold": 5, "for_s": 60, "clear_for_s": 3600 }),
        ),
        (vec!["reset", "rollout_halted"], "DELETE", Value::Null),
    ] {
        let arguments = [&["alert", "rule"], &arguments[..]].concat();
        let (run, line, if_match, sent) = ask(&answers, &arguments);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!((line, if_match.as_str()), (format!("{method} {rule}"), "\"3\""));
        assert_eq!(sent, body);
    }
}

#[test]
fn a_silence_has_an_end_and_names_what_it_is_about() {
    let answers = [
        ("POST /alert-silences", json!({ "id": "si-1" })),
        ("DELETE /alert-silences/si-1", json!({ "id": "si-1" })),
    ];
    let add = ["alert", "silence", "add"];
    let (run, line, _, sent) = ask(
        &answers,
        &[&add[..], &["--rule", "device_lost", "--for", "2h", "--reason", "rewired"]].concat(),
    );
    assert_eq!((run.code, line.as_str()), (0, "POST /alert-silences"), "{run:?}");
    assert_eq!(sent, json!({ "rule": "device_lost", "for_s": 7200 }));
    let (run, line, ..) = ask(&answers, &["alert", "silence", "remove", "si-1"]);
    assert_eq!((run.code, line.as_str()), (0, "DELETE /alert-silences/si-1"), "{run:?}");
    for wrong in [&["--for", "2h"][..], &["--rule", "device_lost"]] {
        assert_eq!(World::logged_in().run(&[&add[..], wrong].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn mail_is_tried_and_shown_by_its_state() {
    let page = json!({ "items": [{ "recipient": "ops@example.com" }], "next": null });
    let line = "GET /mail/deliveries?state=dead&limit=100";
    let (run, asked, ..) = ask(&[(line, page)], &["mail", "deliveries", "--state", "dead"]);
    assert_eq!((run.code, asked.as_str()), (0, line), "{run:?}");
    let (run, asked, ..) = ask(&[("POST /mail/test", json!({ "items": [] }))], &["mail", "test"]);
    assert_eq!((run.code, asked.as_str()), (0, "POST /mail/test"), "{run:?}");
}

#[test]
fn a_change_that_changes_nothing_and_a_name_that_leaves_its_path_are_wrong_use() {
    for arguments in [
        &["alert", "rule", "set", "rollout_halted"][..],
        &["alert", "rule", "set", "rollout_halted", "--on", "--off"],
        &["alert", "rule", "show", "../devices"],
        &["alert", "show", "a/b"],
    ] {
        let run = World::logged_in().run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
    }
}
