//! `docs/protocol.md` shows what the code says: every vector on that page is made here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use semver::Version;
use waxwing_wire::bundle::{Kind, Writer};
use waxwing_wire::envelope::Header;
use waxwing_wire::report::State;
use waxwing_wire::{
    DeviceId, Digest, ErrorCode, Hardware, MessageId, Nonce, ProductId, Report, RolloutId, poll,
    topic,
};

const PAGE: &str = include_str!("../../../docs/protocol.md");

#[track_caller]
fn shown(vector: &str) {
    assert!(PAGE.lines().any(|line| line == vector), "docs/protocol.md does not show: {vector}");
}

#[test]
fn the_poll_is_as_documented() {
    let request = poll::Request {
        nonce: Nonce([1; 16]),
        product: ProductId::parse("acme-th1").unwrap(),
        hw: Hardware::parse("r2").unwrap(),
        fw: Version::new(1, 0, 0),
        fw_sha256: Digest([2; 32]),
        security_version: 3,
        have: BTreeMap::from([("d.root".into(), 1), ("i.timestamp".into(), 12)]),
        pins: None,
        out_s: None,
        reports: Vec::new(),
    };
    shown(&request.encode());
}

#[test]
fn the_bundle_is_as_documented() {
    let mut writer = Writer::new();
    writer.push(Kind::Director, "timestamp.json", b"{}").unwrap();
    writer.push(Kind::Acknowledged, "m-1", b"").unwrap();
    let mut hex = String::new();
    writer.finish(60).iter().try_for_each(|byte| write!(hex, "{byte:02x}")).unwrap();
    let page = PAGE.lines().map(|line| line.replace(' ', ""));
    assert!(page.into_iter().any(|line| line == hex), "docs/protocol.md does not show: {hex}");
}

#[test]
fn the_report_is_as_documented() {
    let report = Report {
        rollout: RolloutId::parse("r-1").unwrap(),
        release: Version::new(1, 4, 2),
        state: State::RolledBack,
        code: ErrorCode::SELF_TEST,
        fw_sha256: Digest([0xab; 32]),
        attempt: 1,
        measured_at: 1_795_167_000,
        deferred: None,
    };
    shown(&report.encode());
    for state in State::ALL {
        assert!(PAGE.contains(state.as_str()));
    }
}

#[test]
fn the_envelope_is_as_documented() {
    let header = Header {
        device_id: DeviceId::parse("d-1").unwrap(),
        timestamp: 1_795_167_000,
        message_id: MessageId::parse("m-7").unwrap(),
    };
    shown(&header.seal(r#"{"t":21}"#, "3006"));
    shown(&header.signed_prefix(topic::Kind::Report).replace('\n', "\\n"));
}

#[test]
fn every_error_code_is_documented() {
    for (code, name, meaning) in ErrorCode::ALL {
        shown(&format!("| {} | `{name}` | {meaning} |", code.0));
    }
    let second_cell = |line: &'static str| line.split('|').nth(2);
    let rows = PAGE.lines().filter_map(second_cell).filter(|cell| cell.starts_with(" `"));
    assert_eq!(rows.count(), ErrorCode::ALL.len(), "the page names codes that do not exist");
}
