//! What each command asks for, and how answers are printed.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

use crate::world::{Run, World};

/// Runs a command against one answer, and returns the run and the body that was sent.
#[track_caller]
fn ask(line: &str, answer: (u16, Value), arguments: &[&str]) -> (Run, Value) {
    let world = World::logged_in();
    world.server.on(line, answer);
    let run = world.run(arguments);
    let request = world.server.requests().pop().unwrap();
    assert_eq!(request.line, line, "{run:?}");
    (run, request.body)
}

#[track_caller]
pub(crate) fn sends(arguments: &[&str], line: &str, body: &Value) {
    let (run, sent) = ask(line, (200, json!({ "id": "made" })), arguments);
    assert_eq!((run.code, run.stdout.as_str()), (0, "{\"id\":\"made\"}\n"), "{}", run.stderr);
    assert_eq!(&sent, body);
}

#[test]
fn a_product_is_registered_from_its_definition_and_the_exact_bytes_of_its_root() {
    let world = World::logged_in();
    let definition = r#"
        id = "th1"
        chip = "esp32c3"
        hardware = ["r1"]
        channels = ["stable", "beta"]
        slot_bytes = 1966080
    "#;
    let definition = world.file("product.toml", definition);
    let root = world.file("1.root.json", "{ \"signed\": 1}\n");
    world.server.on("POST /products", (201, json!({ "id": "th1" })));
    let arguments = ["product", "create", definition.to_str().unwrap(), "--root"];
    let run = world.run(&[&arguments[..], &[root.to_str().unwrap()]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = json!({
        "id": "th1", "chip": "esp32c3", "hardware": ["r1"], "channels": ["stable", "beta"],
        "slot_bytes": 1_966_080, "image_version": "match", "image_project": "th1",
        "image_root": "eyAic2lnbmVkIjogMX0K",
    });
    assert_eq!(world.server.requests().pop().unwrap().body, expected);
}

#[test]
fn a_definition_with_an_unknown_field_is_refused_with_its_name() {
    let world = World::logged_in();
    let definition = world.file("product.toml", "id = \"th1\"\nslots = 2\n");
    let path = definition.to_str().unwrap();
    let run = world.run(&["product", "create", path, "--root", path]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("unknown field `slots`"), "{}", run.stderr);
}

#[test]
fn what_releases_must_come_with_is_replaced_by_the_definition() {
    let world = World::logged_in();
    let rest = "id = 'th1'\nchip = 'esp32c3'\nhardware = ['r1']\nchannels = ['stable']\nslot_bytes = 4096\n";
    let line = "PUT /products/th1/required-documents";
    world.server.on(line, (200, json!({ "id": "th1" })));
    for (more, expected) in [
        ("", json!({ "required_documents": {}, "builders": [] })),
        (
            "required_documents = { stable = ['sbom'] }\nbuilders = ['https://ci.example']",
            json!({ "required_documents": {"stable": ["sbom"]}, "builders": ["https://ci.example"] }),
        ),
    ] {
        let definition = world.file("product.toml", &format!("{rest}{more}"));
        let run = world.run(&["product", "documents", definition.to_str().unwrap()]);
        assert_eq!(run.code, 0, "{run:?}");
        let request = world.server.requests().pop().unwrap();
        assert_eq!((request.line.as_str(), request.body), (line, expected));
    }
}

#[test]
fn an_operator_is_added_and_removed_and_no_name_leaves_its_path() {
    sends(&["operator", "add", "ada"], "POST /operators", &json!({ "name": "ada" }));
    sends(&["operator", "remove", "ada"], "DELETE /operators/ada", &json!(null));
    for name in ["../devices", "a/b", "", ".."] {
        let run = World::logged_in().run(&["operator", "remove", name]);
        assert_eq!(run.code, 2, "{name}: {run:?}");
    }
}

#[test]
fn a_certificate_of_an_operator_is_asked_for_with_a_key_that_stays_here() {
    let world = World::logged_in();
    let line = "POST /operators/ada/certificates";
    let answer = json!({
        "operator": "ada", "serial": "4a", "expires_at": "2027-02-18T00:00:00Z",
        "certificate": "signed", "server_ca": "the CA",
    });
    world.server.on(line, (201, answer));
    let folder = world.file("unused", "").with_file_name("ada");
    let arguments = ["operator", "certificate", "ada", "--out-dir", folder.to_str().unwrap()];
    let run = world.run(&arguments);
    assert_eq!(run.code, 0, "{run:?}");
    let request = world.server.requests().pop().unwrap();
    assert_eq!((request.line.as_str(), &request.body["days"]), (line, &json!(90)));
    let csr = request.body["csr"].as_str().unwrap();
    assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{csr}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!((read("ada.pem"), read("server-ca.pem")), ("signed".into(), "the CA".into()));
    let key = rcgen::KeyPair::from_pem(&read("ada.key")).unwrap();
    let csr = rcgen::CertificateSigningRequestParams::from_pem(csr).unwrap();
    assert_eq!(csr.public_key.der_bytes(), key.der_bytes());
    for name in ["ada.key", "ada.pem"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // A key that is there is never replaced.
    let (run, before) = (world.run(&arguments), read("ada.key"));
    assert_eq!((run.code, read("ada.key")), (2, before), "{run:?}");
    sends(
        &["operator", "revoke-certificate", "ada", "4a"],
        "DELETE /operators/ada/certificates/4a",
        &json!(null),
    );
}

#[test]
fn the_token_of_an_operator_is_replaced_with_an_overlap_unless_told_otherwise() {
    let line = "POST /operators/admin/token";
    let command = ["operator", "replace-token", "admin"];
    sends(&command, line, &json!({ "overlap_s": 600 }));
    sends(&[&command[..], &["--overlap", "0"]].concat(), line, &json!({ "overlap_s": 0 }));
}

#[test]
fn a_device_is_registered_with_its_tags() {
    sends(
        &["device", "add", "d1", "--product", "th1", "--tag", "site=lab", "--tag", "row=3"],
        "POST /devices",
        &json!({ "id": "d1", "product": "th1", "tags": { "site": "lab", "row": "3" } }),
    );
}

#[test]
fn device_actions_go_to_the_device() {
    sends(&["device", "token", "d1"], "POST /devices/d1/tokens", &json!(null));
    let tags = json!({ "site": "lab" });
    sends(&["device", "tag", "d1", "site=lab"], "PUT /devices/d1/tags", &tags);
}

#[test]
fn a_group_is_edited_and_a_long_query_is_not_put_into_an_address() {
    let line = "PATCH /groups/g";
    let query = json!({ "query": "tag==a" });
    sends(&["group", "edit", "g", "--query", "tag==a"], line, &query);
    let description = json!({ "description": "x" });
    sends(&["group", "edit", "g", "--description", "x"], line, &description);
    let tags = json!({ "tags": { "site": "lab" }, "description": "x" });
    sends(&["group", "edit", "g", "--tag", "site=lab", "--description", "x"], line, &tags);
    let long = format!("tag.site=in=({})", vec!["berlin"; 400].join(","));
    let body = json!({ "query": long, "limit": 20, "product": null });
    sends(&["group", "preview", &long], "POST /groups/preview", &body);
}

#[test]
fn dead_letters_of_sinks_are_looked_at_sent_again_and_removed() {
    let all = "POST /sinks/backend/dead-letters/replay";
    sends(&["sink", "replay", "backend"], all, &json!(null));
    let one = "POST /sinks/backend/dead-letters/7/replay";
    sends(&["sink", "replay", "backend", "7"], one, &json!(null));
    sends(&["sink", "discard", "backend"], "DELETE /sinks/backend/dead-letters", &json!(null));
    let one = "DELETE /sinks/backend/dead-letters/7";
    sends(&["sink", "discard", "backend", "7"], one, &json!(null));
    let page = json!({ "items": [{ "position": 7 }], "next": null });
    let line = "GET /sinks/backend/dead-letters?limit=100";
    let (run, _) = ask(line, (200, page), &["sink", "dead", "backend"]);
    assert_eq!(run.stdout, "[{\"position\":7}]\n");
}

#[test]
fn a_device_that_was_silent_for_a_day_shows_what_it_measured_last() {
    let world = World::logged_in();
    let last = json!({ "position": 7, "payload": { "celsius": 21.5 } });
    let page = json!({ "last": last, "items": [], "next": null });
    world.server.on("GET /devices/d-1/telemetry?limit=100", (200, page.clone()));
    world.server.on("GET /devices/d-1/telemetry", (200, page));
    let run = world.run(&["device", "telemetry", "d-1"]);
    assert_eq!(run.stdout, "[{\"payload\":{\"celsius\":21.5},\"position\":7}]\n", "{run:?}");
}

#[test]
fn webhooks_are_added_tried_looked_at_and_removed() {
    let url = "https://hooks.example/w";
    let everything = json!({ "url": url, "events": [] });
    sends(&["webhook", "add", url], "POST /webhooks", &everything);
    let halts = json!({ "url": url, "events": ["rollout.halted"] });
    sends(&["webhook", "add", url, "--event", "rollout.halted"], "POST /webhooks", &halts);
    sends(&["webhook", "test", "wh-1"], "POST /webhooks/wh-1/test", &json!(null));
    sends(&["webhook", "remove", "wh-1"], "DELETE /webhooks/wh-1", &json!(null));
    let again = "POST /webhooks/wh-1/deliveries/msg_1/redeliver";
    sends(&["webhook", "redeliver", "wh-1", "msg_1"], again, &json!(null));
    let page = json!({ "items": [{ "id": "msg_1", "state": "dead" }], "next": null });
    let line = "GET /webhooks/wh-1/deliveries?state=dead&limit=100";
    let arguments = ["webhook", "deliveries", "wh-1", "--state", "dead"];
    let (run, _) = ask(line, (200, page), &arguments);
    assert_eq!((run.code, run.stdout.contains("msg_1")), (0, true), "{run:?}");
}

#[test]
fn the_directors_root_travels_unchanged() {
    let world = World::logged_in();
    let text = "{\"signed\": {}}\n";
    let root = world.file("1.root.json", text);
    world.server.on("PUT /director/root", (200, json!({ "root_version": 1 })));
    let run = world.run(&["director", "import", root.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    let sent = world.server.requests().pop().unwrap();
    assert_eq!(sent.raw, text);
}

#[test]
fn the_directors_key_is_printed_as_a_file_for_the_ceremony() {
    let world = World::logged_in();
    let key = json!({ "fingerprint": "six words", "key": {}, "name": "director" });
    world.server.on("GET /director", (200, json!({ "public_key": key, "root": null })));
    let run = world.run(&["director", "key"]);
    assert_eq!(run.stdout, format!("{key}\n"), "{run:?}");
}

#[test]
fn a_group_is_a_list_or_a_question_of_tags() {
    sends(
        &["group", "create", "lab", "--product", "th1", "--device", "d1", "--device", "d2"],
        "POST /groups",
        &json!({ "id": "lab", "product": "th1", "devices": ["d1", "d2"] }),
    );
    sends(
        &["group", "create", "lab", "--product", "th1", "--tag", "site=lab"],
        "POST /groups",
        &json!({ "id": "lab", "product": "th1", "tags": { "site": "lab" } }),
    );
}

#[test]
fn a_group_may_be_a_query() {
    sends(
        &[
            "group",
            "create",
            "behind",
            "--product",
            "th1",
            "--query",
            "tag==canary;version=lt=1.4.0",
        ],
        "POST /groups",
        &json!({ "id": "behind", "product": "th1", "query": "tag==canary;version=lt=1.4.0" }),
    );
    let preview = ["group", "preview", "tag==canary", "--product", "th1"];
    sends(&preview, "GET /groups/preview?query=tag%3D%3Dcanary&limit=20&product=th1", &json!(null));
    let both = ["group", "create", "g", "--product", "th1", "--query", "tag==a", "--tag", "a"];
    assert_eq!(World::new().run(&both).code, 2);
}

#[test]
fn many_devices_are_labelled_at_once() {
    sends(
        &[
            "device",
            "label",
            "d1",
            "d2",
            "--tag",
            "canary",
            "--untag",
            "beta",
            "--attribute",
            "a=b=c",
        ],
        "POST /labels",
        &json!({ "devices": ["d1", "d2"], "set_tags": { "canary": "" }, "remove_tags": ["beta"],
            "set_attributes": { "a": "b=c" }, "remove_attributes": [] }),
    );
    sends(
        &["device", "label", "--query", "tag==a", "--product", "th1", "--unset-attribute", "k"],
        "POST /labels",
        &json!({ "query": "tag==a", "product": "th1", "set_tags": {}, "remove_tags": [],
            "set_attributes": {}, "remove_attributes": ["k"] }),
    );
    assert_eq!(World::new().run(&["device", "label", "--tag", "a"]).code, 2);
}

#[test]
fn a_refused_query_is_shown_with_a_mark_under_what_is_wrong() {
    let problem = json!({
        "status": 422, "code": "query_refused", "field": "query", "position": 7,
        "detail": "The query is refused at character 8: unknown field `nmae`.",
    });
    let create = ["group", "create", "g", "--product", "th1", "--query", "tag==a;nmae==\u{1b}b"];
    let (run, _) = ask("POST /groups", (422, problem), &create);
    let mark = "  tag==a;nmae== b\n         ^\n";
    assert!(run.code == 1 && run.stderr.contains(mark), "{}", run.stderr);
}

#[test]
fn a_rollout_is_planned_with_phases_and_a_gate() {
    sends(
        &[
            "rollout",
            "create",
            "--id",
            "r1",
            "--product",
            "th1",
            "--channel",
            "stable",
            "--release",
            "1.1.0",
            "--group",
            "lab",
            "--phases",
            "10,50,100",
            "--soak",
            "2m",
        ],
        "POST /rollouts",
        &json!({
            "id": "r1", "product": "th1", "channel": "stable", "version": "1.1.0", "group": "lab",
            "plan": { "phases": [
                { "size": { "percent": 10 }, "gate": { "soak_s": 120 } },
                { "size": { "percent": 50 }, "gate": { "soak_s": 120 } },
                { "size": { "percent": 100 }, "gate": { "soak_s": 120 } },
            ] },
        }),
    );
}

#[test]
fn a_rollout_is_started_paused_resumed_and_cancelled() {
    for verb in ["start", "pause", "resume", "cancel"] {
        sends(&["rollout", verb, "r1"], &format!("POST /rollouts/r1/{verb}"), &json!(null));
    }
}

#[test]
fn a_rollout_is_approved_taken_back_and_given_more_time() {
    for verb in ["approve", "way-back"] {
        sends(&["rollout", verb, "r1"], &format!("POST /rollouts/r1/{verb}"), &json!(null));
    }
    let more = json!({ "seconds": 7 * 24 * 3600 });
    sends(&["rollout", "extend", "r1", "--by", "7d"], "POST /rollouts/r1/extend", &more);
}

#[test]
fn a_dry_run_asks_who_would_get_what_and_plans_nothing() {
    let plan = ["rollout", "plan", "--product", "th1", "--channel", "stable", "--release"];
    let plan = [&plan[..], &["1.1.0", "--group", "lab", "--risk", "3", "--dry-run"]].concat();
    let why = "It runs the image already.";
    let answer = json!({ "members": 1, "reached": 0, "sorts": [{ "why": why, "devices": 1 }] });
    let (run, sent) = ask("POST /rollouts/dry-run", (200, answer), &plan);
    assert_eq!(sent["plan"]["risk"], 3);
    assert!(run.code == 0 && run.stdout.contains(why), "{run:?}");
}

#[test]
fn it_is_told_in_words_why_a_device_has_no_update() {
    let summary = "Rollout r1 (1.1.0) decides. The rollout is paused: it offers nothing.";
    let answer = json!({ "device": "d1", "summary": summary, "rollouts": [] });
    let (run, _) = ask("GET /devices/d1/standing", (200, answer), &["rollout", "why", "d1"]);
    assert!(run.code == 0 && run.stdout.contains(summary), "{run:?}");
}

#[test]
fn counters_that_differ_from_the_evidence_are_a_failure() {
    let line = "GET /rollouts/r1/recount";
    for (equal, code) in [(true, 0), (false, 1)] {
        let answer =
            json!({ "equal": equal, "counts": {}, "recounted": {}, "reports": 4, "invalid": 0 });
        let (run, _) = ask(line, (200, answer.clone()), &["rollout", "recount", "r1"]);
        assert_eq!((run.code, run.stdout), (code, format!("{answer}\n")), "{}", run.stderr);
    }
}

/// A device as the server shows it, with its part in rollouts.
fn device(status: &str, rollouts: &[(&str, &str)]) -> Value {
    let deployments = rollouts.iter().map(|(id, state)| json!({ "rollout": id, "state": state }));
    let deployments: Vec<_> = deployments.collect();
    json!({ "id": "d", "status": status, "connected": true, "certificates": [{}, {}],
        "deployments": deployments })
}

#[test]
fn many_devices_are_revoked_and_each_says_what_ended() {
    let world = World::logged_in();
    let shown = device("active", &[("r1", "downloading"), ("r2", "healthy")]);
    world.server.on("GET /devices/d1", (200, shown));
    world
        .server
        .on("GET /devices/d2", (404, json!({ "code": "unknown_device", "detail": "None." })));
    world.server.on("GET /devices/d3", (200, device("revoked", &[])));
    for id in ["d1", "d3"] {
        world.server.on(&format!("POST /devices/{id}/revoke"), (200, json!({ "id": id })));
    }
    let run = world.run(&["device", "revoke", "d1", "d2", "d3"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("1 of 3 devices failed"), "{run:?}");
    let report: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        report[0],
        json!({ "device": "d1", "outcome": "revoked", "certificates": 2, "connected": true,
            "rollouts": ["r1"], "code": "", "next": "" })
    );
    assert_eq!(
        (&report[1]["outcome"], &report[1]["code"]),
        (&json!("failed"), &json!("unknown_device"))
    );
    assert_eq!(report[2]["outcome"], "revoked_before");
}

#[test]
fn the_reason_reaches_the_audit_log() {
    let world = World::logged_in();
    world.server.on("GET /devices/d1", (200, device("active", &[])));
    world.server.on("POST /devices/d1/revoke", (200, json!({ "id": "d1" })));
    let run = world.run(&["--reason", "stolen, ticket 42", "device", "revoke", "d1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(world.server.requests().pop().unwrap().reason, "stolen, ticket 42");
    assert_eq!(world.run(&["--reason", "two\nlines", "device", "revoke", "d1"]).code, 2);
}

#[test]
fn a_list_is_read_page_by_page() {
    let world = World::logged_in();
    let page = |ids: &[&str], next: Value| {
        let items: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        (200, json!({ "items": items, "next": next }))
    };
    world.server.on("GET /devices?product=th1&limit=200", page(&["a", "b"], json!("b")));
    world.server.on("GET /devices?product=th1&limit=200&after=b", page(&["c"], json!(null)));
    let run = world.run(&["device", "list", "--product", "th1"]);
    assert_eq!(run.stdout, "[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"c\"}]\n", "{}", run.stderr);
}

#[test]
fn a_list_that_is_cut_short_says_so() {
    let world = World::logged_in();
    let page = json!({ "items": [{ "id": "a" }], "next": "a" });
    world.server.on("GET /audit?limit=1", (200, page));
    let run = world.run(&["audit", "--limit", "1"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("there are more, use --limit"), "{}", run.stderr);
}

#[test]
fn a_server_that_turns_pages_in_a_circle_does_not_hold_us() {
    let world = World::logged_in();
    let page = || (200, json!({ "items": [{ "id": "a" }], "next": "a" }));
    world.server.on("GET /groups?limit=200", page()).on("GET /groups?limit=200&after=a", page());
    let run = world.run(&["group", "list"]);
    assert_eq!(run.stdout, "[{\"id\":\"a\"},{\"id\":\"a\"}]\n");
}

#[test]
fn a_refusal_shows_reason_code_and_field() {
    let problem = json!({
        "type": "about:blank", "title": "Conflict", "status": 409, "code": "rollout_not_paused",
        "detail": "Rollout r1 runs. Pause it first.", "field": "state",
    });
    let (run, _) = ask("POST /rollouts/r1/resume", (409, problem), &["rollout", "resume", "r1"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    let expected =
        "waxwing: Rollout r1 runs. Pause it first. [409 rollout_not_paused]\n  field: state\n";
    assert_eq!(run.stderr, expected);
}

#[test]
fn an_error_that_is_no_problem_document_still_shows_its_status() {
    let (run, _) = ask("GET /groups/g", (502, json!("bad gateway")), &["group", "show", "g"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, "waxwing: the server refused [502]\n"));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let long = json!("x".repeat(17 << 20));
    let (run, _) = ask("GET /groups/g", (200, long), &["group", "show", "g"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("longer than 16777216 bytes"), "{}", run.stderr);
}

#[test]
fn names_that_could_leave_their_path_never_reach_the_server() {
    for bad in ["../audit", "a/b", "a?b", ""] {
        assert_eq!(World::new().run(&["device", "show", bad]).code, 2, "{bad:?}");
    }
}
