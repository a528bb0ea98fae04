//! How a connection ends: by the client, by us, or by time; and what is left of it.
//!
//! Not here: what is kept of a session (`keeper`).

use std::mem;
use std::time::Duration;

use super::connect::SESSION_EXPIRY_S_MAX;
use super::{Action, Session, State};
use crate::mqtt::codec::Outgoing;
use crate::mqtt::keeper::Rest;
use crate::mqtt::reason::Reason;
use crate::mqtt::refusals::Part;

impl Session {
    pub(super) fn disconnect(&mut self, with_will: bool, session_expiry_s: Option<u32>) {
        let State::Open(open) = &mut self.state else { return };
        if let Some(seconds) = session_expiry_s {
            // MQTT 5, 3.14.2.2.2: a session that was to end here cannot be kept after all.
            if open.session_expiry_s == 0 && seconds != 0 {
                return self.refuse(Reason::ProtocolError);
            }
            open.session_expiry_s = seconds.min(SESSION_EXPIRY_S_MAX);
        }
        let ending = if with_will { Ending::WithWill } else { Ending::WithoutWill };
        open.leaving = Some(ending);
        if open.inbox.is_empty() {
            self.close(None, ending);
        }
    }

    pub(super) fn stop(&mut self, reason: Reason) {
        if let Reason::NotAuthorized | Reason::QuotaExceeded | Reason::ServerBusy = reason {
            self.refused.push((self.part(), reason));
        }
        // A revoked device has no last word.
        let revoked = reason == Reason::AdministrativeAction;
        let ending = if revoked { Ending::Forgotten } else { Ending::WithWill };
        self.close(Some(reason), ending);
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if now < self.deadline {
            return;
        }
        match &self.state {
            // Busy with what the device sent: not its silence.
            State::Open(open) if !open.inbox.is_empty() => self.deadline = now + open.silence,
            State::Attaching(_) | State::Closed(_) | State::Open(_) | State::Opening => {
                self.refuse(Reason::KeepAliveTimeout);
            }
        }
    }

    /// Ends the connection for something the device did or failed to do.
    pub(super) fn refuse(&mut self, reason: Reason) {
        self.refused.push((self.part(), reason));
        self.close(Some(reason), Ending::WithWill);
    }

    const fn part(&self) -> Part {
        match self.state {
            State::Attaching(_) | State::Opening => Part::Connect,
            State::Closed(_) | State::Open(_) => Part::Connection,
        }
    }

    pub(super) fn close(&mut self, reason: Option<Reason>, ending: Ending) {
        let (farewell, will, rest) = match mem::replace(&mut self.state, State::Closed(None)) {
            State::Closed(rest) => {
                self.state = State::Closed(rest);
                return;
            }
            State::Attaching(_) | State::Opening => (reason.map(Outgoing::Refuse), None, None),
            State::Open(open) => {
                let rest = open.outbox.into_rest(open.session_expiry_s);
                (reason.map(Outgoing::Disconnect), open.will, Some(rest))
            }
        };
        if let Some(farewell) = farewell {
            self.send(&farewell);
        }
        let will = will.filter(|_| ending == Ending::WithWill);
        self.actions.push(Action::Close { will });
        let keep = |rest: &Rest| ending != Ending::Forgotten && rest.expiry_s > 0;
        self.state = State::Closed(rest.filter(keep));
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Nothing is kept and nothing published.
    Forgotten,
    /// As agreed: the will is void.
    WithoutWill,
    /// In any other way.
    WithWill,
}
