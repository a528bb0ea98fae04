//! The chain in the database: never forked, never lost, and made once for what was there before.

use std::path::Path;

use serde_json::json;
use sqlx::Executor as _;
use waxwing_audit::{Audit, Finding};

use super::*;
use crate::testing::NOW_MS;

async fn open(folder: &Path) -> Store {
    Store::open(&folder.join("waxwing.db")).await.unwrap()
}

fn entry(subject: &str) -> Entry {
    Entry {
        at: NOW_MS,
        actor: "admin:first".to_owned(),
        action: Action::DeviceCreated,
        subject: subject.to_owned(),
        reason: "ticket 7, 盗難".to_owned(),
        detail: json!({"tags": {"site": "lab"}}),
    }
}

async fn write(store: &Store, subject: &str) {
    let mut change = store.begin().await.unwrap();
    add(change.connection(), &entry(subject)).await.unwrap();
    drop(change.commit().await.unwrap());
}

async fn tamper(store: &Store, statement: &'static str) {
    let mut change = store.begin().await.unwrap();
    change.connection().execute(statement).await.unwrap();
    drop(change.commit().await.unwrap());
}

async fn audit(store: &Store) -> Result<Head, Finding> {
    let mut reader = store.reader().await.unwrap();
    let log = log(&mut reader).await.unwrap().unwrap();
    let mut audit = Audit::new(&log.origin);
    audit.expect(log.head)?;
    for link in links(&mut reader, None, 1000).await.unwrap() {
        audit.follow(&link)?;
    }
    audit.finish()
}

#[tokio::test]
async fn many_writers_at_once_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let writers = (0..40).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { write(&store, &format!("device/d-{n}")).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(audit(&store).await.map(|head| head.size), Ok(40));
}

#[tokio::test]
async fn a_change_that_is_not_made_leaves_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    write(&store, "device/d-1").await;
    let mut change = store.begin().await.unwrap();
    add(change.connection(), &entry("device/d-2")).await.unwrap();
    drop(change);
    write(&store, "device/d-3").await;
    let store = open(folder.path()).await;
    assert_eq!(audit(&store).await.map(|head| head.size), Ok(2));
}

/// As a server left it that knew no chain.
#[tokio::test]
async fn the_rows_of_an_older_server_are_chained_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..3 {
        write(&store, &format!("device/d-{n}")).await;
    }
    tamper(&store, "UPDATE audit SET hash = NULL; UPDATE audit_log SET size = 0, hash = ''").await;
    store.close().await;
    let store = open(folder.path()).await;
    let head = audit(&store).await;
    assert_eq!(head.map(|head| head.size), Ok(3));
    store.close().await;
    assert_eq!(audit(&open(folder.path()).await).await, head);
}

#[tokio::test]
async fn whatever_was_done_to_the_log_is_found_and_new_rows_are_still_written() {
    let hostile = [
        ("UPDATE audit SET actor = 'admin:other' WHERE id = 2", Finding::Changed { row: 2 }),
        ("UPDATE audit SET detail = detail || ' ' WHERE id = 1", Finding::Changed { row: 1 }),
        ("UPDATE audit SET reason = CAST(x'ff' AS TEXT) WHERE id = 3", Finding::Changed { row: 3 }),
        ("UPDATE audit SET action = 'nothing' WHERE id = 3", Finding::Changed { row: 3 }),
        ("UPDATE audit SET at = -1 WHERE id = 1", Finding::Changed { row: 1 }),
        ("UPDATE audit SET hash = NULL", Finding::Changed { row: 1 }),
        ("DELETE FROM audit WHERE id = 2", Finding::Misplaced { expected: 2, found: 3 }),
        (
            "INSERT INTO audit VALUES (-9, 0, 'a', 'b', 'c', '', '{}', NULL)",
            Finding::Misplaced { expected: 1, found: -9 },
        ),
        (
            "UPDATE audit SET subject = (SELECT subject FROM audit WHERE id = 1) WHERE id = 2",
            Finding::Changed { row: 2 },
        ),
        ("DELETE FROM audit WHERE id > 1", Finding::Truncated { rows: 1, signed: 3 }),
        ("DELETE FROM audit", Finding::Truncated { rows: 0, signed: 3 }),
    ];
    for (statement, finding) in hostile {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        for n in 0..3 {
            write(&store, &format!("device/d-{n}")).await;
        }
        tamper(&store, statement).await;
        assert_eq!(audit(&store).await, Err(finding), "{statement}");
        write(&store, "device/after").await;
        let mut reader = store.reader().await.unwrap();
        let last = links(&mut reader, Some(3), 10).await.unwrap();
        assert_eq!(last.len(), 1, "{statement}");
        assert_eq!(last[0].row.subject, "device/after");
        assert!(audit(&store).await.is_err(), "{statement}: not healed by a new row");
    }
}

#[tokio::test]
async fn a_log_without_its_end_is_still_written() {
    for statement in ["DELETE FROM audit_log", "UPDATE audit_log SET hash = 'none', origin = ''"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        write(&store, "device/d-1").await;
        tamper(&store, statement).await;
        write(&store, "device/d-2").await;
        let mut reader = store.reader().await.unwrap();
        assert_eq!(links(&mut reader, None, 10).await.unwrap().len(), 2);
    }
}
