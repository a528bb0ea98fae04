//! What others may have a device do, and how often.

use super::*;

/// A device that waits, and has polled.
fn waiting() -> Device {
    let mut device = Device::new();
    device.poll();
    device.on_wait(answered(Decision::Nothing));
    device
}

/// D7: whoever recorded a command must not be able to have it done again after a power cut.
#[test]
fn nothing_is_done_that_the_journal_does_not_know_of() {
    let mut device = waiting();
    device.agent.accept_command(device.now, 5);
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.agent.record().command, 5);
    device.on(Event::Done, Action::Poll);

    let mut device = waiting();
    device.agent.accept_command(device.now, 5);
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    device.on_wait(Event::Tick);
    device.on_wait(Event::Done);
}

#[test]
fn any_number_of_commands_costs_one_write_in_the_shortest_time_between_polls() {
    let mut device = waiting();
    device.agent.accept_command(device.now, 1);
    device.on(Event::Tick, Action::Save);
    device.on(Event::Done, Action::Poll);
    device.on_wait(answered(Decision::Nothing));
    let due = device.now + Policy::DEVICE.poll_min;
    for number in 2..30 {
        device.now += Duration::from_secs(1);
        device.agent.accept_command(device.now, number);
        device.on(Event::Tick, Action::Wait { until: due });
    }
    device.now = due;
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.agent.record().command, 29);
    device.on(Event::Done, Action::Poll);
    device.on_wait(answered(Decision::Nothing));
    device.on_wait(Event::Tick);
}

#[test]
fn a_command_waits_for_what_is_going_on() {
    let mut device = waiting();
    device.on(Event::PollRequested, Action::Poll);
    device.agent.accept_command(device.now, 1);
    device.on(Event::Tick, Action::Poll);
    device.on(answered(Decision::Nothing), Action::Save);
    device.on(Event::Done, Action::Poll);
}
