//! esp-ota behind the traits of [`crate::ota`]: a translation without decisions.
//!
//! Building this needs ESP-IDF, which esp-idf-sys fetches. It was type-checked for
//! `riscv32imc-esp-espidf` against the source of esp-ota 0.2.2 with stand-ins for what that binds
//! to. It was never linked, and never ran on a device.

use esp_ota::{CompletedOtaUpdate, ErrorKind, OtaUpdate};

use crate::ota::{Completed, Ota, OtaError, Update};

/// ESP-IDF, through esp-ota.
#[derive(Clone, Copy, Debug)]
pub struct EspOta;

impl Ota for EspOta {
    type Update = OtaUpdate;

    fn begin(&mut self) -> Result<OtaUpdate, OtaError> {
        OtaUpdate::begin().map_err(translate)
    }

    fn mark_app_valid(&mut self) {
        esp_ota::mark_app_valid();
    }

    fn rollback_and_reboot(&mut self) -> Result<(), OtaError> {
        match esp_ota::rollback_and_reboot() {
            Ok(never) => match never {},
            Err(error) => Err(translate(error)),
        }
    }
}

impl Update for OtaUpdate {
    type Completed = CompletedOtaUpdate;

    fn write(&mut self, bytes: &[u8]) -> Result<(), OtaError> {
        Self::write(self, bytes).map_err(translate)
    }

    fn finalize(self) -> Result<CompletedOtaUpdate, OtaError> {
        Self::finalize(self).map_err(translate)
    }
}

impl Completed for CompletedOtaUpdate {
    fn set_as_boot_partition(&mut self) -> Result<(), OtaError> {
        Self::set_as_boot_partition(self).map_err(translate)
    }
}

fn translate(error: esp_ota::Error) -> OtaError {
    match error.kind() {
        ErrorKind::AllocFailed => OtaError::Memory,
        ErrorKind::FlashFailed | ErrorKind::FlashTimeout | ErrorKind::WritingEncryptedFailed => {
            OtaError::Flash
        }
        ErrorKind::InvalidImage | ErrorKind::InvalidMagicByte | ErrorKind::NothingWritten => {
            OtaError::ImageRefused
        }
        ErrorKind::InvalidOtaPartitionData => OtaError::Records,
        ErrorKind::InvalidRollbackState => OtaError::OnTrial,
        ErrorKind::NoOtaPartition => OtaError::NoSlot,
        ErrorKind::RollbackFailedNoApps => OtaError::NoFallback,
        _ => OtaError::Unknown,
    }
}
