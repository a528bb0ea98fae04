//! The part of esp-ota that is used, as traits: the host has no ESP-IDF to link with.

/// The functions of esp-ota.
pub trait Ota {
    /// `esp_ota::OtaUpdate`.
    type Update: Update;

    /// Erases the next slot and begins to write it.
    ///
    /// # Errors
    ///
    /// [`OtaError`]; with rollback enabled, [`OtaError::OnTrial`] while the running image is.
    fn begin(&mut self) -> Result<Self::Update, OtaError>;

    /// Marks the image valid whose record *decides*, which need not be the one that runs.
    ///
    /// # Panics
    ///
    /// When there is no such record, or flash fails.
    fn mark_app_valid(&mut self);

    /// Marks the image invalid whose record decides, and restarts: on hardware, this returns only
    /// with an error.
    ///
    /// # Errors
    ///
    /// [`OtaError::NoFallback`] when no other image could boot.
    fn rollback_and_reboot(&mut self) -> Result<(), OtaError>;
}

/// An image that is being written; dropping it gives it up.
pub trait Update {
    /// `esp_ota::CompletedOtaUpdate`.
    type Completed: Completed;

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`OtaError`]; [`OtaError::ImageRefused`] when the first byte is not an image's.
    fn write(&mut self, bytes: &[u8]) -> Result<(), OtaError>;

    /// Ends the image and has it verified.
    ///
    /// # Errors
    ///
    /// [`OtaError`]; [`OtaError::ImageRefused`] when ESP-IDF would not boot it.
    fn finalize(self) -> Result<Self::Completed, OtaError>;
}

/// An image that was written and verified.
pub trait Completed {
    /// Makes it the one to boot.
    ///
    /// # Errors
    ///
    /// [`OtaError`].
    fn set_as_boot_partition(&mut self) -> Result<(), OtaError>;
}

/// What esp-ota can answer, as far as it makes a difference (`esp_ota::ErrorKind`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OtaError {
    /// Flash could not be read or written.
    Flash,
    /// Not an image, or one that ESP-IDF would not boot.
    ImageRefused,
    /// No memory.
    Memory,
    /// No other image to go back to.
    NoFallback,
    /// No slot for an update.
    NoSlot,
    /// The running image is on trial.
    OnTrial,
    /// The boot records are unusable.
    Records,
    /// Something else.
    Unknown,
}
