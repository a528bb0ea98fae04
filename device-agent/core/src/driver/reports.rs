//! Reports on their way: sealed with the device's key, handed over once per connection.

use alloc::string::String;
use alloc::vec::Vec;

use waxwing_wire::MessageId;
use waxwing_wire::envelope::Header;
use waxwing_wire::poll::REPORTS_MAX;
use waxwing_wire::topic::Kind;

use super::{Driver, Identity, Platform};
use crate::journal::UnsentReport;
use crate::network::{Clock as _, Messages as _, Signer};

/// The reports that are on their way, and on which connection.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    connection: Option<u64>,
    reports: Vec<MessageId>,
    /// Those of them that came back: they go with the next poll.
    refused: Vec<MessageId>,
    /// The answer to a command that is on its way.
    pub(super) answer: Option<MessageId>,
}

impl HandedOver {
    /// Notes that the server did not take a message.
    pub(super) fn refuse(&mut self, id: MessageId) {
        if self.reports.contains(&id) && !self.refused.contains(&id) {
            self.refused.push(id);
        }
    }

    fn has(&self, unsent: &UnsentReport) -> bool {
        is_in(&self.reports, unsent)
    }

    /// Tells whether the server may still take it on this connection.
    fn has_on_its_way(&self, unsent: &UnsentReport) -> bool {
        self.has(unsent) && !is_in(&self.refused, unsent)
    }

    fn forget_all_but(&mut self, unsent: &[UnsentReport]) {
        let kept = |id: &MessageId| unsent.iter().any(|kept| kept.message_id() == id.as_str());
        self.reports.retain(kept);
        self.refused.retain(kept);
    }
}

fn is_in(ids: &[MessageId], unsent: &UnsentReport) -> bool {
    let id = unsent.message_id();
    ids.iter().any(|known| known.as_str() == id)
}

impl<P: Platform> Driver<P> {
    pub(super) fn is_sending(&self) -> bool {
        let sent = |unsent: &UnsentReport| self.handed_over.has_on_its_way(unsent);
        self.messages.connection().is_some() && self.agent.unsent().iter().any(sent)
    }

    /// Hands over the reports that were not yet on this connection, if there is one.
    pub(super) fn send_reports(&mut self) {
        let connection = self.messages.connection();
        if self.handed_over.connection != connection {
            self.handed_over = HandedOver { connection, ..HandedOver::default() };
        }
        if connection.is_none() {
            return;
        }
        let Some(timestamp) = self.agent.unix_s(self.clock.now()) else { return };
        self.send_answer(timestamp);
        let unsent = self.agent.unsent();
        self.handed_over.forget_all_but(unsent);
        for unsent in unsent {
            if !self.handed_over.has(unsent)
                && let Some((id, sealed)) =
                    seal_report(&self.identity, timestamp, unsent, &mut self.signer)
                && self.messages.publish(Kind::Report, &id, sealed)
            {
                self.handed_over.reports.push(id);
            }
        }
    }

    /// Seals the reports to go with a poll: those that are not on their way by message. None before
    /// the time is known, for a server refuses what looks stale.
    pub(super) fn sealed_reports(&mut self) -> Vec<String> {
        let Some(timestamp) = self.agent.unix_s(self.clock.now()) else { return Vec::new() };
        let connection = self.messages.connection();
        let is_connected = connection.is_some() && self.handed_over.connection == connection;
        let unsent = self.agent.unsent().iter();
        let left =
            unsent.filter(|unsent| !(is_connected && self.handed_over.has_on_its_way(unsent)));
        left.take(REPORTS_MAX)
            .filter_map(|unsent| seal_report(&self.identity, timestamp, unsent, &mut self.signer))
            .map(|(_, envelope)| envelope)
            .collect()
    }
}

fn seal_report(
    identity: &Identity,
    timestamp: u64,
    unsent: &UnsentReport,
    signer: &mut impl Signer,
) -> Option<(MessageId, String)> {
    let (id, payload) = (unsent.message_id(), unsent.report.encode());
    seal(identity, timestamp, Kind::Report, &id, &payload, signer)
}

/// Puts a message into a signed envelope; `None` when the key is out of reach.
pub(super) fn seal(
    identity: &Identity,
    timestamp: u64,
    kind: Kind,
    id: &str,
    payload: &str,
    signer: &mut impl Signer,
) -> Option<(MessageId, String)> {
    let message_id = MessageId::parse(id).ok()?;
    let header = Header { device_id: identity.id.clone(), timestamp, message_id };
    let prefix = header.signed_prefix(kind);
    let signature = signer.sign(&[prefix.as_bytes(), payload.as_bytes()]).ok()?;
    let envelope = header.seal(payload, &signature);
    Some((header.message_id, envelope))
}
