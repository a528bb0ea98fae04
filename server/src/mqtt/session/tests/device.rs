//! A session with its own time, and the actions that tests expect of it.

use super::*;

/// A session with its own time.
pub(super) struct Device {
    pub(super) session: Session,
    pub(super) now: Duration,
}

impl Device {
    pub(super) fn new() -> Self {
        let now = Duration::from_secs(1000);
        let scope = Scope::Device("d-1".parse().unwrap());
        Self { session: Session::new(scope, "d-1".to_owned(), Limits::NONE, now), now }
    }

    pub(super) fn open(version: Version) -> Self {
        Self::open_with(&connect(version))
    }

    #[track_caller]
    pub(super) fn open_with(connect: &ConnectBytes) -> Self {
        let mut device = Self::new();
        let actions = device.receive(&connect.bytes());
        assert!(matches!(actions[..], [Action::Attach(_)]), "{actions:?}");
        let actions = device.attached(None);
        assert!(matches!(&actions[..], [Action::Send(connack)] if connack[3] == 0), "{actions:?}");
        device
    }

    pub(super) fn on(&mut self, event: Event<'_>) -> Vec<Action> {
        self.session.on(self.now, event)
    }

    pub(super) fn after(&mut self, time: Duration, event: Event<'_>) -> Vec<Action> {
        self.now += time;
        self.on(event)
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Action> {
        self.on(Event::Received(bytes))
    }

    pub(super) fn attached(&mut self, kept: Option<keeper::Session>) -> Vec<Action> {
        self.on(Event::Attached(kept))
    }

    pub(super) fn grant(&mut self, device: &str, kinds: &[Kind]) -> Vec<Action> {
        let readable = kinds.iter().map(|kind| (device.parse().unwrap(), *kind));
        self.on(Event::Granted(readable.collect()))
    }

    pub(super) fn command(&mut self, command: &str) -> Vec<Action> {
        self.on(Event::Command(letter(command, None)))
    }
}

/// A command, and where it is kept.
pub(super) fn letter(text: &str, place: Option<Place>) -> Letter {
    Letter { place, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

pub(super) fn close() -> Action {
    Action::Close { will: None }
}

pub(super) fn deliver(kind: Kind, payload: &str) -> Action {
    Action::Deliver(Message { kind, payload: Bytes::copy_from_slice(payload.as_bytes()) })
}

/// DISCONNECT of MQTT 5, without properties.
pub(super) fn disconnect(code: u8) -> Action {
    Action::Send(vec![0xe0, 1, code])
}

/// Returns type and last reason code of the last packet among the actions.
pub(super) fn code(actions: &[Action]) -> Option<(u8, u8)> {
    actions.iter().rev().find_map(|action| match action {
        Action::Send(bytes) if bytes[0] == 0x40 => Some((0x40, bytes[4])),
        Action::Send(bytes) => Some((bytes[0], *bytes.last().unwrap())),
        Action::Attach(_)
        | Action::Close { .. }
        | Action::Deliver(_)
        | Action::Hear(_)
        | Action::Listen(_)
        | Action::Note(_)
        | Action::Taken(_) => None,
    })
}

/// Leaves out the empty property lists that a PUBACK may have or not have.
pub(super) fn normal(actions: Vec<Action>) -> Vec<Action> {
    let mut actions = actions;
    for action in &mut actions {
        if let Action::Send(bytes) = action
            && let [0x40, _, id_high, id_low, code, ..] = bytes[..]
        {
            *bytes = packet(0x40, &[id_high, id_low, code]);
        }
    }
    actions
}
