//! The table of the design, and a test per row of our own, which has more of them.

use SlotState::{Aborted, Blank, Invalid, New, PendingVerify, Undefined, Valid};
use semver::Version;
use waxwing_wire::Digest;

use super::*;
use crate::journal::Deployment;
use crate::ports::{ResetReason, Slot, slot_after};

const NEW: Slot = Slot::Ota(1);
const OLD: Slot = Slot::Ota(0);
const SLOTS: Slots = Slots { new: NEW, old: OLD, old_sha256: Digest([0; 32]) };
const EVERY_STATE: [SlotState; 7] = [Aborted, Blank, Invalid, New, PendingVerify, Undefined, Valid];
const CODE: ErrorCode = ErrorCode::SELF_TEST;

/// What it is, the journal's phase, the running slot, states of its record and of the other, and what
/// they mean together.
type Row<'r> = (&'r str, Option<Phase>, Slot, &'r [SlotState], &'r [SlotState], Verdict);

/// The decision table at boot, as it was designed (device agent, 7.4), row by row.
#[test]
fn row_by_row_the_decision_table_of_the_design_at_boot() {
    let activating = Phase::Activating(SLOTS);
    let trial = |boots| Phase::Trial { slots: SLOTS, boots };
    let confirming = Phase::Confirming(SLOTS);
    let rejecting = Phase::Rejecting { slots: SLOTS, code: CODE };
    let again = Verdict::ActivateAgain;
    let begun = Verdict::Trial { slots: SLOTS, boots: 1 };
    let begun_again = Verdict::Trial { slots: SLOTS, boots: 2 };
    let unloadable = Verdict::Failed(ErrorCode::BOOT_REJECTED);
    let reset = Verdict::RolledBack(ErrorCode::BOOT_RESET);
    // Torn records read as BLANK, and are booted as UNDEFINED where they were readable.
    let software: [SlotState; 4] = [Blank, New, Undefined, Valid];
    let steady: [SlotState; 5] = [Aborted, Blank, Invalid, Undefined, Valid];
    let torn: &[SlotState] = &[Blank];
    let table: [Row<'_>; 18] = [
        ("none: steady", None, OLD, &steady, &EVERY_STATE, Verdict::Steady),
        ("none: foreign", None, OLD, &[PendingVerify], &EVERY_STATE, Verdict::TrialOfForeign),
        ("trial", Some(activating), NEW, &[PendingVerify], &EVERY_STATE, begun),
        ("trial", Some(trial(1)), NEW, &[PendingVerify], &EVERY_STATE, begun_again),
        ("software trial", Some(activating), NEW, &software, &EVERY_STATE, begun),
        ("software trial", Some(trial(1)), NEW, &software, &EVERY_STATE, begun_again),
        (
            "software trial, started too often",
            Some(trial(2)),
            NEW,
            &software,
            &EVERY_STATE,
            Verdict::Reject(SLOTS, ErrorCode::BOOT_RESET),
        ),
        ("never restarted", Some(activating), OLD, &[Valid], &[New], Verdict::Restart),
        ("cut in the boot loader", Some(activating), OLD, &[Valid], torn, again),
        ("cut, or reset, in a trial", Some(trial(1)), OLD, &[Valid], torn, reset),
        ("did not load", Some(activating), OLD, &[Valid], &[PendingVerify], unloadable),
        ("did not load", Some(trial(1)), OLD, &[Valid], &[PendingVerify], unloadable),
        ("reset in a trial", Some(trial(1)), OLD, &[Valid], &[Aborted], reset),
        (
            "gave itself up",
            Some(rejecting),
            OLD,
            &[Valid],
            &[Invalid, Blank],
            Verdict::RolledBack(CODE),
        ),
        ("confirm was cut", Some(confirming), OLD, &[Valid], &[Blank, Aborted], again),
        ("confirmed", Some(confirming), NEW, &[Valid], &EVERY_STATE, Verdict::Confirmed(SLOTS)),
        ("recovery", Some(activating), Slot::Factory, &steady, &EVERY_STATE, Verdict::Recovery),
        ("recovery", Some(trial(1)), Slot::Ota(2), &steady, &EVERY_STATE, Verdict::Recovery),
    ];
    for (name, phase, running, running_states, target_states, expected) in table {
        let update = phase.map(update);
        for (running_state, target_state) in running_states
            .iter()
            .flat_map(|one| target_states.iter().map(move |other| (*one, *other)))
        {
            let view = view(running, running_state, target_state);
            let verdict = decide(update.as_ref(), &view, &Policy::DEVICE);
            assert_eq!(verdict, expected, "{name}: {view:?}");
        }
    }
}

#[test]
fn without_an_update_only_an_image_that_nobody_confirmed_needs_proof() {
    for phase in [None, Some(Phase::Fetching { stored: 4096 })] {
        for state in EVERY_STATE {
            let expected = if matches!(state, New | PendingVerify) {
                Verdict::TrialOfForeign
            } else {
                Verdict::Steady
            };
            check(phase, NEW, state, EVERY_STATE, expected);
        }
    }
}

#[test]
fn a_new_image_that_runs_is_on_trial_whatever_the_records_say() {
    for state in EVERY_STATE {
        let trial = |boots| Verdict::Trial { slots: SLOTS, boots };
        check(Some(Phase::Activating(SLOTS)), NEW, state, EVERY_STATE, trial(1));
        check(Some(Phase::Trial { slots: SLOTS, boots: 1 }), NEW, state, EVERY_STATE, trial(2));
    }
}

#[test]
fn a_trial_that_is_started_a_third_time_is_rejected() {
    let back = Verdict::Reject(SLOTS, ErrorCode::BOOT_RESET);
    for state in EVERY_STATE {
        check(Some(Phase::Trial { slots: SLOTS, boots: 2 }), NEW, state, EVERY_STATE, back);
    }
}

#[test]
fn an_activation_that_was_never_started_is_started() {
    check(Some(Phase::Activating(SLOTS)), OLD, Valid, [New], Verdict::Restart);
    check(Some(Phase::Confirming(SLOTS)), OLD, Valid, [New], Verdict::Restart);
}

#[test]
fn an_activation_undone_by_a_power_cut_is_repeated() {
    let others = [Aborted, Blank, Invalid, Undefined, Valid];
    check(Some(Phase::Activating(SLOTS)), OLD, Valid, others, Verdict::ActivateAgain);
}

#[test]
fn an_image_the_boot_loader_does_not_start_failed() {
    let failed = Verdict::Failed(ErrorCode::BOOT_REJECTED);
    check(Some(Phase::Activating(SLOTS)), OLD, Valid, [PendingVerify], failed);
    let trial = Phase::Trial { slots: SLOTS, boots: 1 };
    check(Some(trial), OLD, Valid, [PendingVerify, New], failed);
}

#[test]
fn a_reset_during_the_trial_is_a_roll_back() {
    let trial = Phase::Trial { slots: SLOTS, boots: 1 };
    let back = Verdict::RolledBack(ErrorCode::BOOT_RESET);
    check(Some(trial), OLD, Valid, [Aborted, Blank, Invalid, Undefined, Valid], back);
}

#[test]
fn a_confirmation_counts_when_the_record_says_so() {
    let confirming = Some(Phase::Confirming(SLOTS));
    check(confirming, NEW, Valid, EVERY_STATE, Verdict::Confirmed(SLOTS));
    for state in [Aborted, Blank, Invalid, New, PendingVerify, Undefined] {
        check(confirming, NEW, state, EVERY_STATE, Verdict::Trial { slots: SLOTS, boots: 1 });
    }
    let others = [Aborted, Blank, Invalid, PendingVerify, Undefined, Valid];
    check(confirming, OLD, Valid, others, Verdict::ActivateAgain);
}

#[test]
fn only_unexplained_resets_count_while_an_image_is_watched() {
    let soaking = Phase::Soaking { slots: SLOTS, resets: 1, soaked_s: 9 };
    for (reset, resets) in [
        (ResetReason::PowerOn, 1),
        (ResetReason::Requested, 1),
        (ResetReason::Brownout, 2),
        (ResetReason::Crash, 2),
        (ResetReason::Unknown, 2),
        (ResetReason::Watchdog, 2),
    ] {
        let view = BootView { reset, ..view(NEW, Valid, Valid) };
        let expected = Verdict::Soak { slots: SLOTS, resets, soaked_s: 9 };
        assert_eq!(decide(Some(&update(soaking)), &view, &Policy::DEVICE), expected);
    }
}

#[test]
fn the_third_unexplained_reset_of_a_watched_image_goes_back() {
    let soaking = Phase::Soaking { slots: SLOTS, resets: 2, soaked_s: 0 };
    let view = BootView { reset: ResetReason::Watchdog, ..view(NEW, Valid, Valid) };
    let expected = Verdict::GoBack(SLOTS, ErrorCode::SOAK_RESETS);
    assert_eq!(decide(Some(&update(soaking)), &view, &Policy::DEVICE), expected);
}

#[test]
fn an_image_that_has_soaked_stays_whatever_the_resets() {
    let soaked = Phase::Soaking { slots: SLOTS, resets: 9, soaked_s: SOAKED_S };
    check(Some(soaked), NEW, Valid, EVERY_STATE, Verdict::Soaked(SLOTS));
    check(Some(soaked), OLD, Valid, EVERY_STATE, Verdict::RolledBack(ErrorCode::BOOT_REJECTED));
}

#[test]
fn a_watched_image_that_no_longer_starts_was_rolled_back() {
    let soaking = Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 };
    let back = Verdict::RolledBack(ErrorCode::BOOT_REJECTED);
    check(Some(soaking), OLD, Valid, EVERY_STATE, back);
}

#[test]
fn a_rejected_image_is_rolled_back_for_its_own_reason() {
    for state in EVERY_STATE {
        let rejecting = Phase::Rejecting { slots: SLOTS, code: CODE };
        check(Some(rejecting), OLD, state, EVERY_STATE, Verdict::RolledBack(CODE));
        check(Some(rejecting), NEW, state, EVERY_STATE, Verdict::Reject(SLOTS, CODE));
        let reverting = Phase::Reverting { slots: SLOTS, code: CODE };
        check(Some(reverting), OLD, state, EVERY_STATE, Verdict::RolledBack(CODE));
    }
}

#[test]
fn going_back_is_repeated_unless_the_old_image_does_not_start() {
    let reverting = Some(Phase::Reverting { slots: SLOTS, code: CODE });
    let again = Verdict::GoBack(SLOTS, CODE);
    check(reverting, NEW, Valid, [Blank, Invalid, New, Undefined, Valid], again);
    check(reverting, NEW, Valid, [Aborted, PendingVerify], Verdict::Recovery);
}

#[test]
fn a_third_image_is_a_recovery() {
    for phase in [
        Phase::Activating(SLOTS),
        Phase::Trial { slots: SLOTS, boots: 1 },
        Phase::Confirming(SLOTS),
        Phase::Soaking { slots: SLOTS, resets: 0, soaked_s: 0 },
        Phase::Rejecting { slots: SLOTS, code: CODE },
        Phase::Reverting { slots: SLOTS, code: CODE },
    ] {
        check(Some(phase), Slot::Factory, Undefined, EVERY_STATE, Verdict::Recovery);
    }
}

#[track_caller]
fn check(
    phase: Option<Phase>,
    running: Slot,
    running_state: SlotState,
    target_states: impl IntoIterator<Item = SlotState>,
    expected: Verdict,
) {
    let update = phase.map(update);
    for target_state in target_states {
        let view = view(running, running_state, target_state);
        let verdict = decide(update.as_ref(), &view, &Policy::DEVICE);
        assert_eq!(verdict, expected, "{phase:?}, {view:?}");
    }
}

fn view(running: Slot, running_state: SlotState, target_state: SlotState) -> BootView {
    let target = slot_after(running, 2);
    let (reset, secure_version) = (ResetReason::PowerOn, 0);
    BootView { running, running_state, target, target_state, reset, secure_version }
}

fn update(phase: Phase) -> Update {
    let deployment = Deployment {
        rollout: "r-1".parse().unwrap(),
        release: Version::new(1, 1, 0),
        sha256: Digest([1; 32]),
        length: 1,
        security_version: 0,
        secure_version: 0,
        soak_s: 60,
    };
    Update { phase, ..Update::new(deployment) }
}
