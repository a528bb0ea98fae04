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
        /// The first admin token was made.
        AdminTokenCreated "admin_token_created",
        /// A device got a certificate.
        CertificateIssued "certificate_issued",
        /// A command was sent to a device.
        CommandSent "command_sent",
        /// A device was registered.
        DeviceCreated "device_created",
        /// A device was shut out.
        DeviceRevoked "device_revoked",
        /// The tags of a device were replaced.
        DeviceTagged "device_tagged",
        /// The Director's root was imported.
        DirectorRootImported "director_root_imported",
        /// A group was made.
        GroupCreated "group_created",
        /// An image was stored.
        ImageStored "image_stored",
        /// Signed metadata of a product was stored.
        MetadataStored "metadata_stored",
        /// A product was made.
        ProductCreated "product_created",
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
        /// A rollout was started.
        RolloutStarted "rollout_started",
        /// The Secure Boot keys of a product were replaced.
        SecureBootChanged "secure_boot_changed",
        /// An enrolment token was made.
        TokenCreated "token_created",
        /// A spent enrolment token was tried with another key (D13).
        TokenMisused "token_misused",
    }
);

/// The actor of what the server does by itself.
pub const SERVER: &str = "waxwing";
