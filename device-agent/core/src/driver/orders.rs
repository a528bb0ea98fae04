//! Commands on their way to the agent and the application, and the answers on their way back.

use alloc::vec::Vec;
use core::time::Duration;

use waxwing_tuf::command::COMMAND_BYTES_MAX;
use waxwing_wire::command::{Command, Outcome};
use waxwing_wire::topic::Kind;

use super::reports::seal;
use super::{Driver, Platform};
use crate::network::{Clock as _, Message, Messages as _};
use crate::ports::{AppHooks as _, Reply};

/// The newest command that came before the time was known: nobody can tell whether it is void, and it was
/// acknowledged, so it does not come again soon.
#[derive(Debug, Default)]
pub(super) struct Early(Option<Vec<u8>>);

impl<P: Platform> Driver<P> {
    /// Waits for the next message. A command that came too early comes again once it can be checked.
    pub(super) async fn next_message(&mut self, until: Duration) -> Message {
        let is_time_known = self.agent.unix_s(self.clock.now()).is_some();
        match self.early.0.take_if(|_| is_time_known) {
            Some(command) => Message::Command(command),
            None => self.messages.next(until).await,
        }
    }

    /// Takes a command, or keeps it for later.
    pub(super) fn command(&mut self, bytes: Vec<u8>) {
        let now = self.clock.now();
        let Some(unix_s) = self.agent.unix_s(now) else {
            if bytes.len() <= COMMAND_BYTES_MAX {
                self.early.0 = Some(bytes);
            }
            return;
        };
        let last = self.agent.record().command;
        if let Ok(commanded) = self.trust.command(&bytes, unix_s, last) {
            self.agent.accept_command(now, commanded);
        }
    }

    /// Has the application do what is due.
    pub(super) fn carry_out(&mut self) {
        let reply = match self.agent.take_command() {
            Some(Command::Application { name, arguments }) => {
                self.local.app.command(name.as_str(), &arguments)
            }
            Some(Command::CollectLogs) => self.collect_logs(),
            Some(Command::Poll | Command::Reboot | Command::SetInterval { .. }) | None => return,
        };
        self.agent.replied(reply);
    }

    fn collect_logs(&mut self) -> Reply {
        let reply = |detail| Reply { outcome: Outcome::Done, detail };
        self.local.app.logs().map_or(Reply::of(Outcome::Unknown), reply)
    }

    /// Hands the answer over, once on each connection until somebody took it.
    pub(super) fn send_answer(&mut self, timestamp: u64) {
        let Some((id, answer)) = self.agent.unsent_answer() else {
            // Should it be asked for again, it is to go out again.
            self.handed_over.answer = None;
            return;
        };
        if self.handed_over.answer.as_ref().is_some_and(|sent| sent.as_str() == id) {
            return;
        }
        let (identity, signer) = (&self.identity, &mut self.signer);
        if let Some((id, sealed)) =
            seal(identity, timestamp, Kind::Response, &id, &answer.encode(), signer)
            && self.messages.publish(Kind::Response, &id, sealed)
        {
            self.handed_over.answer = Some(id);
        }
    }
}
