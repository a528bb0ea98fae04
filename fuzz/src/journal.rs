//! The journal: what another firmware wrote, or what flash made of it.

use core::time::Duration;

use waxwing_agent::journal::{RECORD_BYTES_MAX, Record};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{BootView, ResetReason, Slot, SlotState, slot_after};
use waxwing_agent::{Action, Agent, Event, Firmware, Seed};
use waxwing_wire::Digest;

/// A page as it is; and a body, behind a byte that says how the device booted, in a page with its
/// checksum made right. What is read is the same when it is written again, and no agent that starts
/// with it fetches anything before it has asked its server, or takes anything older than before.
pub fn check(bytes: &[u8]) {
    check_page(bytes);
    let Some((how, body)) = bytes.split_first() else { return };
    let Ok(length) = u16::try_from(body.len()) else { return };
    let mut page = b"WXJ\x01\x07\0\0\0".to_vec();
    page.extend(length.to_le_bytes());
    page.extend(body);
    page.extend(crc32(&page).to_le_bytes());
    if let Some(record) = check_page(&page) {
        check_start(*how, record);
    }
}

fn check_page(page: &[u8]) -> Option<Record> {
    let (sequence, record) = Record::decode(page).ok()?;
    assert_eq!(Record::sequence(page), Ok(sequence));
    // Longer texts than ours are read and not written.
    if let Ok(again) = record.encode(sequence) {
        assert!(again.len() <= RECORD_BYTES_MAX);
        assert_eq!(Record::decode(&again), Ok((sequence, record.clone())), "another record");
    }
    Some(record)
}

fn check_start(how: u8, record: Record) {
    let states = [
        SlotState::Blank,
        SlotState::New,
        SlotState::PendingVerify,
        SlotState::Valid,
        SlotState::Invalid,
        SlotState::Aborted,
        SlotState::Undefined,
    ];
    let running = Slot::Ota(how & 1);
    let view = BootView {
        running,
        running_state: states[usize::from(how >> 1) % states.len()],
        target: slot_after(running, 2),
        target_state: states[usize::from(how >> 4) % states.len()],
        reset: ResetReason::Watchdog,
        secure_version: 0,
    };
    let sha256 = Digest([how; 32]);
    let release = semver::Version::new(1, 0, 0);
    let firmware = Firmware { release, sha256, security_version: 1, secure_version: 1 };
    let floor = record.security_version;
    let (seed, policy) = (Seed { jitter: 1, boot: 1 }, Policy::DEVICE);
    let mut agent = Agent::boot(firmware, policy, record, view, seed, Duration::ZERO, 0);
    let mut action = agent.step(Duration::ZERO, Event::Tick);
    if action == Action::Save {
        action = agent.step(Duration::ZERO, Event::Done);
    }
    assert!(agent.security_version() >= floor, "the floor fell");
    // Going back to the old image, or keeping the new one for good, is what a journal may ask for.
    let is_update =
        matches!(action, Action::Open { .. } | Action::Recall { .. } | Action::Transfer { .. });
    assert!(!is_update, "{action:?} without a word of the server");
}

/// CRC-32 (IEEE 802.3), without the code under test.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    !crc
}
