//! What `waxwing doctor` believes, what it remembers, and when it fails.

use serde_json::{Value, json};
use waxwing_audit::{Checkpoint, Head, Link, Note, Origin, Row};
use waxwing_tuf::Time;
use waxwing_tuf::author::{Ed25519Signer, SignedFile, Signer as _};

use crate::world::{Run, World};

fn key(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(&[seed; 32]).unwrap()
}

/// The key of the Director's root.
const CEREMONY: u8 = 1;
/// Its online key.
const ONLINE: u8 = 2;

fn root(version: u64, online: u8) -> Value {
    root_of("director", version, online)
}

/// A root that lets `online` sign everything but the root.
pub(crate) fn root_of(repository: &str, version: u64, online: u8) -> Value {
    let keys = [CEREMONY, online].map(|seed| {
        let public = key(seed).public().public_text();
        let scheme =
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
        (key(seed).key_id().to_owned(), scheme)
    });
    let role = |seed| json!({"keyids": [key(seed).key_id()], "threshold": 1});
    let signed = json!({
        "_type": "root", "consistent_snapshot": true, "expires": "2027-01-01T00:00:00Z",
        "keys": keys.into_iter().collect::<serde_json::Map<_, _>>(), "repo": repository,
        "roles": {
            "root": role(CEREMONY), "snapshot": role(online), "targets": role(online),
            "timestamp": role(online),
        },
        "spec_version": "1.0.34", "version": version,
    });
    let file = json!({"signatures": [], "signed": signed}).to_string();
    let mut file = SignedFile::parse(file.as_bytes()).unwrap();
    file.sign(&key(CEREMONY)).unwrap();
    serde_json::from_slice(&file.to_bytes().unwrap()).unwrap()
}

/// A log as the server shows it.
struct Log {
    origin: Origin,
    links: Vec<Link>,
}

impl Log {
    fn new(actors: &[&str]) -> Self {
        let origin = Origin::new([3; 16]);
        let mut head = Head::genesis(&origin);
        let links = (1..).zip(actors).map(|(id, actor)| {
            let row = Row {
                id,
                at: 1_795_167_000_000,
                actor: (*actor).to_owned(),
                action: "device_created".to_owned(),
                subject: format!("device/d-{id}"),
                reason: String::new(),
                detail: "{}".to_owned(),
            };
            head = head.after(&row);
            Link { row, hash: Some(head.hash) }
        });
        let links = links.collect();
        Self { origin, links }
    }

    fn head(&self, size: usize) -> Head {
        match size.checked_sub(1).map(|index| &self.links[index]) {
            None => Head::genesis(&self.origin),
            Some(link) => Head { size: link.row.id, hash: link.hash.unwrap() },
        }
    }

    fn note(&self, size: usize, signer: u8) -> String {
        let at = Time::from_seconds(1_795_167_000);
        let checkpoint = Checkpoint { origin: self.origin.clone(), head: self.head(size), at };
        let signature = key(signer).sign(checkpoint.to_text().as_bytes()).unwrap();
        Note::new(checkpoint, key(signer).public(), signature).to_text()
    }

    /// Signed after every row so far.
    fn notes(&self, signer: u8) -> Vec<String> {
        (1..=self.links.len()).map(|size| self.note(size, signer)).collect()
    }
}

fn ok(items: &[Value]) -> (u16, Value) {
    (200, json!({"items": items, "next": null}))
}

/// Shows a log, what was signed about it, and the Director's roots.
fn show(world: &World, log: &Log, notes: &[String], roots: &[Value]) {
    let rows: Vec<_> = log.links.iter().map(|link| serde_json::to_value(link).unwrap()).collect();
    let notes = (1..).zip(notes).map(|(id, note): (i64, _)| json!({"id": id, "note": note}));
    let notes: Vec<_> = notes.collect();
    let newest = notes.last().unwrap().clone();
    world.server.replace("POST /audit/checkpoints", (200, newest));
    world.server.replace("GET /audit/checkpoints?limit=200", ok(&notes));
    world.server.replace("GET /audit/rows?limit=200", ok(&rows));
    for (version, root) in (1..).zip(roots) {
        world.server.replace(&format!("GET /director/roots/{version}"), (200, root.clone()));
    }
    let beyond = format!("GET /director/roots/{}", roots.len() + 1);
    world.server.replace(&beyond, (404, json!({"code": "unknown_root"})));
}

fn doctor(world: &World, more: &[&str]) -> Run {
    world.run(&[&["doctor", "audit"], more].concat())
}

#[track_caller]
fn alarm(run: &Run, words: &str) {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains(r#""status":"failed""#) && run.stdout.contains(words), "{run:?}");
}

fn world() -> (World, Log) {
    let (world, log) = (World::logged_in(), Log::new(&["a", "b", "c", "d"]));
    show(&world, &log, &log.notes(ONLINE), &[root(1, ONLINE)]);
    (world, log)
}

#[test]
fn a_log_that_nobody_touched_is_whole_the_first_time_and_the_next() {
    let (world, _) = world();
    for first in [true, false] {
        let run = doctor(&world, &[]);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stdout.contains("4 rows are as they were written"), "{run:?}");
        assert_eq!(run.stdout.contains("at first sight"), first, "{run:?}");
    }
}

#[test]
fn a_changed_row_is_named() {
    let (world, mut log) = world();
    log.links[2].row.actor = "x".to_owned();
    show(&world, &log, &log.notes(ONLINE), &[root(1, ONLINE)]);
    let run = doctor(&world, &[]);
    alarm(&run, "row 3 or its hash was changed");
    assert!(run.stdout.contains(r#""row":3"#), "{run:?}");
}

#[test]
fn history_that_was_rewritten_and_signed_anew_is_noticed_by_whoever_looked_before() {
    let (world, _) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    let rewritten = Log::new(&["a", "x", "c", "d", "e"]);
    show(&world, &rewritten, &rewritten.notes(ONLINE), &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "two signed checkpoints contradict each other about row 4");
    let silent = [rewritten.note(5, ONLINE)];
    show(&world, &rewritten, &silent, &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "a row between 1 and 4 was changed");
    assert_eq!(doctor(&world, &["--forget"]).code, 0, "whoever forgets believes anything");
}

#[test]
fn rows_removed_at_the_end_are_missed_by_whoever_looked_before() {
    let (world, _) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    let shorter = Log::new(&["a", "b"]);
    show(&world, &shorter, &shorter.notes(ONLINE), &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "the log ends with row 2, but 4 rows were signed");
    let world = World::logged_in();
    let log = Log::new(&["a", "b", "c", "d"]);
    show(&world, &shorter, &log.notes(ONLINE), &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "the log ends with row 2, but 4 rows were signed");
}

#[test]
fn a_log_that_grows_and_is_signed_while_we_look_is_whole() {
    let (world, log) = world();
    let longer = Log::new(&["a", "b", "c", "d", "e", "f"]);
    assert_eq!(log.note(4, ONLINE), longer.note(4, ONLINE), "the same log");
    show(&world, &longer, &longer.notes(ONLINE), &[root(1, ONLINE)]);
    let newest = json!({"id": 4, "note": log.note(4, ONLINE)});
    world.server.replace("POST /audit/checkpoints", (200, newest));
    let pages = longer.links.chunks(4).map(|rows| serde_json::to_value(rows).unwrap());
    let pages: Vec<_> = pages.collect();
    let page = |items: &Value, next: Value| (200, json!({"items": items, "next": next}));
    world.server.replace("GET /audit/rows?limit=200", page(&pages[0], json!("4")));
    world.server.replace("GET /audit/rows?limit=200&after=4", page(&pages[1], json!(null)));
    let run = doctor(&world, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("6 rows are as they were written"), "{run:?}");
}

#[test]
fn whoever_forgets_remembers_until_what_is_shown_is_believed() {
    let (world, _) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    let shorter = Log::new(&["a", "b"]);
    show(&world, &shorter, &shorter.notes(77), &[root(1, ONLINE)]);
    alarm(&doctor(&world, &["--forget"]), "is not signed by a key");
    show(&world, &shorter, &shorter.notes(ONLINE), &[root(1, ONLINE)]);
    let missed = doctor(&world, &[]);
    alarm(&missed, "the log ends with row 2, but 4 rows were signed");
    assert!(
        missed.stdout.contains("if a backup was restored on purpose: `--forget`"),
        "{missed:?}"
    );
    assert_eq!(doctor(&world, &["--forget"]).code, 0);
    assert_eq!(doctor(&world, &[]).code, 0, "it is remembered from now on");
}

#[test]
fn a_server_that_turns_empty_pages_forever_does_not_hold_us() {
    let (world, _) = world();
    for line in ["GET /audit/rows?limit=200", "GET /audit/rows?limit=200&after=x"] {
        world.server.replace(line, (200, json!({"items": [], "next": "x"})));
    }
    alarm(&doctor(&world, &[]), "the log ends with row 0, but 4 rows were signed");
}

#[test]
fn another_log_in_its_place_is_no_continuation() {
    let (world, mut log) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    log.origin = Origin::new([4; 16]);
    show(&world, &log, &[log.note(0, ONLINE)], &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "another log than the one seen before");
}

#[test]
fn only_keys_of_the_directors_root_count() {
    let (world, log) = world();
    show(&world, &log, &log.notes(77), &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "checkpoint 4 is not signed by a key");
    let mut notes = log.notes(ONLINE);
    notes[1] = log.note(2, 77);
    show(&world, &log, &notes, &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "checkpoint 2 is not signed by a key");
    notes[1] = "rubbish".to_owned();
    show(&world, &log, &notes, &[root(1, ONLINE)]);
    alarm(&doctor(&world, &[]), "checkpoint 2 is no signed checkpoint");
}

#[test]
fn after_a_rotation_the_new_key_signs_and_what_the_old_one_signed_still_counts() {
    let (world, log) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    let roots = [root(1, ONLINE), root(2, 9)];
    let mut notes = log.notes(ONLINE);
    show(&world, &log, &notes, &roots);
    alarm(&doctor(&world, &[]), "checkpoint 4 is not signed by a key");
    notes.push(log.note(4, 9));
    show(&world, &log, &notes, &roots);
    let run = doctor(&world, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    // The old root alone is shown again, by somebody who has the old key.
    show(&world, &log, &log.notes(ONLINE), &roots[..1]);
    alarm(&doctor(&world, &[]), "does not show root 2 of the Director any more");
}

#[test]
fn the_root_of_the_ceremony_outweighs_what_the_server_shows() {
    let (world, log) = world();
    let ours = world.file("1.root.json", &root(1, ONLINE).to_string());
    let option = ["--director-root", ours.to_str().unwrap()];
    let run = doctor(&world, &option);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stdout.contains("at first sight"), "{run:?}");
    show(&world, &log, &log.notes(77), &[root(1, 77)]);
    alarm(&doctor(&world, &[]), "root 1 of the Director is not the one that is known");
    alarm(&doctor(&world, &["--forget", option[0], option[1]]), "is not the one that is known");
    let mut unsigned = root(1, ONLINE);
    unsigned["signatures"] = json!([]);
    show(&world, &log, &log.notes(ONLINE), &[unsigned]);
    alarm(&doctor(&world, &[]), "root 1 of the Director is not believed");
    show(&world, &log, &log.notes(ONLINE), &[]);
    alarm(&doctor(&world, &[]), "the Director has no root yet");
}

#[test]
fn what_was_seen_before_is_not_lost_by_accident() {
    let (world, _) = world();
    assert_eq!(doctor(&world, &[]).code, 0);
    let memory = world.home.path().join("state/waxwing/audit/default.json");
    std::fs::write(&memory, "{").unwrap();
    assert_eq!(doctor(&world, &[]).code, 2);
    assert_eq!(doctor(&world, &["--forget"]).code, 0);
}

fn expiries(level: &str, seconds_left: i64) -> (u16, Value) {
    let item = json!({
        "subject": "image/th1/timestamp", "expires": "2026-12-01T00:00:00Z",
        "seconds_left": seconds_left, "level": level,
    });
    let devices = json!({"ok": 3, "notice": 0, "warning": 0, "critical": 0, "expired": 0});
    (200, json!({"items": [item], "device_certificates": devices}))
}

#[test]
fn what_expires_within_a_week_fails_and_what_expires_later_warns() {
    let cases = [
        ("ok", 0, "ok"),
        ("notice", 0, "warning"),
        ("warning", 0, "warning"),
        ("critical", 1, "failed"),
        ("expired", 1, "failed"),
    ];
    for (level, code, status) in cases {
        let world = World::logged_in();
        world.server.on("GET /expiries", expiries(level, 10 * 24 * 3600));
        let run = world.run(&["doctor", "expiries"]);
        assert_eq!(run.code, code, "{run:?}");
        let rows: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(rows[0]["status"], status, "{run:?}");
        assert_eq!(rows[0]["detail"], "expires 2026-12-01T00:00:00Z, in 10 days");
        assert_eq!(rows[0]["next"].is_string(), level != "ok");
    }
}

fn readiness(missing: &[&str], warnings: &[&str]) -> (u16, Value) {
    let ready = missing.is_empty();
    (200, json!({"ready": ready, "missing": missing, "warnings": warnings}))
}

fn recount(equal: bool, invalid: u64) -> (u16, Value) {
    let counts = json!({});
    let (reports, recounted) = (4, &counts);
    let answer = json!({
        "equal": equal, "counts": counts, "recounted": recounted, "reports": reports,
        "invalid": invalid,
    });
    (200, answer)
}

#[test]
fn all_checks_are_done_even_if_one_fails() {
    let (world, _) = world();
    world.server.on("GET /readiness", readiness(&[], &["audit log: row 7 was changed"]));
    world.server.on("GET /expiries", expiries("expired", -5));
    let kinds = ["running", "draft", "halted", "finished"];
    let rollouts =
        (1..).zip(kinds).map(|(n, state)| json!({"id": format!("r{n}"), "state": state}));
    world.server.on("GET /rollouts?limit=200", ok(&rollouts.collect::<Vec<_>>()));
    world.server.on("GET /rollouts/r1/recount", recount(true, 0));
    world.server.on("GET /rollouts/r3/recount", recount(true, 0));
    let run = world.run(&["doctor"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, "waxwing: 1 of the checks failed\n"));
    let rows: Value = serde_json::from_str(&run.stdout).unwrap();
    let status = |row: &Value| format!("{} {}", row["subject"], row["status"]).replace('"', "");
    let found: Vec<_> = rows.as_array().unwrap().iter().map(status).collect();
    let expected = [
        "readiness ok",
        "warning warning",
        "image/th1/timestamp failed",
        "certificates of devices ok",
        "rollout r1 ok",
        "rollout r3 ok",
        "audit log ok",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_server_that_cannot_serve_or_miscounts_fails() {
    let world = World::logged_in();
    world.server.on("GET /readiness", readiness(&["director_root", "images"], &[]));
    alarm(&world.run(&["doctor", "server"]), "for lack of director_root, images");
    world.server.on("GET /rollouts/r1/recount", recount(false, 0));
    alarm(&world.run(&["doctor", "rollout", "r1"]), "not what its 4 signed reports say");
    world.server.on("GET /rollouts/r2/recount", recount(true, 1));
    alarm(&world.run(&["doctor", "rollout", "r2"]), "1 of 4 reports do not verify any more");
    let mut world = world;
    world.server.kill();
    let run = world.run(&["doctor"]);
    alarm(&run, "cannot reach");
    assert_eq!(run.stdout.matches("status").count(), 1, "nothing else can be asked: {run:?}");
}
