//! Makes what is written into a new device: its credentials, and a whole flash image with them.
//!
//! For manufacture and for emulated devices. Not here: flashing it, which is `espflash`'s or
//! `esptool`'s, and registering the device, which is the command line's (`waxwing device add`), which makes
//! credentials with this library.

mod device;
mod file;
mod flash;

pub use device::Template;
pub use file::{Readers, create, replace};
pub use flash::{Content, FLASH_BYTES, credentials_of, make, place, table, write_credentials};
