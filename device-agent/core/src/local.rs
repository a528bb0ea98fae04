//! Carries out what an agent asks for on the device itself: flash, boot records, journal,
//! application.
//!
//! No network and no waiting here, so tests can drive a device through thousands of power cuts
//! without either.

mod scan;

use alloc::boxed::Box;
use alloc::string::String;

use waxwing_esp_image::Chip;
use waxwing_esp_image::app::{App, ImageError};
use waxwing_esp_image::check::{self, Expected, Mismatch};
use waxwing_tuf::ContentCheck;
use waxwing_wire::ErrorCode;

pub use scan::Scan;

use crate::agent::{Action, Agent, Comparison, Event};
use crate::chunks::Recall;
use crate::journal::{Condition, Deployment, Pages, Record};
use crate::ports::{AppHooks, BootControl, Journal, SECTOR_BYTES, SlotFlash};

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
    pub fn open(flash: F, boot: B, journal: J, app: A, rules: ImageRules) -> (Self, Record) {
        let (journal, mut record) = Pages::open(journal);
        if !flash.goes_on() {
            record.start_over();
        }
        (Self { flash, boot, app, journal, rules, scanned: None }, record)
    }

    /// Tells what became of the journal.
    pub const fn journal(&self) -> Condition {
        self.journal.condition()
    }

    /// Carries out an action and returns what came of it; `None` when it needs the network or
    /// time, or is a restart.
    pub fn perform(&mut self, agent: &Agent, action: Action) -> Option<Event> {
        Some(match action {
            Action::Activate { slot, sha256 } => written(&self.boot.activate(slot, &sha256)),
            Action::AskToDownload => Event::Permitted(self.app.may_download()),
            Action::AskToReboot => Event::Permitted(self.app.may_reboot(agent.deferrals())),
            Action::Burn { secure_version } => {
                let burned = self.boot.burn(secure_version);
                if burned.is_ok() {
                    self.rules.secure_version = self.rules.secure_version.max(secure_version);
                }
                written(&burned)
            }
            Action::CheckHealth => Event::Health(self.app.health()),
            Action::Confirm => written(&self.boot.confirm()),
            Action::Inspect => match self.inspect(agent.deployment()) {
                Ok(()) => Event::Done,
                Err(code) => Event::Failed(code),
            },
            Action::Reject => written(&self.boot.reject()),
            Action::Save => written(&self.journal.save(agent.record())),
            Action::SelfTest => Event::SelfTested(self.app.self_test()),
            Action::Compare
            | Action::Open { .. }
            | Action::Poll
            | Action::Reboot
            | Action::Recall { .. }
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

    /// Begins to compare what is in the target slot with the signed image. What the image says about
    /// itself is looked at once.
    pub fn scan(&self, image: &Deployment) -> Scan {
        Scan::new(image, self.scanned.is_none())
    }

    /// Reads the next sector of what may be there of an image; true when that is known.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FLASH_REREAD`] when flash reports a fault.
    pub fn recall(&mut self, recall: &mut Recall) -> Result<bool, ErrorCode> {
        if !self.flash.goes_on() {
            return Ok(true);
        }
        recall.advance(&mut self.flash).map_err(|_| ErrorCode::FLASH_REREAD)
    }

    /// Ends a scan: remembers what the image is, for [`Action::Inspect`], and tells whether it is the
    /// signed one.
    pub fn finish(&mut self, scan: Scan) -> bool {
        let (is_signed, image) = scan.finish();
        self.scanned = image.or_else(|| self.scanned.take()).filter(|_| is_signed);
        is_signed
    }

    /// Compares what is in the target slot with the signed image in one go.
    pub fn compare(&mut self, image: &Deployment) -> Event {
        let mut scan = self.scan(image);
        loop {
            match self.advance(&mut scan) {
                Ok(true) => return self.compared(scan),
                Ok(false) => {}
                Err(code) => return Event::Failed(code),
            }
        }
    }

    fn compared(&mut self, scan: Scan) -> Event {
        Event::Compared(Comparison { flash: self.finish(scan), network: None })
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

/// Compares a download with the signed image as it comes, as long as it comes in one go.
#[derive(Debug, Default)]
pub struct Passing {
    next: u32,
    // Large, and only there while something comes.
    check: Option<Box<ContentCheck>>,
}

impl Passing {
    /// Takes bytes of `image` that belong at `offset`.
    pub fn take(&mut self, image: &Deployment, offset: u32, bytes: &[u8]) {
        if offset == 0 {
            self.check = Some(Box::new(image.content()));
        } else if offset != self.next {
            self.check = None;
        }
        if let Some(check) = &mut self.check {
            // Too many bytes are still too many at the end.
            let _ = check.update(bytes);
        }
        self.next = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(SECTOR_BYTES));
    }

    /// Tells whether all bytes were those of the signed image, if all came in one go.
    pub fn finish(&mut self) -> Option<bool> {
        self.check.take().map(|check| check.finish().is_ok())
    }
}
