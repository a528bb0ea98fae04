//! Entries survive the round trip, and foreign bytes are never an entry.

use proptest::prelude::*;

use waxwing_wire::command::Outcome;
use waxwing_wire::report::{Deferral, State};
use waxwing_wire::{ErrorCode, Report};

use super::*;

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn rollout() -> impl Strategy<Value = RolloutId> {
    "[a-z0-9][a-z0-9_-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn release() -> impl Strategy<Value = Version> {
    any::<(u16, u16, u16)>().prop_map(|(a, b, c)| Version::new(a.into(), b.into(), c.into()))
}

fn slots() -> impl Strategy<Value = Slots> {
    (0..16_u8, digest()).prop_map(|(new, old_sha256)| Slots {
        new: Slot::Ota(new),
        old: Slot::Factory,
        old_sha256,
    })
}

fn phase() -> impl Strategy<Value = Phase> {
    (slots(), any::<(u32, u32, u16)>()).prop_flat_map(|(slots, (first, second, code))| {
        let code = ErrorCode(code);
        prop::sample::select(vec![
            Phase::Fetching { stored: first },
            Phase::Activating(slots),
            Phase::Trial { slots, boots: first },
            Phase::Confirming(slots),
            Phase::Soaking { slots, resets: first, soaked_s: second },
            Phase::Rejecting { slots, code },
            Phase::Reverting { slots, code },
        ])
    })
}

fn update() -> impl Strategy<Value = Update> {
    (rollout(), release(), digest(), any::<[u32; 6]>(), phase()).prop_map(
        |(
            rollout,
            release,
            sha256,
            [length, security_version, secure_version, soak_s, attempt, repeats],
            phase,
        )| {
            let deployment = Deployment {
                rollout,
                release,
                sha256,
                length,
                security_version,
                secure_version,
                soak_s,
            };
            Update { deployment, attempt, repeats, phase }
        },
    )
}

fn unsent() -> impl Strategy<Value = UnsentReport> {
    let state = prop::sample::select(State::ALL.to_vec());
    (rollout(), release(), state, digest(), any::<(u64, u32, u16, u64)>()).prop_map(
        |(rollout, release, state, fw_sha256, (boot, number, code, measured_at))| UnsentReport {
            boot,
            number,
            report: Report {
                rollout,
                release,
                state,
                code: ErrorCode(code),
                fw_sha256,
                attempt: number,
                measured_at,
                deferred: None,
            },
        },
    )
}

fn put_off() -> impl Strategy<Value = PutOff> {
    (rollout(), digest(), any::<(u8, u64)>()).prop_map(|(rollout, sha256, (times, until))| PutOff {
        rollout,
        sha256,
        deferral: Deferral { times, until },
    })
}

fn record() -> impl Strategy<Value = Record> {
    let known = (digest(), release()).prop_map(|(sha256, release)| KnownImage { sha256, release });
    let failed = (digest(), any::<u32>()).prop_map(|(sha256, times)| FailedImage { sha256, times });
    let settled = (rollout(), digest()).prop_map(|(rollout, sha256)| Settled { rollout, sha256 });
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    (
        (any::<(u32, u64)>(), any::<(u64, u32, bool)>(), prop::option::of(outcome)),
        prop::option::of(update()),
        prop::option::of(settled),
        prop::collection::vec(known, 0..=KNOWN_IMAGES_MAX),
        prop::collection::vec(failed, 0..=FAILED_IMAGES_MAX),
        prop::collection::vec(unsent(), 0..=REPORTS_MAX),
        prop::option::of(put_off()),
    )
        .prop_map(|(numbers, update, settled, known, failed, reports, put_off)| {
            let ((security_version, command), (order, interval_s, told), answer) = numbers;
            Record {
                security_version,
                update,
                settled,
                known,
                failed,
                reports,
                command,
                put_off,
                order,
                answer,
                told,
                interval_s,
            }
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(record in record(), sequence in any::<u32>()) {
        let mut page = record.encode(sequence).unwrap();
        page.resize(4096, 0xff);
        prop_assert_eq!(Record::decode(&page), Ok((sequence, record)));
    }

    #[test]
    fn a_flipped_bit_is_noticed(record in record(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut page = record.encode(7).unwrap();
        let at = at.index(page.len());
        page[at] ^= 1_u8 << bit;
        prop_assert_eq!(Record::decode(&page), Err(InvalidRecord));
    }

    #[test]
    fn a_torn_record_is_noticed(record in record(), at in any::<prop::sample::Index>()) {
        let page = record.encode(7).unwrap();
        prop_assert_eq!(Record::decode(&page[..at.index(page.len())]), Err(InvalidRecord));
    }

    #[test]
    fn foreign_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
        bytes.splice(0..0, *b"WXJ\x01");
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn foreign_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&sealed(VERSION, &body));
    }

    #[test]
    fn fields_of_a_later_firmware_are_skipped(record in record(), later in any::<[u8; 9]>()) {
        let page = record.encode(7).unwrap();
        let body = [&page[HEADER_BYTES..page.len() - CRC_BYTES], &later].concat();
        prop_assert_eq!(Record::decode(&sealed(VERSION, &body)), Ok((7, record)));
    }
}

#[test]
fn a_record_of_an_earlier_firmware_gets_defaults() {
    let record = Record { security_version: 5, ..Record::default() };
    assert_eq!(Record::decode(&sealed(VERSION, &5_u32.to_le_bytes())), Ok((7, record)));
}

#[test]
fn a_record_of_another_version_reads_as_none() {
    assert_eq!(Record::decode(&sealed(VERSION + 1, &[0; 9])), Err(InvalidRecord));
}

/// What the files of `golden` say, which were not written by this code.
fn golden() -> Record {
    let (new, old) = (Digest([0xab; 32]), Digest([0xcd; 32]));
    let deployment = Deployment {
        rollout: "r-7".parse().unwrap(),
        release: Version::new(1, 4, 2),
        sha256: new,
        length: 1_048_576,
        security_version: 3,
        secure_version: 1,
        soak_s: 600,
    };
    let slots = Slots { new: Slot::Ota(1), old: Slot::Ota(0), old_sha256: old };
    let told = super::super::Told { running: new, attempt: 1, measured_at: 1_795_167_000 };
    let report = deployment.report(State::Booted, ErrorCode::NONE, told);
    Record {
        security_version: 3,
        update: Some(Update { phase: Phase::Trial { slots, boots: 1 }, ..Update::new(deployment) }),
        settled: Some(Settled { rollout: "r-6".parse().unwrap(), sha256: old }),
        known: vec![
            KnownImage { sha256: old, release: Version::new(1, 4, 1) },
            KnownImage { sha256: new, release: Version::new(1, 4, 2) },
        ],
        failed: vec![FailedImage { sha256: Digest([0xee; 32]), times: 2 }],
        reports: vec![UnsentReport { boot: 0x0102_0304_0506_0708, number: 2, report }],
        command: 42,
        put_off: Some(PutOff {
            rollout: "r-7".parse().unwrap(),
            sha256: new,
            deferral: Deferral { times: 2, until: 1_795_170_600 },
        }),
        order: 1_795_167_000_123,
        answer: Some(Outcome::Interrupted),
        told: false,
        interval_s: 600,
    }
}

#[test]
fn what_firmware_in_the_field_wrote_is_read_and_written_byte_for_byte() {
    let before = Record { order: 0, answer: None, interval_s: 0, ..golden() };
    let first = include_bytes!("../golden/version_1.bin");
    assert_eq!(Record::decode(first), Ok((17, Record { put_off: None, ..before.clone() })));
    let second = include_bytes!("../golden/put_off.bin");
    assert_eq!(Record::decode(second), Ok((17, before)));
    let file = include_bytes!("../golden/order.bin");
    assert_eq!(Record::decode(file), Ok((17, golden())));
    assert_eq!(golden().encode(17).unwrap(), file);
}

#[test]
fn what_a_user_put_off_is_no_part_of_a_report_for_it_is_said_anew_after_a_reset() {
    let mut record = golden();
    let mut deferral = record.reports[0].clone();
    deferral.report.deferred = Some(Deferral { times: 1, until: 7 });
    record.reports.insert(0, deferral);
    assert_eq!(Record::decode(&record.encode(17).unwrap()), Ok((17, golden())));
}

/// A phase, a state of a report and a field that this firmware does not know: it went back to the slot
/// of the one before, or another one left that behind.
#[test]
fn of_what_the_next_firmware_writes_everything_known_is_read() {
    let file = include_bytes!("../golden/later.bin");
    assert_eq!(Record::decode(file), Ok((17, Record { update: None, ..golden() })));
}

#[test]
fn the_fullest_record_fits() {
    let long = "x".repeat(64);
    let rollout: RolloutId = long.parse().unwrap();
    let release = Version::parse(&format!("1.2.3-{}", "y".repeat(RELEASE_BYTES_MAX - 6))).unwrap();
    let sha256 = Digest([0xff; 32]);
    let deployment = Deployment {
        rollout: rollout.clone(),
        release: release.clone(),
        sha256,
        length: 0,
        security_version: 0,
        secure_version: 0,
        soak_s: 0,
    };
    let slots = Slots { new: Slot::Ota(1), old: Slot::Ota(0), old_sha256: sha256 };
    let told = super::super::Told { running: sha256, attempt: 1, measured_at: 0 };
    let report = deployment.report(State::Healthy, ErrorCode::NONE, told);
    let record = Record {
        security_version: 0,
        settled: Some(Settled::of(&deployment)),
        update: Some(Update { phase: Phase::Activating(slots), ..Update::new(deployment) }),
        known: vec![KnownImage { sha256, release }; KNOWN_IMAGES_MAX],
        failed: vec![FailedImage { sha256, times: 1 }; FAILED_IMAGES_MAX],
        reports: vec![UnsentReport { boot: 0, number: 0, report }; REPORTS_MAX],
        command: 0,
        put_off: Some(PutOff { rollout, sha256, deferral: Deferral { times: 1, until: 0 } }),
        order: 1,
        answer: Some(Outcome::Done),
        told: true,
        interval_s: 1,
    };
    assert!(record.encode(1).is_ok());
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
}

fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut page = b"WXJ".to_vec();
    page.push(version);
    page.extend(7_u32.to_le_bytes());
    page.extend(u16::try_from(body.len()).unwrap().to_le_bytes());
    page.extend(body);
    page.extend(crc32(&page).to_le_bytes());
    page
}
