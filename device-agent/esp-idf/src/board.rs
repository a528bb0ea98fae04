//! What a product's firmware must bring along, because esp-ota does not offer it.

use waxwing_agent::ports::ResetReason;
use waxwing_esp_image::otadata::{ENTRY_BYTES, Layout, Sector, Slot, Write};

/// Access to a device that runs ESP-IDF.
///
/// Each function is one call to `esp_partition_*`, `esp_ota_get_running_partition`, `esp_efuse_*`
/// or `esp_reset_reason`. They need unsafe code or `esp-idf-svc`, and so live in the firmware.
pub trait Board {
    /// Returns the slot whose code is running.
    fn running(&self) -> Slot;

    /// Returns what the partition table has for booting.
    fn layout(&self) -> Layout;

    /// Returns the size in bytes of the slot that the next update goes to.
    fn slot_bytes(&self) -> u32;

    /// Returns why the device restarted.
    fn reset_reason(&self) -> ResetReason;

    /// Returns the lowest `secure_version` that the eFuses still let boot.
    fn secure_version(&self) -> u32;

    /// Reads from the slot that the next update goes to.
    ///
    /// # Errors
    ///
    /// The driver's error number.
    fn read_slot(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), i32>;

    /// Reads a boot record.
    ///
    /// # Errors
    ///
    /// The driver's error number.
    fn read_record(&mut self, sector: Sector) -> Result<[u8; ENTRY_BYTES], i32>;

    /// Erases a sector of the boot records and programs the 32 bytes in one write.
    ///
    /// # Errors
    ///
    /// The driver's error number.
    fn write_record(&mut self, write: &Write) -> Result<(), i32>;

    /// Restarts the device. On hardware this does not return.
    fn restart(&mut self);
}
