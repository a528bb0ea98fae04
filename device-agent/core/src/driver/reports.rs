//! Reports on their way: sealed with the device's key, handed over once per connection.

use alloc::string::String;
use alloc::vec::Vec;

use waxwing_wire::MessageId;
use waxwing_wire::envelope::Header;
use waxwing_wire::topic::Kind;

use super::Identity;
use crate::journal::UnsentReport;
use crate::network::Signer;

/// The reports that are on their way, and on which connection.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    pub(super) connection: Option<u64>,
    pub(super) reports: Vec<MessageId>,
}

impl HandedOver {
    pub(super) fn has(&self, unsent: &UnsentReport) -> bool {
        let id = unsent.message_id();
        self.reports.iter().any(|sent| sent.as_str() == id)
    }

    pub(super) fn forget_all_but(&mut self, unsent: &[UnsentReport]) {
        let kept = |id: &MessageId| unsent.iter().any(|kept| kept.message_id() == id.as_str());
        self.reports.retain(kept);
    }
}

/// Puts a report into a signed envelope; `None` when the key is out of reach.
pub(super) fn seal(
    identity: &Identity,
    timestamp: u64,
    unsent: &UnsentReport,
    signer: &mut impl Signer,
) -> Option<(MessageId, String)> {
    let message_id = MessageId::parse(&unsent.message_id()).ok()?;
    let header = Header { device_id: identity.id.clone(), timestamp, message_id };
    let payload = unsent.report.encode();
    let prefix = header.signed_prefix(Kind::Report);
    let signature = signer.sign(&[prefix.as_bytes(), payload.as_bytes()]).ok()?;
    let envelope = header.seal(&payload, &signature);
    Some((header.message_id, envelope))
}
