//! The chip with programs of a few instructions in the place of a boot loader.

use std::time::Duration;

use waxwing_emulator::ResetReason;
use waxwing_emulator::flash::{Cut, Tear};
use waxwing_emulator::machine::End;

use crate::program::{
    A0, A1, A2, ENTRY, ERASE_SECTOR, FOR_EVER, Program, RESET, WAIT_FOR_INTERRUPT, WRITE,
};
use crate::run::{Outcome, Run};

const WATCHDOGS_OFF: [(u32, u32); 4] = [
    // Low-power watchdog, super watchdog, those of the timer groups.
    (0x6000_8090, 0),
    (0x6000_80ac, 1 << 31),
    (0x6001_f048, 0),
    (0x6002_0048, 0),
];

/// What every program does first.
fn tamed() -> Program {
    WATCHDOGS_OFF.iter().fold(Program::default(), |program, (at, value)| program.store(*at, *value))
}

#[track_caller]
fn until_done(program: &Program) -> Outcome {
    let outcome = Run { until: Some("done"), ..Run::of(program.flash()) }.go();
    assert_eq!(outcome.summary.end, End::Text, "{}", outcome.said);
    outcome
}

fn reasons(outcome: &Outcome) -> Vec<ResetReason> {
    outcome.summary.resets.iter().map(|reset| reset.reason).collect()
}

#[test]
fn the_rom_starts_what_is_in_flash() {
    let outcome = until_done(&tamed().load(A1, 42).print("answer %d\ndone\n").word(FOR_EVER));
    assert_eq!(outcome.said, "answer 42\ndone\n");
}

#[test]
fn a_flash_without_a_boot_loader_starts_nothing() {
    let mut damaged = tamed().print("done\n").flash();
    damaged[40] ^= 1;
    for flash in [vec![0xff; 0x40_0000], damaged] {
        let end = Run::of(flash).go().summary.end;
        assert!(matches!(end, End::NoBootLoader(_)), "{end:?}");
    }
}

#[test]
fn a_program_that_hangs_at_once_is_reset_again_and_again() {
    let outcome = Run { resets: 3, ..Run::of(Program::default().word(FOR_EVER).flash()) }.go();
    assert_eq!(outcome.summary.end, End::Resets);
    let guard = ResetReason::Watchdog0Core;
    let expected = [ResetReason::PowerOn, guard, guard];
    assert_eq!(reasons(&outcome), expected);
}

#[test]
fn a_program_that_hangs_later_is_reset_by_the_watchdog_it_set() {
    // 68,000 slow cycles, twice: one second, then a system reset.
    let program = tamed()
        .read(A1, 0x6000_8038)
        .print("reset state %x\n")
        .store(0x6000_8094, 68_000)
        .store(0x6000_8090, 1 << 31 | 4 << 28)
        .word(FOR_EVER);
    let outcome = Run { resets: 2, ..Run::of(program.flash()) }.go();
    assert_eq!(outcome.said, "reset state 3001\nreset state 3010\n");
    assert_eq!(reasons(&outcome), [ResetReason::PowerOn, ResetReason::LowPowerWatchdogSystem]);
    assert_eq!(outcome.summary.resets[1].at_ms, 1000);
}

#[test]
fn memory_is_noise_when_power_comes_and_stays_over_a_reset() {
    let cell = 0x5000_0100;
    let program = tamed()
        .read(A1, cell)
        .print("cell %08x\n")
        .store(cell, 0x1234_5678)
        .call(RESET)
        .word(FOR_EVER);
    let said = Run { resets: 2, ..Run::of(program.flash()) }.go().said;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[1], "cell 12345678");
    assert!(!["cell 12345678", "cell 00000000"].contains(&lines[0]), "{said}");
}

#[test]
fn an_instruction_that_does_not_exist_reaches_the_handler() {
    let program = |handler| tamed().control(0x305, handler | 1).word(0xffff_ffff);
    let (_, handler) = program(0).handler();
    let (program, _) = program(handler).handler();
    let program = program.read_control(A1, 0x342).read_control(A2, 0x341).print("%d at %x\ndone\n");
    let outcome = until_done(&program.word(FOR_EVER));
    let at = ENTRY + 4 * u32::try_from(tamed().control(0, 0).count()).unwrap();
    assert_eq!(outcome.said, format!("2 at {at:x}\ndone\n"));
}

#[test]
fn reading_where_nothing_is_reaches_the_handler_with_the_address() {
    let program = |handler| tamed().control(0x305, handler | 1).read(A1, 0x1234);
    let (_, handler) = program(0).handler();
    let (program, _) = program(handler).handler();
    let program = program.read_control(A1, 0x342).read_control(A2, 0x343).print("%d, %x\ndone\n");
    assert_eq!(until_done(&program.word(FOR_EVER)).said, "5, 1234\ndone\n");
}

#[test]
fn a_waiting_core_wakes_at_its_timer_and_no_time_of_the_world_passes() {
    // Comparator 0 after 20 s of 16 MHz, on input 1.
    let program = |handler: u32| {
        tamed()
            .store(0x6002_3000, 0x4700_0000)
            .store(0x6002_3020, 320_000_000)
            .store(0x6002_3050, 1)
            .store(0x6002_3064, 1)
            .store(0x600c_2000 + 37 * 4, 1)
            .store(0x600c_2118, 1)
            .store(0x600c_2104, 2)
            .control(0x305, handler | 1)
            .control(0x300, 8)
            .word(WAIT_FOR_INTERRUPT)
    };
    let (_, handler) = program(0).handler();
    let (program, _) = program(handler).handler();
    // Input 1 has the second entry of the table.
    let program = program.word(FOR_EVER).read_control(A1, 0x342).print("cause %x\ndone\n");
    let outcome = until_done(&program.word(FOR_EVER));
    assert_eq!(outcome.said, "cause 80000001\ndone\n");
    assert!(outcome.summary.virtual_ms >= 20_000, "{}", outcome.summary.virtual_ms);
    assert!(outcome.summary.busy_cycles < 1_000_000, "{}", outcome.summary.busy_cycles);
}

#[test]
fn the_registers_that_only_this_chip_has_keep_what_is_written() {
    let program = tamed().control(0x7e0, 1).read_control(A1, 0x7e0).print("%d\ndone\n");
    assert_eq!(until_done(&program.word(FOR_EVER)).said, "1\ndone\n");
}

#[test]
fn power_fails_in_the_planned_flash_operation() {
    // Erases the sector at 0x1_0000, then writes 64 bytes there from its own code: two operations.
    let program = tamed()
        .load(A0, 16)
        .call(ERASE_SECTOR)
        .load(A0, 0x1_0000)
        .load(A1, ENTRY)
        .load(A2, 64)
        .call(WRITE)
        .print("done\n")
        .word(FOR_EVER);
    let outcome = until_done(&program);
    assert_eq!(outcome.summary.flash_operations, 3);
    assert_eq!(outcome.flash[0x1_0000..0x1_0040], outcome.flash[32..96]);
    let cut = Some(Cut { at: 2, tear: Tear::Torn });
    let outcome = Run { cut, ..Run::of(program.flash()) }.go();
    assert_eq!((outcome.summary.end, outcome.said.as_str()), (End::PowerCut, ""));
    assert_eq!(outcome.flash[0x1_0000..0x1_0010], outcome.flash[32..48]);
    assert_eq!(outcome.flash[0x1_0011..0x1_0040], [0xff; 47]);
}

#[test]
fn a_rom_function_that_is_not_modelled_ends_the_run_with_its_address() {
    let outcome = Run::of(tamed().call(0x4000_0f00).word(FOR_EVER).flash()).go();
    let End::Unknown(text) = outcome.summary.end else { panic!("{:?}", outcome.summary.end) };
    assert!(text.contains("0x40000f00"), "{text}");
}

#[test]
fn a_run_ends_when_its_time_is_over() {
    let limit = Duration::from_millis(50);
    let outcome = Run { virtual_time: limit, ..Run::of(tamed().word(FOR_EVER).flash()) }.go();
    assert_eq!((outcome.summary.end, outcome.summary.virtual_ms), (End::Time, 50));
}
