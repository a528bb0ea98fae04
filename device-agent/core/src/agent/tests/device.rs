//! A device whose hardware and server are played by the test, and the events they send.

use super::*;

/// The signed image, however it is looked at.
pub(super) const GOOD: Comparison = Comparison { flash: true, network: Some(true) };
/// The hash of its chunk list.
pub(super) const LIST: Digest = Digest([7; 32]);

/// An agent, its uptime, and what the device around it would answer.
pub(super) struct Device {
    pub(super) agent: Agent,
    pub(super) now: Duration,
    pub(super) last: Action,
}

impl Device {
    pub(super) fn new() -> Self {
        Self::with(Record::default())
    }

    pub(super) fn with(record: Record) -> Self {
        Self::booted(record, SLOTS.old, SlotState::Valid)
    }

    pub(super) fn booted(record: Record, running: Slot, state: SlotState) -> Self {
        let sha256 = if running == SLOTS.new { NEW } else { OLD };
        let agent = Agent::boot(
            firmware(sha256),
            Policy::DEVICE,
            record,
            view(running, state),
            Seed { jitter: 1, boot: 1 },
            Duration::ZERO,
            0,
        );
        Self { agent, now: Duration::ZERO, last: Action::Reboot }
    }

    pub(super) fn reboot(self, running: Slot, state: SlotState) -> Self {
        Self::booted(self.agent.record().clone(), running, state)
    }

    pub(super) fn on_trial() -> Self {
        let mut device = Self::ready_to_activate();
        device.step(Event::Done);
        device.step(Event::Done);
        let mut device = device.reboot(SLOTS.new, SlotState::PendingVerify);
        device.on(Event::Tick, Action::Save);
        device
    }

    pub(super) fn soaking() -> Self {
        let mut device = Self::on_trial();
        device.step(Event::Done);
        device.step(Event::SelfTested(SelfTest::Passed));
        device.step(answered(Decision::Unchanged));
        device.step(Event::Done);
        device.step(Event::Done);
        device.on(Event::Done, Action::CheckHealth);
        device
    }

    pub(super) fn ready_to_activate() -> Self {
        let mut device = Self::new();
        device.poll();
        device.download();
        device.prepare_to_activate();
        device
    }

    pub(super) fn fetched_to(stored: u32) -> Self {
        let phase = Phase::Fetching { stored };
        let update = Some(Update { phase, ..Update::new(deployment()) });
        let mut device = Self::with(Record { update, ..Record::default() });
        device.poll();
        device.on(answered(install()), Action::AskToDownload);
        device.on(Event::Permitted(Permission::Now), Action::Open { sha256: NEW, from: stored });
        device
    }

    pub(super) fn poll(&mut self) {
        self.on_wait(Event::Tick);
        self.now += Policy::DEVICE.poll_min;
        self.on(Event::Tick, Action::Poll);
    }

    pub(super) fn accept(&mut self) {
        self.on(answered(install()), Action::AskToDownload);
        self.on(Event::Permitted(Permission::Now), Action::Save);
    }

    pub(super) fn download(&mut self) {
        self.accept();
        self.on(Event::Done, Action::Open { sha256: NEW, from: 0 });
        self.transfer_all();
        self.on(Event::Compared(GOOD), Action::Inspect);
    }

    pub(super) fn transfer_all(&mut self) {
        self.on(opened(200, 0), Action::Transfer { offset: 0, bytes: 4096 });
        self.on(Event::Transferred(4096), Action::Transfer { offset: 4096, bytes: 4096 });
        self.on(Event::Transferred(4096), Action::Transfer { offset: 8192, bytes: 100 });
        self.on(Event::Transferred(100), Action::Save);
        self.on(Event::Done, Action::Compare);
    }

    /// The download breaks off, and the server is asked again.
    pub(super) fn break_off(&mut self) {
        self.on_wait(opened(500, 0));
        self.now += Policy::DEVICE.back_off_max;
        self.on(Event::Tick, Action::Poll);
    }

    pub(super) fn prepare_to_activate(&mut self) {
        self.on(Event::Done, Action::AskToReboot);
        self.on(Event::Permitted(Permission::Now), Action::Poll);
        self.on(answered(Decision::Unchanged), Action::Compare);
        self.on(Event::Compared(GOOD), Action::Save);
    }

    pub(super) fn step(&mut self, event: Event) -> Action {
        self.last = self.agent.step(self.now, event);
        self.last
    }

    #[track_caller]
    pub(super) fn on(&mut self, event: Event, expected: Action) {
        let told = format!("{event:?}");
        assert_eq!(self.step(event), expected, "after {told}");
    }

    #[track_caller]
    pub(super) fn on_wait(&mut self, event: Event) {
        let told = format!("{event:?}");
        let action = self.step(event);
        assert!(matches!(action, Action::Wait { .. }), "{action:?} after {told}");
    }

    #[track_caller]
    pub(super) fn check_outcome(&self, state: Reached, code: ErrorCode) {
        let last = &self.agent.unsent().last().unwrap().report;
        assert_eq!((last.state, last.code), (state, code));
        assert_eq!(self.agent.deployment(), None);
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.agent.record().update.as_ref().map(|update| update.phase)
    }

    pub(super) fn reported(&self) -> Vec<Reached> {
        self.agent.unsent().iter().map(|unsent| unsent.report.state).collect()
    }
}

pub(super) fn firmware(sha256: Digest) -> Firmware {
    Firmware { release: Version::new(1, 0, 0), sha256, security_version: 3, secure_version: 1 }
}

pub(super) fn view(running: Slot, running_state: SlotState) -> BootView {
    let (target, target_state) = (slot_after(running, 2), SlotState::Blank);
    let (reset, secure_version) = (ResetReason::Requested, 0);
    BootView { running, running_state, target, target_state, reset, secure_version }
}

pub(super) fn deployment() -> Deployment {
    Deployment {
        rollout: "r-1".parse().unwrap(),
        release: Version::new(1, 1, 0),
        sha256: NEW,
        length: LENGTH,
        security_version: 7,
        secure_version: 0,
        soak_s: 60,
    }
}

/// An offer whose image has a chunk list.
pub(super) fn install_listed() -> Decision {
    Decision::Install(Offer::for_test(deployment()).with_chunks(LIST))
}

pub(super) fn install() -> Decision {
    Decision::Install(Offer::for_test(deployment()))
}

pub(super) fn answered(decision: Decision) -> Event {
    let poll_wish = Duration::from_mins(15);
    Event::Answered(Contact { decision, unix_s: ATTESTED_S, poll_wish })
}

pub(super) fn opened(status: u16, first: u64) -> Event {
    let length = LENGTH.into();
    let range = crate::download::ContentRange { first, last: length - 1, length };
    let range = (status == 206).then_some(range);
    Event::Opened(Opened { status, range, ..Opened::default() })
}
