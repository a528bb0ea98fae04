//! What others may have a device do, and how often.

use waxwing_wire::command::{Command, Order, Outcome};

use super::*;
use crate::ports::Reply;

/// A device that waits, and has polled.
fn waiting() -> Device {
    let mut device = Device::new();
    device.poll();
    device.on_wait(answered(Decision::Nothing));
    device
}

fn poll(number: u64) -> Order {
    order(number, Command::Poll)
}

fn order(number: u64, command: Command) -> Order {
    Order { number, command }
}

fn beep() -> Command {
    Command::Application { name: "beep".parse().unwrap(), arguments: "{}".to_owned() }
}

impl Device {
    fn command(&mut self, seq: u64, order: Order) {
        self.command_until(u64::MAX, seq, order);
    }

    fn command_until(&mut self, expires_s: u64, seq: u64, order: Order) {
        self.agent.accept_command(self.now, Commanded { seq, expires_s, order });
    }

    /// What the device would say of its last command.
    fn said(&self) -> Option<(u64, Outcome)> {
        self.agent.unsent_answer().map(|(_, answer)| (answer.number, answer.outcome))
    }
}

/// D7: whoever recorded a command must not be able to have it done again after a power cut.
#[test]
fn nothing_is_done_that_the_journal_does_not_know_of() {
    let mut device = waiting();
    device.command(5, poll(1));
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.agent.record().command, 5);
    device.on(Event::Done, Action::Poll);

    let mut device = waiting();
    device.command(5, poll(1));
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    device.on_wait(Event::Tick);
    device.on_wait(Event::Done);
}

#[test]
fn any_number_of_commands_costs_one_write_in_the_shortest_time_between_polls() {
    let mut device = waiting();
    device.command(1, poll(1));
    device.on(Event::Tick, Action::Save);
    device.on(Event::Done, Action::Poll);
    device.on_wait(answered(Decision::Nothing));
    let due = device.now + Policy::DEVICE.poll_min;
    for number in 2..30 {
        device.now += Duration::from_secs(1);
        device.command(number, poll(number));
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
    device.command(1, poll(1));
    device.on(Event::Tick, Action::Poll);
    device.on(answered(Decision::Nothing), Action::Save);
    device.on(Event::Done, Action::Poll);
}

#[test]
fn what_is_kept_for_a_device_is_begun_once_and_answered_until_the_server_knows() {
    let mut device = waiting();
    device.command(5, order(3, beep()));
    device.on(Event::Tick, Action::Save);
    assert_eq!(device.agent.take_command(), None, "not before the journal knows");
    assert_eq!(device.agent.record().order, 3);
    device.on_wait(Event::Done);
    assert_eq!(device.agent.take_command(), Some(beep()));
    assert_eq!((device.agent.take_command(), device.said()), (None, None));
    device.agent.replied(Reply::of(Outcome::Done));
    assert_eq!(device.said(), Some((3, Outcome::Done)));
    // The same again, under another `seq`, and one from before.
    for number in [3, 2] {
        device.command(6, order(number, beep()));
        device.now += Policy::DEVICE.poll_min;
        device.on_wait(Event::Tick);
        assert_eq!(device.agent.take_command(), None);
    }
    device.agent.acknowledge(&"m-1".parse().unwrap());
    assert_eq!(device.said(), Some((3, Outcome::Done)), "that was something else");
    let (id, _) = device.agent.unsent_answer().unwrap();
    device.agent.acknowledge(&id.parse().unwrap());
    assert_eq!((device.said(), device.agent.record().told), (None, true));
}

/// A broker took the answer and lost it: whoever sends the same command again does not know it.
#[test]
fn what_was_answered_is_answered_again_in_the_same_words_when_it_comes_again_and_not_begun_again() {
    let mut device = waiting();
    device.command(5, order(3, beep()));
    device.on(Event::Tick, Action::Save);
    device.command(6, order(3, beep()));
    assert_eq!(device.said(), None, "nothing is known yet");
    device.on_wait(Event::Done);
    assert_eq!(device.agent.take_command(), Some(beep()));
    device.agent.replied(Reply { outcome: Outcome::Done, detail: "beeped".to_owned() });
    let mut said = Vec::new();
    for seq in 7..10 {
        let (id, answer) = device.agent.unsent_answer().unwrap();
        let (id, answer) = (id, answer.clone());
        device.agent.acknowledge(&id.parse().unwrap());
        assert_eq!(device.said(), None);
        said.push((id, answer));
        device.command(seq, order(2, beep()));
        assert_eq!(device.said(), None, "of that one it knows nothing");
        device.command(seq, order(3, beep()));
        device.on_wait(Event::Tick);
        assert_eq!((device.agent.take_command(), device.agent.record().command), (None, seq));
    }
    said.dedup();
    assert_eq!(said.len(), 1, "no id ever has two payloads: {said:?}");
    // What was acknowledged last is in the journal when that is written next.
    let (id, _) = device.agent.unsent_answer().unwrap();
    device.agent.acknowledge(&id.parse().unwrap());
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on_wait(Event::Tick);
    assert_eq!(device.said(), None);
    device.command(10, order(3, beep()));
    assert_eq!(device.said(), Some((3, Outcome::Done)));
    // The next one has an answer of its own.
    device.agent.acknowledge(&device.agent.unsent_answer().unwrap().0.parse().unwrap());
    device.command(11, order(4, beep()));
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Done);
    assert_eq!((device.agent.take_command(), device.said()), (Some(beep()), None));
}

#[test]
fn what_a_reset_interrupts_is_not_begun_again_and_says_so() {
    let mut device = waiting();
    device.command(5, order(3, beep()));
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Done);
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on_wait(Event::Tick);
    assert_eq!(device.agent.take_command(), None);
    assert_eq!(device.said(), Some((3, Outcome::Interrupted)));
    device.command(6, order(3, beep()));
    device.on_wait(Event::Tick);
    assert_eq!(device.agent.take_command(), None);
}

#[test]
fn a_restart_follows_once_its_number_is_safe_and_is_answered_after_it() {
    let mut device = waiting();
    device.command(5, order(3, Command::Reboot));
    device.on(Event::Tick, Action::Save);
    device.on(Event::Done, Action::Reboot);
    let mut device = device.reboot(SLOTS.old, SlotState::Valid);
    device.on_wait(Event::Tick);
    assert_eq!(device.said(), Some((3, Outcome::Done)));

    let mut device = waiting();
    device.command(5, order(3, Command::Reboot));
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    assert_eq!(device.said(), Some((3, Outcome::Failed)), "it would come again after it");
}

#[test]
fn a_device_on_trial_restarts_when_that_is_over() {
    let mut device = Device::on_trial();
    device.on(Event::Done, Action::SelfTest);
    device.command(5, order(3, Command::Reboot));
    device.on_wait(Event::SelfTested(SelfTest::Running));
    while device.step(Event::Tick) != Action::SelfTest {
        device.now += Duration::from_secs(1);
    }
    for event in [Event::SelfTested(SelfTest::Passed), answered(Decision::Unchanged)] {
        device.step(event);
    }
    device.step(Event::Done);
    device.step(Event::Done);
    assert_eq!(device.agent.record().order, 0, "still no word of it");
    device.on(Event::Done, Action::CheckHealth);
    device.on(Event::Health(Health::Good), Action::Save);
    assert_eq!(device.agent.record().order, 3);
    device.on(Event::Done, Action::Reboot);
}

#[test]
fn who_is_asked_to_poll_so_often_does_until_it_is_taken_back() {
    let mut device = waiting();
    for (number, seconds, expected_s) in [(3, 600, 480..=600), (4, 0, 720..=900)] {
        device.now += Policy::DEVICE.poll_min;
        let command = Command::SetInterval { seconds };
        device.command(number, order(number, command));
        device.on(Event::Tick, Action::Save);
        assert_eq!(device.agent.record().interval_s, seconds);
        device.on(Event::Done, Action::Poll);
        assert_eq!(device.said(), Some((number, Outcome::Done)));
        let next = device.agent.step(device.now, answered(Decision::Nothing));
        let Action::Wait { until } = next else { panic!("{next:?}") };
        let wait_s = until.saturating_sub(device.now).as_secs();
        assert!(expected_s.contains(&wait_s), "{wait_s}");
    }
}

#[test]
fn an_interval_that_is_not_saved_does_not_count() {
    let mut device = waiting();
    device.command(5, order(3, Command::SetInterval { seconds: 600 }));
    device.on(Event::Tick, Action::Save);
    device.on_wait(Event::Failed(ErrorCode::FLASH_WRITE));
    assert_eq!((device.said(), device.agent.record().interval_s), (Some((3, Outcome::Failed)), 0));
}

#[test]
fn what_is_void_when_its_turn_comes_is_not_begun() {
    let poll_min_s = Policy::DEVICE.poll_min.as_secs();
    for (life_s, expected) in [(poll_min_s + 1, Some(beep())), (poll_min_s, None)] {
        let mut device = waiting();
        device.command(1, poll(1));
        device.on(Event::Tick, Action::Save);
        device.on(Event::Done, Action::Poll);
        device.on_wait(answered(Decision::Nothing));
        let now_s = device.agent.unix_s(device.now).unwrap();
        device.command_until(now_s + life_s, 5, order(3, beep()));
        device.on_wait(Event::Tick);
        device.now += Policy::DEVICE.poll_min;
        if expected.is_some() {
            device.on(Event::Tick, Action::Save);
            device.on_wait(Event::Done);
        } else {
            device.on_wait(Event::Tick);
        }
        assert_eq!(device.agent.take_command(), expected);
        assert_eq!(device.agent.record().order, if expected.is_some() { 3 } else { 1 });
    }
}

/// The server signs a command for five minutes, and anew every two.
#[test]
fn a_command_that_waits_for_longer_than_it_is_signed_for_is_begun_if_it_is_signed_anew_meanwhile() {
    for renewed in [true, false] {
        let mut device = waiting();
        device.agent.memory.policy.poll_min = Duration::from_mins(10);
        device.command(1, poll(1));
        device.on(Event::Tick, Action::Save);
        device.on(Event::Done, Action::Poll);
        device.on_wait(answered(Decision::Nothing));
        let due = device.now + Duration::from_mins(10);
        let mut seq = 2;
        while device.now < due {
            if renewed || seq == 2 {
                let now_s = device.agent.unix_s(device.now).unwrap();
                device.command_until(now_s + 300, seq, order(3, beep()));
            }
            device.on_wait(Event::Tick);
            (device.now, seq) = (due.min(device.now + Duration::from_mins(2)), seq + 1);
        }
        let next = device.step(Event::Tick);
        assert_eq!(next == Action::Save, renewed, "{next:?}");
    }
}
