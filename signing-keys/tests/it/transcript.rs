//! The transcript: what the real program writes down, and what it notices.

use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use waxwing_keys::transcript::{Outcome, Step, Transcript};
use waxwing_tuf::Time;

use crate::ceremony::{NEXT, ROTATE};
use crate::common::{Ceremony, ROOT, Ran, STABLE, WORDS, root_init};

const TRANSCRIPT: &str = "transcript.jsonl";

fn verify(ceremony: &Ceremony, more: &[&str]) -> Ran {
    ceremony.run(&[&["transcript", "verify"], more].concat())
}

/// The six words that `transcript verify` shows.
fn head(ceremony: &Ceremony) -> String {
    let shown = verify(ceremony, &[]).good();
    shown.trim_end().rsplit_once(": ").unwrap().1.to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    waxwing_wire::Digest(Sha256::digest(bytes).into()).to_string()
}

#[test]
fn every_step_that_writes_or_signs_leaves_a_line() {
    let ceremony = Ceremony::published();
    ceremony.run(&ROTATE).good();
    ceremony.run(&["check", ROOT]).good();
    ceremony.run(&["renew", "targets", "--dir", "acme-th1"]).good();
    let new = ["key", "new", "-o", "erin.key", "--passphrase-fd", "0"];
    ceremony.run_with(&new, &format!("{WORDS}\n")).good();
    let lines = ceremony.transcript();
    let commands: Vec<_> = lines.iter().map(|line| line["command"].as_str().unwrap()).collect();
    let expected = [
        "root init",
        "sign",
        "sign",
        "delegate",
        "release add",
        "sign",
        "sign",
        "sign",
        "sign",
        "publish",
        "root rotate",
        "renew",
        "key new",
    ];
    assert_eq!(commands, expected);
    assert!(verify(&ceremony, &[]).good().starts_with("13 lines, none changed"));
}

#[test]
fn a_line_says_who_signed_what_with_which_key() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    let before = ceremony.bytes(ROOT);
    let args = ["--by", "Alice", "sign", ROOT, "--key", "alice.key", "--yes"];
    let args = [&args[..], &["--passphrase-fd", "0"]].concat();
    ceremony.run_with(&args, &format!("{WORDS}\n")).good();
    let line = ceremony.transcript().pop().unwrap();
    assert_eq!((&line["by"], &line["outcome"]), (&Value::from("Alice"), &Value::from("done")));
    let file = &line["files"][0];
    assert_eq!(file["path"], ROOT);
    assert_eq!(file["before"], sha256(&before));
    assert_eq!(file["after"], sha256(&ceremony.bytes(ROOT)));
    assert_eq!(line["files"].as_array().unwrap().len(), 1);
    let public: Value = serde_json::from_slice(&ceremony.bytes("alice.pub.json")).unwrap();
    assert_eq!(line["keys"][0]["fingerprint"], public["fingerprint"]);
    assert_eq!(line["keys"][0]["use"], "signed");
    let shown = ceremony.run(&["transcript", "show"]).good();
    assert!(shown.contains("sign  by Alice"), "{shown}");
    assert!(shown.contains(&format!("~ {ROOT}")), "{shown}");
}

#[test]
fn what_is_refused_leaves_no_line() {
    let ceremony = Ceremony::new();
    ceremony.sign(ROOT, "alice").refused("cannot read");
    assert!(!ceremony.path(TRANSCRIPT).exists());
    ceremony.run(&root_init("image/acme-th1", ROOT)).good();
    ceremony.sign(ROOT, "dave").refused("this key may not sign");
    ceremony.run(&root_init("image/acme-th1", ROOT)).refused("exists already");
    assert_eq!(ceremony.transcript().len(), 1);
}

#[test]
fn a_failed_step_that_changed_something_says_so() {
    let ceremony = Ceremony::signed();
    let args =
        ["--server", "https://127.0.0.1:1", "--server-ca", "ca.pem", "--token-file", "token"];
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    ceremony.write("ca.pem", cert.cert.pem());
    ceremony.write("token", "wxa_0");
    ceremony.publish(&args).refused("the server could not be reached");
    let line = ceremony.transcript().pop().unwrap();
    assert_eq!((&line["command"], &line["outcome"]), (&"publish".into(), &"failed".into()));
    assert!(shown_failed(&ceremony));
}

fn shown_failed(ceremony: &Ceremony) -> bool {
    ceremony.run(&["transcript", "show"]).good().contains("publish, which failed")
}

#[test]
fn a_changed_dropped_or_inserted_line_is_found_and_stops_the_ceremony() {
    let ceremony = Ceremony::signed();
    let good = ceremony.text(TRANSCRIPT);
    let all: Vec<_> = good.lines().collect();
    let [first, second, third] = [all[0], all[1], all[2]];
    let rest = all[3..].join("\n");
    let by = second.replace("\"by\":\"", "\"by\":\"Mallory, not ");
    for (bad, line) in [
        (format!("{first}\n{by}\n{third}\n{rest}\n"), 3),
        (format!("{first}\n{third}\n{rest}\n"), 2),
        (format!("{second}\n{third}\n{rest}\n"), 1),
        (format!("{first}\n{second}\n{second}\n{third}\n{rest}\n"), 3),
        (format!("{first}\n{third}\n{second}\n{rest}\n"), 2),
        (format!("{first}\n\n{second}\n{third}\n{rest}\n"), 2),
        (format!("{first}\nno JSON\n{third}\n{rest}\n"), 2),
    ] {
        ceremony.write(TRANSCRIPT, &bad);
        let reason = format!("line {line} of");
        verify(&ceremony, &[]).refused(&reason);
        let before = ceremony.bytes(STABLE);
        ceremony.run(&["renew", "acme-th1-stable", "--dir", "acme-th1"]).refused(&reason);
        assert_eq!(ceremony.bytes(STABLE), before);
    }
    ceremony.write(TRANSCRIPT, &good);
    verify(&ceremony, &[]).good();
}

#[test]
fn a_line_that_a_power_cut_left_unfinished_is_named() {
    let ceremony = Ceremony::signed();
    let good = ceremony.text(TRANSCRIPT);
    let count = good.lines().count();
    ceremony.write(TRANSCRIPT, &good[..good.len() - 10]);
    verify(&ceremony, &[]).refused(&format!("line {count} of"));
    ceremony.write(TRANSCRIPT, good.trim_end());
    verify(&ceremony, &[]).refused("is not complete");
}

#[test]
fn lines_cut_off_or_added_at_the_end_do_not_match_the_words_on_paper() {
    let ceremony = Ceremony::signed();
    let words = head(&ceremony);
    let good = ceremony.text(TRANSCRIPT);
    let spoken = words.replace(' ', "  ");
    verify(&ceremony, &["--head", &spoken]).good();
    let (cut, _) = good.trim_end().rsplit_once('\n').unwrap();
    ceremony.write(TRANSCRIPT, format!("{cut}\n"));
    verify(&ceremony, &["--head", &words]).refused("not with the words given");
    ceremony.write(TRANSCRIPT, &good);
    ceremony.run(&["renew", "targets", "--dir", "acme-th1"]).good();
    verify(&ceremony, &["--head", &words]).refused("not with the words given");
    std::fs::remove_file(ceremony.path(TRANSCRIPT)).unwrap();
    verify(&ceremony, &["--head", &words]).refused("not with the words given");
}

#[test]
fn a_file_that_something_else_changed_is_named() {
    let ceremony = Ceremony::published();
    verify(&ceremony, &[]).good();
    let good = ceremony.bytes(STABLE);
    ceremony.edit(STABLE, "\"version\":1", "\"version\":1 ");
    verify(&ceremony, &[]).refused(STABLE);
    // Also after the program has written it again.
    ceremony.run(&["renew", "acme-th1-stable", "--dir", "acme-th1"]).good();
    verify(&ceremony, &[]).refused("something else has changed it");
    let other = Ceremony::published();
    std::fs::remove_file(other.path("acme-th1/metadata/1.targets.json")).unwrap();
    verify(&other, &[]).refused("acme-th1/metadata/1.targets.json is not as line");
    assert_ne!(good, ceremony.bytes(STABLE));
}

#[test]
fn no_secret_is_written_down() {
    let ceremony = Ceremony::published();
    let new = ["key", "new", "-o", "erin.key", "--passphrase-fd", "0"];
    ceremony.run_with(&new, &format!("{WORDS}\n")).good();
    ceremony.run(&ROTATE).good();
    ceremony.sign(NEXT, "alice").good();
    let text = ceremony.text(TRANSCRIPT);
    assert!(!text.contains(WORDS) && !text.contains("PRIVATE"), "{text}");
    let allowed = ["line", "at", "by", "tool", "command", "outcome", "keys", "files", "previous"];
    for line in ceremony.transcript() {
        for name in line.as_object().unwrap().keys() {
            assert!(allowed.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn steps_at_the_same_time_leave_a_line_each() {
    const THREADS: usize = 8;
    const STEPS: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let step = || Step {
        at: Time::from_seconds(0),
        by: "everybody".to_owned(),
        command: "renew",
        outcome: Outcome::Done,
        keys: Vec::new(),
        files: Vec::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..STEPS {
                    Transcript::append(folder.path(), step()).unwrap();
                }
            });
        }
    });
    assert_eq!(Transcript::read(folder.path()).unwrap().lines().len(), THREADS * STEPS);
}

/// `key expose` of alice's key.
const EXPOSE: [&str; 7] =
    ["key", "expose", "alice.key", "-o", "director.key", "--passphrase-fd", "0"];

#[test]
fn a_key_that_was_exposed_is_written_down_whatever_happens_afterwards() {
    let ceremony = Ceremony::new();
    let mut expose = ceremony.command();
    let ran = Ran::to_a_full_disk(expose.args(EXPOSE), &format!("{WORDS}\n"));
    ran.refused("cannot talk to you");
    assert!(ceremony.path("director.key").exists());
    let lines = ceremony.transcript();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["begun", "failed"]);
    assert!(lines.iter().all(|line| line["keys"][0]["use"] == "exposed"));
    let shown = ceremony.run(&["transcript", "show"]).good();
    assert!(shown.contains("key expose, about to  by"), "{shown}");
}

#[test]
fn a_key_is_not_exposed_where_that_cannot_be_written_down() {
    let ceremony = Ceremony::signed();
    let before = ceremony.text(TRANSCRIPT);
    // Files of one block may still be written, which the transcript is longer than.
    assert!(before.len() > 1024);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_waxwing-keys")).args(EXPOSE);
    shell.current_dir(ceremony.path(""));
    Ran::of(&mut shell, &format!("{WORDS}\n")).refused("transcript.jsonl");
    assert!(!ceremony.path("director.key").exists());
    // Nor is half a line left in the way of the next one.
    assert_eq!(ceremony.text(TRANSCRIPT), before);
    verify(&ceremony, &[]).good();
}

#[test]
fn a_file_that_came_by_mail_has_a_transcript_beside_it() {
    let ceremony = Ceremony::new();
    ceremony.run(&root_init("image/acme-th1", "mail/1.root.json")).good();
    ceremony.sign("mail/1.root.json", "alice").good();
    let shown = ceremony.run(&["transcript", "show", "--dir", "mail"]).good();
    assert!(shown.contains("~ 1.root.json"), "{shown}");
    verify(&ceremony, &["--dir", "mail"]).good();
    assert!(!ceremony.path(TRANSCRIPT).exists());
}
