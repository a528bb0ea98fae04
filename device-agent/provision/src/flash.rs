//! A whole flash image.

use anyhow::{Context as _, bail};
use waxwing_agent_flash::{Layout, layout};
use waxwing_esp_image::app::App;
use waxwing_esp_image::otadata::Slot;
use waxwing_esp_image::partition::{self, Partition, TABLE_AT, TABLE_BYTES, Table};
use waxwing_esp_image::write::set_flash_4mb;
use waxwing_wire::Provision;

/// Length of a flash chip in bytes.
pub const FLASH_BYTES: usize = 4 << 20;

/// What goes into the flash of a new device.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The second-stage boot loader.
    pub boot_loader: &'a [u8],
    /// Where in flash the chip looks for it: 0 on an ESP32-C3.
    pub boot_loader_at: u32,
    /// The application.
    pub app: &'a [u8],
}

/// Returns the partition table of a new product.
///
/// # Errors
///
/// Never, with the table of this crate.
pub fn table() -> anyhow::Result<[u8; TABLE_BYTES]> {
    Ok(partition::write(&layout::standard_4mb())?)
}

/// Puts the flash of a new device together, without credentials. The boot records are erased: the
/// boot loader starts the application in the first slot.
///
/// # Errors
///
/// When the application is no good image, or something does not fit where it belongs.
pub fn make(content: &Content<'_>) -> anyhow::Result<Vec<u8>> {
    let app = App::parse(content.app).context("the application is no image that would start")?;
    let table = table()?;
    let layout = Layout::of(Table::parse(&table)?, None)?;
    let slot = layout.image(Slot::Ota(0)).context("no slot")?;
    if app.image_bytes > slot.bytes {
        bail!("the application has {} bytes, its slot {}", app.image_bytes, slot.bytes);
    }
    let room = TABLE_AT.saturating_sub(content.boot_loader_at);
    if u32::try_from(content.boot_loader.len()).is_ok_and(|bytes| bytes > room) {
        bail!("the boot loader reaches into the partition table");
    }
    let mut boot_loader = content.boot_loader.to_vec();
    set_flash_4mb(&mut boot_loader).context("the boot loader is no image that would start")?;
    let mut flash = vec![0xff; FLASH_BYTES];
    put(&mut flash, content.boot_loader_at, &boot_loader)?;
    put(&mut flash, TABLE_AT, &table)?;
    put(&mut flash, slot.offset, content.app)?;
    Ok(flash)
}

/// Finds out where in flash the credentials of a device belong that has this partition table: in a
/// partition of their own, or in their part of the one called `spare`, which the product gives up.
///
/// # Errors
///
/// When the table is damaged, or a device that has it could not be updated safely.
pub fn place(table: &[u8], spare: Option<&str>) -> anyhow::Result<Partition> {
    let table = Table::parse(table).context("there is no partition table")?;
    Ok(*Layout::of(table, spare)?.credentials())
}

/// Encodes credentials as they are written to this place, which they fill.
///
/// # Errors
///
/// When they are malformed, or too long for it.
pub fn credentials_of(provision: &Provision, place: &Partition) -> anyhow::Result<Vec<u8>> {
    let mut content = provision.encode()?;
    let room = usize::try_from(place.bytes)?;
    if content.len() > room {
        bail!("the credentials have {} bytes, their partition {room}", content.len());
    }
    content.resize(room, 0xff);
    Ok(content)
}

/// Writes credentials into a flash image, where its own partition table says, and returns where that
/// is.
///
/// # Errors
///
/// When the flash image has no place for them, or they are malformed.
pub fn write_credentials(
    flash: &mut [u8],
    provision: &Provision,
    spare: Option<&str>,
) -> anyhow::Result<Partition> {
    let table = flash.get(usize::try_from(TABLE_AT)?..).unwrap_or_default();
    let place = place(table, spare)?;
    put(flash, place.offset, &credentials_of(provision, &place)?)?;
    Ok(place)
}

fn put(flash: &mut [u8], offset: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let at = usize::try_from(offset)?;
    let place = at.checked_add(bytes.len()).and_then(|end| flash.get_mut(at..end));
    place.context("flash is too short")?.copy_from_slice(bytes);
    Ok(())
}
