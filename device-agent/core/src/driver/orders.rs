//! Commands for the application, and the answers on their way.

use waxwing_wire::command::{Command, Outcome};
use waxwing_wire::topic::Kind;

use super::reports::seal;
use super::{Driver, Platform};
use crate::network::Messages as _;
use crate::ports::{AppHooks as _, Reply};

impl<P: Platform> Driver<P> {
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

    /// Hands the answer over, once on each connection until the server has it.
    pub(super) fn send_answer(&mut self, timestamp: u64) {
        let Some((id, answer)) = self.agent.unsent_answer() else { return };
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
