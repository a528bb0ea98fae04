//! Who changed what, when and why.
//!
//! Not here: refusals and logins. Those are logged and counted.

use super::words;

/// One line of the audit log, written in the transaction that made the change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Who: `admin:<name of the token>`, `device:<id>` or `waxwing` itself.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// To what, such as `rollout/r-1`.
    pub subject: String,
    /// Why, as the one who did it said; may be empty.
    pub reason: String,
    /// What else there is to know, as a JSON object.
    pub detail: serde_json::Value,
}

words!(
    /// What can be done.
    Action {
        /// Somebody became an operator, with an admin token.
        AdminTokenCreated "admin_token_created",
        /// The token of an operator was replaced.
        AdminTokenReplaced "admin_token_replaced",
        /// Somebody is silent about alerts no more.
        AlertSilenceEnded "alert_silence_ended",
        /// Nobody is told of some alerts for a while.
        AlertsSilenced "alerts_silenced",
        /// An alert rule got other settings.
        AlertRuleChanged "alert_rule_changed",
        /// A device got a certificate.
        CertificateIssued "certificate_issued",
        /// A device said what became of a command.
        CommandAnswered "command_answered",
        /// A command to a device was taken back.
        CommandCancelled "command_cancelled",
        /// A command was sent to a device.
        CommandSent "command_sent",
        /// Messages that a sink did not take were removed.
        DeadLettersDiscarded "dead_letters_discarded",
        /// Messages that a sink did not take are sent once more.
        DeadLettersReplayed "dead_letters_replayed",
        /// A device was registered.
        DeviceCreated "device_created",
        /// The attributes that operators give a device were replaced.
        DeviceDescribed "device_described",
        /// A device may carry what another one says.
        DeviceGatewaySet "device_gateway_set",
        /// A device may carry nothing for another one any more.
        DeviceGatewayRemoved "device_gateway_removed",
        /// A device may read other messages of another one than before.
        DeviceReaderSet "device_reader_set",
        /// A device may read nothing of another one any more.
        DeviceReaderRemoved "device_reader_removed",
        /// A device was shut out.
        DeviceRevoked "device_revoked",
        /// A device was given the secret with which it signs its telemetry.
        DeviceSecretSet "device_secret_set",
        /// A device signs its telemetry with the key of its certificate again.
        DeviceSecretRemoved "device_secret_removed",
        /// The tags of a device were replaced.
        DeviceTagged "device_tagged",
        /// Tags and attributes of many devices were changed at once.
        DevicesLabelled "devices_labelled",
        /// The Director's root was imported.
        DirectorRootImported "director_root_imported",
        /// An SBOM or provenance was stored.
        DocumentStored "document_stored",
        /// A group was made.
        GroupCreated "group_created",
        /// A group got other members or another description.
        GroupEdited "group_edited",
        /// Who signed an image that was stored before was read from it.
        ImageSignersRead "image_signers_read",
        /// An image was stored.
        ImageStored "image_stored",
        /// Mail was made to see whether it comes.
        MailTested "mail_tested",
        /// Signed metadata of a product was stored.
        MetadataStored "metadata_stored",
        /// An operator got a certificate to listen with.
        OperatorCertificateIssued "operator_certificate_issued",
        /// A certificate of an operator is good no more.
        OperatorCertificateRevoked "operator_certificate_revoked",
        /// Somebody is no operator any more.
        OperatorRemoved "operator_removed",
        /// Applications of a product can be asked for something else, or with other arguments.
        ProductCommandSet "product_command_set",
        /// Applications of a product can be asked for something no more.
        ProductCommandRemoved "product_command_removed",
        /// A product was made.
        ProductCreated "product_created",
        /// The documents that releases of a product must come with were replaced, or their builders.
        RequiredDocumentsChanged "required_documents_changed",
        /// A rollout went on to its next phase.
        RolloutAdvanced "rollout_advanced",
        /// A rollout was cancelled.
        RolloutCancelled "rollout_cancelled",
        /// A rollout was drafted.
        RolloutCreated "rollout_created",
        /// A rollout came to its end.
        RolloutFinished "rollout_finished",
        /// A rollout stopped itself.
        RolloutHalted "rollout_halted",
        /// A rollout was paused.
        RolloutPaused "rollout_paused",
        /// A paused rollout goes on.
        RolloutResumed "rollout_resumed",
        /// A rollout waits longer for devices that do not poll.
        RolloutExtended "rollout_extended",
        /// Only somebody's approval is missing before a rollout goes on.
        RolloutApprovalNeeded "rollout_approval_needed",
        /// Somebody agreed that a rollout goes on.
        RolloutApproved "rollout_approved",
        /// A rollout was started.
        RolloutStarted "rollout_started",
        /// The Secure Boot keys of a product were replaced.
        SecureBootChanged "secure_boot_changed",
        /// An enrolment token was made.
        TokenCreated "token_created",
        /// A spent enrolment token was tried with another key (D13).
        TokenMisused "token_misused",
        /// Somebody is told of rollouts from now on.
        WebhookCreated "webhook_created",
        /// A message is sent to a webhook once more.
        WebhookRedelivered "webhook_redelivered",
        /// Somebody is told of rollouts no more.
        WebhookRemoved "webhook_removed",
        /// A message was made to try a webhook.
        WebhookTested "webhook_tested",
    }
);

/// A checkpoint is signed once so many rows came since the last one: what a page of the log shows.
const CHECKPOINT_ROWS: i64 = 100;

/// Or once a row is so old: for so long, at most, whoever controls the database and the Director's key
/// may change a row that nobody has looked at.
const CHECKPOINT_AGE_MS: u64 = 10 * 60 * 1000;

/// The last checkpoint, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastCheckpoint {
    /// Rows it speaks of.
    pub size: i64,
    /// When it was signed, in Unix milliseconds.
    pub at: u64,
    /// Whether the present key signed it.
    pub by_present_key: bool,
}

/// Tells whether a log of `size` rows should be signed at `now_ms`.
pub fn is_checkpoint_due(last: Option<LastCheckpoint>, size: i64, now_ms: u64) -> bool {
    let Some(last) = last else { return true };
    if !last.by_present_key {
        return true;
    }
    let rows = size.saturating_sub(last.size);
    rows >= CHECKPOINT_ROWS || rows > 0 && now_ms.saturating_sub(last.at) >= CHECKPOINT_AGE_MS
}

/// The actor of what the server does by itself.
pub const SERVER: &str = "waxwing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_after_so_many_rows_or_so_much_time_or_for_a_new_key() {
        let last = |by_present_key| Some(LastCheckpoint { size: 50, at: 1_000, by_present_key });
        let late = 1_000 + CHECKPOINT_AGE_MS;
        let cases = [
            (None, 0, 0, true),
            (last(true), 50, u64::MAX, false),
            (last(true), 51, late - 1, false),
            (last(true), 51, late, true),
            (last(true), 51, 0, false),
            (last(true), 149, 1_000, false),
            (last(true), 150, 1_000, true),
            (last(false), 50, 1_000, true),
        ];
        for (last, size, now_ms, due) in cases {
            assert_eq!(is_checkpoint_due(last, size, now_ms), due, "{last:?} {size} {now_ms}");
        }
    }
}
