//! Any order of events, power cuts included, against what must never happen.
//!
//! The reference is a few facts kept beside the agent: what is in the slot, what was saved, what
//! the server and the application said since. It knows nothing of the agent's states.

#![expect(
    clippy::struct_excessive_bools,
    clippy::wildcard_enum_match_arm,
    reason = "test code: facts are bools, and most actions have no condition"
)]

use proptest::prelude::*;
use waxwing_wire::command::{Command, Order, Outcome};

use super::*;
use crate::ports::Reply;

/// What the device around the agent does next.
#[derive(Clone, Debug)]
enum Turn {
    /// What was asked for works; the numbers pick among answers.
    Works(u8),
    /// What was asked for fails.
    Fails,
    /// Time passes; a message may come.
    Later(u16),
    /// An event that nobody asked for.
    Stray(u8),
    /// A command comes: another one, or one that came before.
    Commanded(u8),
    /// The power goes, and comes back with the boot loader's choice.
    PowerCut(u8),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        12 => any::<u8>().prop_map(Turn::Works),
        2 => Just(Turn::Fails),
        2 => any::<u16>().prop_map(Turn::Later),
        1 => any::<u8>().prop_map(Turn::Stray),
        2 => any::<u8>().prop_map(Turn::Commanded),
        1 => any::<u8>().prop_map(Turn::PowerCut),
    ];
    prop::collection::vec(turn, 1..120)
}

/// What is true around the agent.
struct World {
    device: Device,
    saved: Record,
    running: Slot,
    /// The signed image is in the target slot, as far as was hashed.
    hashed: bool,
    /// The last word of the server since then is that the image is to be installed.
    still_named: bool,
    offered: bool,
    activated: bool,
    confirmed: bool,
    tested: bool,
    contacted: bool,
    burned: bool,
    /// Saving failed in this boot: the image on trial may go without a word.
    journal_lost: bool,
    /// Number of the newest command.
    commanded: u64,
    /// Numbers of those that the application was asked for.
    carried_out: Vec<u64>,
}

impl World {
    fn new() -> Self {
        Self {
            device: Device::new(),
            saved: Record::default(),
            running: SLOTS.old,
            hashed: false,
            still_named: false,
            offered: false,
            activated: false,
            confirmed: true,
            tested: false,
            contacted: false,
            burned: false,
            journal_lost: false,
            commanded: 0,
            carried_out: Vec::new(),
        }
    }

    fn turn(&mut self, turn: &Turn) {
        let event = match turn {
            Turn::Works(pick) => self.result(*pick),
            Turn::Fails => Event::Failed(ErrorCode::DOWNLOAD_STALLED),
            Turn::Later(seconds) => {
                self.device.now += Duration::from_secs((*seconds).into());
                Event::Tick
            }
            Turn::Stray(pick) => stray(*pick),
            Turn::Commanded(pick) => {
                self.command(*pick);
                Event::Tick
            }
            Turn::PowerCut(pick) => return self.power_cut(*pick),
        };
        self.learn(&event);
        let puts_off = self.device.last == Action::AskToReboot
            && matches!(event, Event::Permitted(Permission::Defer(_)));
        self.device.step(event);
        if puts_off {
            self.check_deferral();
        }
        self.check();
        if self.carry_out(turn) || self.device.last == Action::Reboot {
            self.restart();
        }
    }

    /// The server sends the next command, or one before it again.
    fn command(&mut self, pick: u8) {
        let number = (self.commanded + 1).saturating_sub((pick % 4).into()).max(1);
        self.commanded = self.commanded.max(number);
        let name = format!("c{number}").parse().unwrap();
        let command = match number % 4 {
            0 => Command::Reboot,
            1 => Command::SetInterval { seconds: 600 },
            _ => Command::Application { name, arguments: "{}".to_owned() },
        };
        let order = Order { number, command };
        let commanded = Commanded { seq: number, expires_s: u64::MAX, order };
        self.device.agent.accept_command(self.device.now, commanded);
    }

    /// The application does what it is asked for; true if the power goes in the middle of it.
    fn carry_out(&mut self, turn: &Turn) -> bool {
        let Some(command) = self.device.agent.take_command() else { return false };
        let number = command.to_string()[1..].parse().unwrap();
        assert_eq!(self.saved.order, number, "the journal came too late");
        assert!(!self.carried_out.contains(&number), "{number} was carried out twice");
        self.carried_out.push(number);
        let is_cut = matches!(turn, Turn::Works(pick) if pick.is_multiple_of(4));
        if !is_cut {
            self.device.agent.replied(Reply::of(Outcome::Done));
        }
        is_cut
    }

    /// Carries out what the agent asked for.
    fn result(&mut self, pick: u8) -> Event {
        match self.device.last {
            Action::Activate { slot, .. } => {
                self.activated = slot == SLOTS.new;
                Event::Done
            }
            Action::Burn { .. } => {
                self.burned = true;
                Event::Done
            }
            Action::AskToDownload | Action::AskToReboot => Event::Permitted(match pick % 8 {
                0 => Permission::Never,
                1 => Permission::Later(Duration::from_secs(pick.into())),
                2 => Permission::Defer(Duration::from_mins(pick.into())),
                _ => Permission::Now,
            }),
            Action::CheckHealth => {
                Event::Health(if pick.is_multiple_of(8) { Health::Bad(1) } else { Health::Good })
            }
            Action::Confirm => {
                self.confirmed = true;
                Event::Done
            }
            Action::Compare => {
                let flash = !pick.is_multiple_of(8);
                Event::Compared(Comparison { flash, network: None })
            }
            Action::Open { from, .. } => {
                opened(if from == 0 || pick.is_multiple_of(4) { 200 } else { 206 }, from.into())
            }
            Action::Poll => answered(match pick % 8 {
                0 => Decision::Nothing,
                1 | 2 => Decision::Unchanged,
                _ => named(),
            }),
            Action::Save => {
                self.saved = self.device.agent.record().clone();
                Event::Done
            }
            Action::SelfTest => Event::SelfTested(match pick % 8 {
                0 => SelfTest::Failed(1),
                1 => SelfTest::Running,
                _ => SelfTest::Passed,
            }),
            Action::Recall { .. } => Event::Transferred(u32::from(pick) * 100),
            Action::Transfer { bytes, .. } => Event::Transferred(bytes),
            Action::Reject => {
                self.activated = false;
                Event::Done
            }
            Action::Inspect | Action::Reboot => Event::Done,
            Action::Wait { until } => {
                self.device.now = until;
                Event::Tick
            }
        }
    }

    /// Keeps the facts up to date with what the agent is being told while it asks.
    fn learn(&mut self, event: &Event) {
        match (self.device.last, event) {
            (Action::Compare, Event::Compared(found)) => self.hashed = found.flash,
            (Action::Save, Event::Failed(_)) => self.journal_lost = true,
            (Action::Transfer { .. }, _) => self.hashed = false,
            (Action::SelfTest, Event::SelfTested(SelfTest::Passed)) => self.tested = true,
            (Action::Poll, Event::Answered(contact)) => {
                self.contacted = true;
                match &contact.decision {
                    Decision::Install(_) => self.offered = true,
                    Decision::Nothing | Decision::Refused { .. } => self.offered = false,
                    Decision::Unchanged => {}
                }
                self.still_named = self.offered;
            }
            _ => {}
        }
    }

    /// What must hold whenever the agent asks for something.
    fn check(&self) {
        let phase = self.saved.update.as_ref().map(|update| update.phase);
        match self.device.last {
            Action::Open { .. }
            | Action::Recall { .. }
            | Action::Transfer { .. }
            | Action::AskToDownload => {
                assert!(self.offered, "a download without an offer");
                assert_eq!(self.running, SLOTS.old, "a download into the slot of the old image");
            }
            Action::Activate { slot, .. } if slot == SLOTS.new => {
                assert!(self.hashed, "activated what is not the signed image");
                assert!(self.still_named, "activated what the server no longer names");
                assert_eq!(phase, Some(Phase::Activating(SLOTS)), "the journal came too late");
            }
            Action::Burn { .. } => {
                assert!(matches!(phase, Some(Phase::Soaking { .. })), "{phase:?}");
                assert!(self.confirmed && self.running == SLOTS.new);
            }
            Action::Activate { .. } if !self.journal_lost => {
                assert!(matches!(phase, Some(Phase::Reverting { .. })), "{phase:?}");
            }
            Action::Confirm if self.running == SLOTS.new => {
                assert!(self.tested && self.contacted, "kept an image that proved nothing");
                assert_eq!(phase, Some(Phase::Confirming(SLOTS)), "the journal came too late");
            }
            Action::Reject if !self.journal_lost => {
                let given_up =
                    matches!(phase, Some(Phase::Rejecting { .. } | Phase::Reverting { .. }));
                assert!(given_up, "{phase:?}");
            }
            _ => {}
        }
        let healthy = |report: &&UnsentReport| report.report.state == Reached::Healthy;
        if self.device.agent.unsent().iter().any(|report| healthy(&report)) {
            assert!(self.confirmed, "healthy without having been kept");
        }
        assert!(self.device.agent.unsent().len() <= crate::journal::REPORTS_MAX);
    }

    /// The user is heard as often as the server said, and nothing of it is forgotten.
    fn check_deferral(&self) {
        let times = |record: &Record| record.put_off.as_ref().map_or(0, |it| it.deferral.times);
        let (before, after) = (times(&self.saved), times(self.device.agent.record()));
        let expected = if before < DEFERRALS { Action::Save } else { Action::Poll };
        assert_eq!(self.device.last, expected, "put off {before} times before");
        assert_eq!(after, (before + 1).min(DEFERRALS));
    }

    fn power_cut(&mut self, pick: u8) {
        // The cut may tear the boot record that was being written.
        if matches!(self.device.last, Action::Activate { slot, .. } if slot == SLOTS.new) {
            self.activated = pick.is_multiple_of(2);
        }
        self.restart();
    }

    /// The boot loader: what is on trial and not confirmed runs once.
    fn restart(&mut self) {
        let (running, state) = if self.running == SLOTS.old && self.activated {
            self.confirmed = false;
            (SLOTS.new, SlotState::PendingVerify)
        } else if self.running == SLOTS.new && self.confirmed && self.activated {
            (SLOTS.new, SlotState::Valid)
        } else {
            (self.activated, self.confirmed) = (false, true);
            (SLOTS.old, SlotState::Valid)
        };
        self.running = running;
        let security_version = if running == SLOTS.new { deployment().security_version } else { 0 };
        assert!(security_version >= self.saved.security_version, "an image below the floor runs");
        assert!(running == SLOTS.new || !self.burned, "the old image would not boot any more");
        (self.tested, self.contacted, self.offered, self.still_named) =
            (false, false, false, false);
        self.journal_lost = false;
        self.device = Device::booted(self.saved.clone(), running, state);
        self.device.step(Event::Tick);
        self.check();
    }
}

/// How often the user may put the restart off.
const DEFERRALS: u8 = 2;

/// What the server names: an image with a chunk list, that burns eFuses.
fn named() -> Decision {
    let burns = Deployment { secure_version: 1, ..deployment() };
    Decision::Install(Offer::for_test(burns).with_chunks(LIST).with_deferrals(DEFERRALS, u64::MAX))
}

/// Events at random; none may be taken for the answer to something else.
fn stray(pick: u8) -> Event {
    match pick % 4 {
        0 => Event::Transferred(u32::from(pick)),
        1 => Event::PollRequested,
        2 => Event::Compared(Comparison { flash: false, network: None }),
        _ => Event::Tick,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_order_of_events_leads_where_nobody_may_go(turns in turns()) {
        let mut world = World::new();
        world.device.step(Event::Tick);
        for turn in &turns {
            world.turn(turn);
        }
    }
}

#[test]
fn the_walk_carries_commands_out() {
    let mut world = World::new();
    world.device.step(Event::Tick);
    for pick in [1, 5, 2, 9, 1, 7, 0, 4, 8, 3].repeat(9) {
        world.turn(&Turn::Commanded(pick % 4));
        world.turn(&Turn::Works(pick));
        world.turn(&Turn::Works(pick));
    }
    assert!(world.carried_out.len() > 3, "{:?}", world.carried_out);
}

#[test]
fn the_walk_reaches_healthy() {
    let mut world = World::new();
    world.device.step(Event::Tick);
    for _ in 0..60 {
        world.turn(&Turn::Works(7));
    }
    assert!(world.device.agent.record().has_settled(&deployment()));
    assert_eq!(world.device.agent.record().security_version, 7);
}
