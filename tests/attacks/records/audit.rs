//! Row 54: somebody edits the audit log, with or without the server's help.

use std::fs;

use waxwing_e2e::world::World;

use crate::support::real::{doctor, log_of, tamper, world};

/// Everything forgotten that was signed, and every hash to be made anew by the server itself.
const COVER_UP: &str = "DELETE FROM audit_checkpoints; UPDATE audit SET hash = NULL; \
                        UPDATE audit_log SET size = 0, hash = ''";

#[track_caller]
fn alarm(world: &World, statement: &str, words: &str, row: i64) {
    let (code, verdicts) = doctor(world, &["audit"]);
    let verdict = &verdicts[0];
    assert_eq!((code, verdict["status"].as_str()), (1, Some("failed")), "{statement}: {verdict}");
    assert!(verdict["detail"].as_str().unwrap().contains(words), "{statement}: {verdict}");
    assert_eq!(verdict["row"], row, "{statement}: {verdict}");
}

#[test]
fn row_54_whatever_is_done_to_the_audit_log_is_found_by_the_doctor() {
    let (folder, mut world) = world();
    (1..=4).for_each(|n| drop(world.register(&format!("th1-{n}")).unwrap()));
    let (code, verdicts) = doctor(&world, &["audit"]);
    assert_eq!(code, 0, "{verdicts:?}");
    let rows = verdicts[0]["detail"].as_str().unwrap().split(' ').next().unwrap();
    let rows: i64 = rows.parse().unwrap();
    world.server.stop().unwrap();
    let database = world.server.data().join("waxwing.db");
    let backup = fs::read(&database).unwrap();

    let hostile = [
        ("UPDATE audit SET actor = 'admin:nobody' WHERE id = 3", "row 3 or its hash", 3),
        ("UPDATE audit SET at = at + 1 WHERE id = 5", "row 5 or its hash", 5),
        ("DELETE FROM audit WHERE id = 2", "row 2 is missing", 2),
        ("DELETE FROM audit WHERE id > 4", "the log ends with row 4", 5),
        (
            "UPDATE audit SET id = -1 WHERE id = 3; UPDATE audit SET id = 3 WHERE id = 4; \
             UPDATE audit SET id = 4 WHERE id = -1",
            "row 3 or its hash",
            3,
        ),
        ("UPDATE audit_checkpoints SET note = replace(note, ':', ';')", "checkpoint 1 is", 0),
    ];
    for (statement, words, row) in hostile {
        tamper(&world.server, statement);
        world.server.restart().unwrap();
        if row == 0 {
            // The last checkpoint is signed again; the damaged one is found all the same.
            let (code, verdicts) = doctor(&world, &["audit"]);
            let detail = verdicts[0]["detail"].as_str().unwrap();
            assert!(code == 1 && detail.contains(words), "{verdicts:?}");
        } else {
            alarm(&world, statement, words, row);
        }
        world.server.stop().unwrap();
        fs::write(&database, &backup).unwrap();
    }
    assert!(log_of(folder.path()).contains("the audit log is not as it was written"));

    // With the help of the server: it makes every hash anew and signs the result.
    let rewritten = [
        (
            "UPDATE audit SET actor = 'admin:nobody' WHERE id = 3",
            "two signed checkpoints contradict each other",
            rows,
        ),
        ("DELETE FROM audit WHERE id > 4", "the log ends with row 4", 5),
    ];
    for (statement, words, row) in rewritten {
        tamper(&world.server, &format!("{statement}; {COVER_UP}"));
        world.server.restart().unwrap();
        alarm(&world, statement, words, row);
        world.server.stop().unwrap();
        fs::write(&database, &backup).unwrap();
    }
    world.server.restart().unwrap();
    let (code, verdicts) = doctor(&world, &["audit"]);
    assert_eq!(code, 0, "as it was written again: {verdicts:?}");
}
