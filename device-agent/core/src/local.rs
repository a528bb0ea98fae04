//! Carries out what an agent asks for on the device itself: flash, boot records, journal,
//! application.
//!
//! No network and no waiting here, so tests can drive a device through thousands of power cuts
//! without either.

mod scan;

use alloc::string::String;

use sha2::Digest as _;
use waxwing_esp_image::Chip;
use waxwing_esp_image::app::{App, ImageError};
use waxwing_esp_image::check::{self, Expected, Mismatch};
use waxwing_wire::ErrorCode;

pub use scan::Scan;

use crate::agent::{Action, Agent, Event, Hashes};
use crate::journal::{Deployment, Pages, Record};
use crate::ports::{AppHooks, BootControl, FlashError, Journal, SECTOR_BYTES, SlotFlash};

/// What an image must be to run here, besides being signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageRules {
    /// The chip of this device.
    pub chip: Chip,
    /// What the version in the image's descriptor must be.
    pub version: VersionRule,
    /// What the project in the image's descriptor must be; `None` if the product does not care.
    pub project: Option<String>,
    /// Lowest `secure_version` the eFuses still let boot.
    pub secure_version: u32,
}

/// What the version in an image's descriptor must be (D27).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionRule {
    /// Anything: the product takes images that were built elsewhere.
    Ignore,
    /// The release's.
    Match,
}

/// The device around an agent.
#[derive(Debug)]
pub struct Local<F, B, J, A> {
    /// The slot an update goes to.
    pub flash: F,
    /// The boot records.
    pub boot: B,
    /// The application.
    pub app: A,
    journal: Pages<J>,
    rules: ImageRules,
    /// What the last scan of the target slot found.
    scanned: Option<Result<App, ImageError>>,
}

impl<F: SlotFlash, B: BootControl, J: Journal, A: AppHooks> Local<F, B, J, A> {
    /// Opens the journal, and returns its newest record.
    ///
    /// # Errors
    ///
    /// [`FlashError`] when the journal's storage reports a fault.
    pub fn open(
        flash: F,
        boot: B,
        journal: J,
        app: A,
        rules: ImageRules,
    ) -> Result<(Self, Record), FlashError> {
        let (journal, record) = Pages::open(journal)?;
        Ok((Self { flash, boot, app, journal, rules, scanned: None }, record))
    }

    /// Carries out an action and returns what came of it; `None` when it needs the network or
    /// time, or is a restart.
    pub fn perform(&mut self, agent: &Agent, action: Action) -> Option<Event> {
        Some(match action {
            Action::Activate { slot, sha256 } => written(&self.boot.activate(slot, &sha256)),
            Action::AskToDownload => Event::Permitted(self.app.may_download()),
            Action::AskToReboot => Event::Permitted(self.app.may_reboot()),
            Action::CheckHealth => Event::Health(self.app.health()),
            Action::Confirm => written(&self.boot.confirm()),
            Action::Inspect => match self.inspect(agent.deployment()) {
                Ok(()) => Event::Done,
                Err(code) => Event::Failed(code),
            },
            Action::Reject => written(&self.boot.reject()),
            Action::Save => written(&self.journal.save(agent.record())),
            Action::SelfTest => Event::SelfTested(self.app.self_test()),
            Action::Hash { .. }
            | Action::Open { .. }
            | Action::Poll
            | Action::Reboot
            | Action::Transfer { .. }
            | Action::Wait { .. } => return None,
        })
    }

    /// Makes sure that the running image survives what is about to be written.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FLASH_WRITE`] when the boot records cannot be put right.
    pub fn protect(&mut self) -> Result<(), ErrorCode> {
        self.boot.protect().map_err(|_| ErrorCode::FLASH_WRITE)
    }

    /// Writes one sector of the image, or its last piece.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FLASH_WRITE`] when flash reports a fault.
    pub fn store(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.scanned = None;
        self.flash
            .erase_sector(offset)
            .and_then(|()| self.flash.write(offset, bytes))
            .map_err(|_| ErrorCode::FLASH_WRITE)
    }

    /// Reads the next sector of a scan; true when there is nothing left to read.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FLASH_REREAD`] when flash reports a fault.
    pub fn advance(&mut self, scan: &mut Scan) -> Result<bool, ErrorCode> {
        scan.advance(&mut self.flash).map_err(|_| ErrorCode::FLASH_REREAD)
    }

    /// Ends a scan: remembers what the image is, for [`Action::Inspect`], and returns its hash.
    pub fn finish(&mut self, scan: Scan) -> waxwing_wire::Digest {
        let (sha256, image) = scan.finish();
        self.scanned = Some(image);
        sha256
    }

    /// Hashes the image in the target slot in one go.
    pub fn hash(&mut self, length: u32) -> Event {
        let mut scan = Scan::new(length);
        loop {
            match self.advance(&mut scan) {
                Ok(true) => return self.hashed(scan),
                Ok(false) => {}
                Err(code) => return Event::Failed(code),
            }
        }
    }

    fn hashed(&mut self, scan: Scan) -> Event {
        Event::Hashed(Hashes { flash: self.finish(scan), network: None })
    }

    fn inspect(&self, deployment: Option<&Deployment>) -> Result<(), ErrorCode> {
        let malformed = ErrorCode::IMAGE_MALFORMED;
        let deployment = deployment.ok_or(malformed)?;
        let image = self.scanned.as_ref().ok_or(malformed)?;
        let image = image.as_ref().map_err(|_| malformed)?;
        if deployment.secure_version < self.rules.secure_version {
            return Err(ErrorCode::IMAGE_SECURE_VERSION);
        }
        let release = alloc::format!("{}", deployment.release);
        let expected = Expected {
            chip: self.rules.chip,
            slot_bytes: self.flash.slot_bytes(),
            version: match self.rules.version {
                VersionRule::Ignore => None,
                VersionRule::Match => Some(&release),
            },
            project: self.rules.project.as_deref(),
            secure_version: deployment.secure_version,
        };
        check::against(image, deployment.length.into(), &expected).map_err(code_of)
    }
}

fn written<E>(result: &Result<(), E>) -> Event {
    match result {
        Ok(()) => Event::Done,
        Err(_) => Event::Failed(ErrorCode::FLASH_WRITE),
    }
}

const fn code_of(mismatch: Mismatch) -> ErrorCode {
    match mismatch {
        Mismatch::Chip { .. } => ErrorCode::IMAGE_CHIP,
        Mismatch::Project { .. } => ErrorCode::IMAGE_PROJECT,
        Mismatch::SecureVersion { .. } | Mismatch::SecureVersionMax { .. } => {
            ErrorCode::IMAGE_SECURE_VERSION
        }
        Mismatch::TooLarge { .. } => ErrorCode::POLICY_SLOT,
        Mismatch::Version { .. } => ErrorCode::IMAGE_VERSION,
        Mismatch::NoDescriptor => ErrorCode::IMAGE_MALFORMED,
    }
}

/// Hashes a download as it comes, as long as it comes in one go.
#[derive(Debug, Default)]
pub struct Passing {
    next: u32,
    hash: Option<sha2::Sha256>,
}

impl Passing {
    /// Takes bytes that belong at `offset`.
    pub fn take(&mut self, offset: u32, bytes: &[u8]) {
        if offset == 0 {
            self.hash = Some(sha2::Sha256::new());
        } else if offset != self.next {
            self.hash = None;
        }
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.next = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(SECTOR_BYTES));
    }

    /// Returns the hash of all bytes, if all came in one go.
    pub fn finish(&mut self) -> Option<waxwing_wire::Digest> {
        self.hash.take().map(|hash| waxwing_wire::Digest(hash.finalize().into()))
    }
}
