//! Between the agent and the verifier: bundles in, decisions out.
//!
//! Whether anything is believed is decided in `waxwing-tuf`, nowhere here. This module translates:
//! frames to files, refusals to report codes.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use core::time::Duration;

use waxwing_tuf::uptane::{Answer, Client, Install, SERVER_CA_PATH};
use waxwing_tuf::{Cause, ContentCheck, Delivered, Fault, Refusal, Store, Time};
use waxwing_wire::bundle::{Bundle, Kind};
use waxwing_wire::command::Order;
use waxwing_wire::{Digest, ErrorCode, Nonce};

use crate::agent::Commanded;
use crate::journal::Deployment;
use crate::offer::{Contact, Decision};

/// Both repositories of a device, and the time its firmware was built.
#[derive(Debug)]
pub struct Trust<S> {
    client: Client<S>,
    built_at: Time,
}

impl<S: Store> Trust<S> {
    /// Starts with what the device already trusts. No time before `built_at` is believed.
    pub const fn new(client: Client<S>, built_at: Time) -> Self {
        Self { client, built_at }
    }

    /// Returns a time in Unix seconds that has certainly passed.
    pub fn time_floor_s(&self) -> u64 {
        self.client.attested_time().unwrap_or_default().max(self.built_at).as_seconds()
    }

    /// Returns the versions of the metadata the device has, as a poll tells them.
    pub fn have(&self) -> BTreeMap<String, u64> {
        let mut have = BTreeMap::new();
        // One by one: collecting would sort them first, in 4 KB of stack.
        for (repository, role, version) in self.client.have() {
            have.insert(alloc::format!("{repository}.{role}"), version);
        }
        have
    }

    /// Follows one root of an answer to a poll; false when there is none to follow.
    pub fn follow_root(&mut self, bundle: &Bundle<'_>) -> bool {
        let files = |kind| Delivered(move |name: &str| bundle.find(kind, name));
        self.client.follow_root(&mut files(Kind::Director), &mut files(Kind::Image))
    }

    /// Reads the answer to a poll. `security_version` is the lowest the device takes now.
    ///
    /// # Errors
    ///
    /// The code of a refusal, when the answer is not an authentic one.
    pub fn check(
        &mut self,
        nonce: Nonce,
        security_version: u32,
        bundle: &Bundle<'_>,
    ) -> Result<Contact, ErrorCode> {
        if self.client.device().security_version != security_version {
            self.client.device_mut().security_version = security_version;
        }
        let files = |kind| Delivered(move |name: &str| bundle.find(kind, name));
        let (mut director, mut image) = (files(Kind::Director), files(Kind::Image));
        let checked = self.client.check(&nonce.0, self.built_at, &mut director, &mut image);
        let decision = match checked {
            Ok(Answer::Idle) => Decision::Unchanged,
            Ok(Answer::Nothing) => Decision::Nothing,
            Ok(Answer::Install(install)) => Decision::install(&install),
            Err(refusal) => self.refused(&refusal)?,
        };
        Ok(Contact {
            decision,
            unix_s: self.time_floor_s(),
            poll_wish: Duration::from_secs(bundle.retry_after_s.into()),
        })
    }

    /// Returns the pins of the server's CA that came with an answer, if they are the ones that both
    /// repositories list (D15).
    pub fn server_ca<'b>(&self, bundle: &Bundle<'b>) -> Option<(&'b [u8], Digest)> {
        let listed = self.client.server_ca()?;
        let pem = bundle.find(Kind::Image, SERVER_CA_PATH)?;
        let mut content = listed.content();
        content.update(pem).and_then(|()| content.finish()).ok()?;
        Some((pem, Digest(listed.hashes.sha256?)))
    }

    /// A refusal of what the Director itself authentically named is an answer; any other is none.
    /// What was lost on the way, or here, comes whole with another poll and fails no deployment.
    fn refused(&self, refusal: &Refusal) -> Result<Decision, ErrorCode> {
        let code = code_of(refusal.cause);
        if refusal.cause.fault() != Fault::Signer {
            return Err(code);
        }
        let named = self.client.named().ok_or(code)?;
        Ok(Decision::Refused { deployment: Deployment::of(named), code })
    }

    /// Checks a command (D7), and returns what to do. `unix_s` is the attested time plus what has passed since, `last` the `seq` of the last command that was accepted.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::TRUST_COMMAND`] unless it is authentic, new, not expired and known here.
    pub fn command(&self, bytes: &[u8], unix_s: u64, last: u64) -> Result<Commanded, ErrorCode> {
        let command = self.client.verify_command(bytes, Time::from_seconds(unix_s), last);
        let command = command.map_err(|_| ErrorCode::TRUST_COMMAND)?;
        let content = command.content();
        let field = |name: &str| Some(content.field(name)?.as_text()?.to_string());
        let order = Order::read(field).ok_or(ErrorCode::TRUST_COMMAND)?;
        Ok(Commanded { seq: command.seq, expires_s: command.expires.as_seconds(), order })
    }
}

impl Deployment {
    /// Begins to compare bytes with the image that was signed.
    pub(crate) fn content(&self) -> ContentCheck {
        ContentCheck::sha256(self.length.into(), self.sha256.0)
    }

    /// Reads what a Director named; `None` when its names are none.
    pub(crate) fn of(install: &Install) -> Option<Self> {
        Some(Self {
            rollout: install.deploy.parse().ok()?,
            release: install.version.parse().ok()?,
            sha256: Digest(install.sha256),
            length: u32::try_from(install.length).ok()?,
            security_version: install.security_version,
            secure_version: install.secure_version,
            soak_s: install.soak_s,
        })
    }
}

/// The number under which a refusal is reported.
const fn code_of(cause: Cause) -> ErrorCode {
    match cause {
        Cause::TooFewSignatures => ErrorCode::TRUST_SIGNATURES,
        Cause::Expired => ErrorCode::TRUST_EXPIRED,
        Cause::Rollback
        | Cause::RemovedFromSnapshot
        | Cause::SameVersionOtherContent
        | Cause::WrongVersion => ErrorCode::TRUST_ROLLBACK,
        Cause::WrongRepository => ErrorCode::TRUST_REPOSITORY,
        Cause::RepositoriesDisagree | Cause::WrongHash | Cause::WrongLength => {
            ErrorCode::TRUST_MISMATCH
        }
        Cause::NotListed => ErrorCode::TRUST_UNLISTED,
        Cause::WrongNonce => ErrorCode::TRUST_NONCE,
        Cause::TimeWentBack | Cause::NoAttestedTime => ErrorCode::TRUST_TIME,
        Cause::WrongDevice | Cause::DeviceNamedTwice => ErrorCode::TRUST_DEVICE,
        Cause::TooLong => ErrorCode::TRUST_SIZE,
        Cause::Fetch(_) | Cause::Missing | Cause::MoreRoots | Cause::NotInSnapshot => {
            ErrorCode::TRUST_INCOMPLETE
        }
        Cause::DirectorDelegates | Cause::TooManyRoles | Cause::TooManyTargets => {
            ErrorCode::TRUST_DELEGATION
        }
        Cause::Replayed => ErrorCode::TRUST_COMMAND,
        Cause::WrongProduct | Cause::WrongPath => ErrorCode::POLICY_PRODUCT,
        Cause::AboveCeiling => ErrorCode::POLICY_CEILING,
        Cause::WrongChannel => ErrorCode::POLICY_CHANNEL,
        Cause::WrongHardware => ErrorCode::POLICY_HARDWARE,
        Cause::WrongChip => ErrorCode::POLICY_CHIP,
        Cause::SecurityVersionTooLow => ErrorCode::POLICY_SECURITY_VERSION,
        Cause::SecureVersionOutOfRange => ErrorCode::IMAGE_SECURE_VERSION,
        Cause::SlotTooSmall => ErrorCode::POLICY_SLOT,
        Cause::WrongKind => ErrorCode::POLICY_KIND,
        Cause::BadEnvelope
        | Cause::BadField(_)
        | Cause::Json(_)
        | Cause::Store(_)
        | Cause::WrongSpecification
        | Cause::WrongType => ErrorCode::TRUST_MALFORMED,
    }
}
