//! NOR flash as a port: whoever has a chip, real or simulated, implements it.

/// NOR flash: erasing sets a whole sector to ones, programming only ever clears bits.
pub trait Flash {
    /// Why an operation did not happen: for a simulated flash, the power cut.
    type Error;

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// When the flash cannot be read.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Erases the sector that begins at `offset`.
    ///
    /// # Errors
    ///
    /// When the flash cannot be written.
    fn erase_sector(&mut self, offset: u32) -> Result<(), Self::Error>;

    /// Programs bytes.
    ///
    /// # Errors
    ///
    /// When the flash cannot be written.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}
