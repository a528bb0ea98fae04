//! Whatever is done to a log, it is noticed.

use proptest::prelude::*;

use super::*;
use crate::chain::Row;

fn origin() -> Origin {
    Origin::new([3; 16])
}

fn row(id: i64) -> Row {
    Row {
        id,
        at: 1_795_167_000_000 + id,
        actor: "admin:first".to_owned(),
        action: "device_created".to_owned(),
        subject: format!("device/d-{id}"),
        reason: String::new(),
        detail: "{}".to_owned(),
    }
}

/// Links rows as the server does.
fn linked(rows: impl IntoIterator<Item = Row>) -> Vec<Link> {
    let mut head = Head::genesis(&origin());
    let links = rows.into_iter().map(|row| {
        head = head.after(&row);
        Link { row, hash: Some(head.hash) }
    });
    links.collect()
}

fn log(length: i64) -> Vec<Link> {
    linked((1..=length).map(row))
}

/// The checkpoint of the first `size` rows.
fn signed(log: &[Link], size: usize) -> Head {
    let last = size.checked_sub(1).map(|index| &log[index]);
    last.map_or_else(
        || Head::genesis(&origin()),
        |link| Head { size: link.row.id, hash: link.hash.unwrap() },
    )
}

fn audit(log: &[Link], signed: &[Head]) -> Result<Head, Finding> {
    let mut audit = Audit::new(&origin());
    signed.iter().try_for_each(|head| audit.expect(*head))?;
    log.iter().try_for_each(|link| audit.follow(link))?;
    audit.finish()
}

#[test]
fn a_log_that_nobody_touched_is_whole() {
    let log = log(5);
    let heads: Vec<_> = [0, 2, 5].map(|size| signed(&log, size)).into();
    assert_eq!(audit(&log, &heads), Ok(signed(&log, 5)));
    assert_eq!(audit(&[], &[]), Ok(Head::genesis(&origin())));
}

#[test]
fn the_first_bad_row_is_named() {
    let good = log(5);
    let mut changed = good.clone();
    changed[2].row.reason = "nothing to see".to_owned();
    assert_eq!(audit(&changed, &[]), Err(Finding::Changed { row: 3 }));
    let mut unhashed = good.clone();
    unhashed[1].hash = None;
    assert_eq!(audit(&unhashed, &[]), Err(Finding::Changed { row: 2 }));
    let mut removed = good.clone();
    removed.remove(1);
    assert_eq!(audit(&removed, &[]), Err(Finding::Misplaced { expected: 2, found: 3 }));
    let mut hidden = good.clone();
    hidden.insert(0, Link { row: row(-7), hash: None });
    assert_eq!(audit(&hidden, &[]), Err(Finding::Misplaced { expected: 1, found: -7 }));
}

#[test]
fn history_that_was_rewritten_is_noticed_by_whoever_kept_a_checkpoint() {
    let good = log(5);
    let (early, late) = (signed(&good, 2), signed(&good, 4));
    let mut rows: Vec<_> = good.iter().map(|link| link.row.clone()).collect();
    rows[2].actor = "admin:somebody-else".to_owned();
    let rewritten = linked(rows);
    assert!(audit(&rewritten, &[early]).is_ok(), "without a checkpoint nobody can tell");
    assert_eq!(audit(&rewritten, &[early, late]), Err(Finding::Rewritten { first: 3, last: 4 }));
    assert_eq!(audit(&good[..3], &[early, late]), Err(Finding::Truncated { rows: 3, signed: 4 }));
}

#[test]
fn a_server_that_shows_two_histories_is_caught_by_their_checkpoints() {
    let (ours, theirs) = (log(4), linked((1..=4).map(|id| Row { at: 0, ..row(id) })));
    let heads = [signed(&ours, 3), signed(&theirs, 3)];
    assert_eq!(audit(&ours, &heads), Err(Finding::Forked { size: 3 }));
    let other = Head { size: 0, hash: Digest([0; 32]) };
    assert_eq!(audit(&ours, &[other]), Err(Finding::Forked { size: 0 }));
}

#[test]
fn rows_of_another_log_do_not_fit() {
    let mut head = Head::genesis(&Origin::new([4; 16]));
    let foreign = (1..=2).map(|id| {
        head = head.after(&row(id));
        Link { row: row(id), hash: Some(head.hash) }
    });
    let foreign: Vec<_> = foreign.collect();
    assert_eq!(audit(&foreign, &[]), Err(Finding::Changed { row: 1 }));
}

#[test]
fn text_that_moves_from_one_field_to_the_next_is_another_row() {
    let previous = Digest([0; 32]);
    let one = Row { actor: "ab".to_owned(), action: "c".to_owned(), ..row(1) };
    let other = Row { actor: "a".to_owned(), action: "bc".to_owned(), ..row(1) };
    assert_ne!(one.hash_after(&previous), other.hash_after(&previous));
}

/// Computed from the documentation by another program. They never change.
#[test]
fn the_hash_of_a_row_is_the_documented_one() {
    let genesis = Head::genesis(&origin());
    let first = genesis.after(&row(1));
    let expected = [
        "512613708813491ac5a96a7db6a809508ff88b34c04cf861ee0b1c4f75715be4",
        "e144a5535a2579f2a5a3085e397e30e69bbfe06caaaa5bf2c5d4317f48d23b38",
    ];
    assert_eq!([genesis.hash.to_string(), first.hash.to_string()], expected);
}

#[derive(Clone, Debug)]
enum Edit {
    /// Changes one field of a row.
    Change(usize, u8),
    Delete(usize),
    /// Puts another row in, in front of this one.
    Insert(usize),
    Swap(usize, usize),
    Truncate(usize),
}

impl Edit {
    fn apply(&self, log: &mut Vec<Link>) {
        let length = log.len();
        match *self {
            Self::Change(at, field) => change(&mut log[at % length].row, field),
            Self::Delete(at) => drop(log.remove(at % length)),
            Self::Insert(at) => {
                let other = Link { row: row(99), hash: Some(Digest([9; 32])) };
                log.insert(at % (length + 1), other);
            }
            Self::Swap(one, other) => log.swap(one % length, other % length),
            Self::Truncate(to) => log.truncate(to % length),
        }
    }
}

fn change(row: &mut Row, field: u8) {
    match field % 7 {
        0 => row.at += 1,
        1 => row.actor.push('x'),
        2 => row.action.push('x'),
        3 => row.subject.push('x'),
        4 => row.reason.push('x'),
        5 => row.detail.push(' '),
        _ => row.id += 1,
    }
}

fn edits() -> impl Strategy<Value = Edit> {
    let at = || 0..64_usize;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, field)| Edit::Change(at, field)),
        at().prop_map(Edit::Delete),
        at().prop_map(Edit::Insert),
        (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        at().prop_map(Edit::Truncate),
    ]
}

/// What a clever attacker does afterwards: ids without gaps, and all hashes made anew.
fn cover_up(log: &[Link]) -> Vec<Link> {
    let rows = (1..).zip(log).map(|(id, link)| Row { id, ..link.row.clone() });
    linked(rows)
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_log_is_noticed(
        length in 1..20_i64,
        edits in prop::collection::vec(edits(), 1..4),
        covered_up in any::<bool>(),
    ) {
        let good = log(length);
        let newest = signed(&good, good.len());
        let mut bad = good.clone();
        for edit in edits {
            if !bad.is_empty() {
                edit.apply(&mut bad);
            }
        }
        if covered_up {
            bad = cover_up(&bad);
        }
        let longer = bad.len() > good.len() && bad[..good.len()] == good[..];
        // Rows that were properly appended are no edit.
        prop_assume!(bad != good && !(longer && covered_up));
        prop_assert!(audit(&bad, &[newest]).is_err(), "{bad:#?}");
    }
}
