//! How a simulated device comes into being: made, or found again, and enrolled.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use waxwing_agent_net::est::{self, KeyStore as _};
use waxwing_agent_net::http::Expired;
use waxwing_esp_image::model::BootLoader;
use waxwing_wire::DeviceId;

use super::seen::Seen;
use super::{Device, DeviceError};
use crate::board::{Board, Layout, LayoutError};
use crate::credentials::KeyFolder;
use crate::flash::{Flash, FlashFile};
use crate::kit::Kit;
use crate::network::{HostNetwork, https_over};
use crate::pins::ServerPins;
use crate::store::Metadata;
use crate::trouble::Trouble;

/// Which of the devices of a process one is, and what goes wrong around it. A device of its own has no
/// trouble.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// From 0.
    pub number: u32,
    /// What goes wrong.
    pub trouble: Trouble,
}

impl Place {
    /// Switches the device's network on.
    pub(super) fn network(&self) -> HostNetwork {
        HostNetwork::of_device(self.number, &self.trouble)
    }
}

impl Device {
    /// Makes one of thousands: flash and metadata in memory, credentials in the work folder.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] when it cannot be made or enrolled.
    pub async fn in_memory(
        kit: &Arc<Kit>,
        id: DeviceId,
        token: Option<&str>,
        place: Place,
    ) -> Result<Self, DeviceError> {
        let (layout, mut flash) = (Layout::new(kit.config.slot_bytes), kit.chip.copy());
        if let Some(sector) = place.trouble.bad_sector(layout, kit.factory.len()) {
            flash.wear_out(sector);
        }
        let stores = (Metadata::sharing(&kit.shared), Metadata::sharing(&kit.shared));
        Self::enrolled(kit, id, token, flash, stores, place).await
    }

    /// Makes a device for a close look, or finds it again: everything is in the work folder, the
    /// flash as `<work>/<id>/flash.bin`.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] when it cannot be made, read or enrolled.
    pub async fn in_folder(
        kit: &Arc<Kit>,
        id: DeviceId,
        token: Option<&str>,
    ) -> Result<Self, DeviceError> {
        let folder = kit.config.work.join(id.as_str());
        let file = |path: PathBuf| move |source| DeviceError::File { path, source };
        let store = |name: &str| {
            let path = folder.join(name);
            Metadata::in_folder(path.clone()).map_err(file(path))
        };
        let stores = (store("director")?, store("image")?);
        let path = folder.join("flash.bin");
        let flash = if path.exists() {
            let (flash_file, content) = FlashFile::open(&path).map_err(file(path))?;
            Flash::in_file(flash_file, &content, &kit.shared).map_err(LayoutError::Flash)?
        } else {
            let layout = Layout::new(kit.config.slot_bytes);
            let flash_file =
                FlashFile::create(&path, layout.sectors()).map_err(file(path.clone()))?;
            let (_, content) = FlashFile::open(&path).map_err(file(path))?;
            let flash = Flash::in_file(flash_file, &content, &kit.shared);
            let mut flash = flash.map_err(LayoutError::Flash)?;
            layout.manufacture(&mut flash, &kit.factory)?;
            flash
        };
        Self::enrolled(kit, id, token, flash, stores, Place::default()).await
    }

    async fn enrolled(
        kit: &Arc<Kit>,
        id: DeviceId,
        token: Option<&str>,
        flash: Flash,
        (director, image): (Metadata, Metadata),
        place: Place,
    ) -> Result<Self, DeviceError> {
        let folder = kit.config.work.join(id.as_str());
        let mut keys = KeyFolder::open(folder.clone())?;
        let pins = ServerPins::open(&folder, &kit.server);
        let credentials = if let Some(credentials) = keys.identity()? {
            credentials
        } else {
            let token = token.ok_or(DeviceError::NoToken)?;
            let (address, client) = (kit.config.server.enrol.clone(), pins.trust().client(None));
            let mut server = https_over(place.network(), address, client);
            est::enrol(&mut server, &mut keys, &id, token).await?
        };
        let credentials = Rc::new(credentials);
        let client = Rc::new(RefCell::new(pins.trust().client(Some(&credentials))));
        let rollback = kit.config.boot_loader.into();
        let boot_loader = BootLoader { chip: kit.config.chip, rollback };
        let board = Board::new(flash, Layout::new(kit.config.slot_bytes), boot_loader);
        let (kit, identity) = (Arc::clone(kit), Rc::new(RefCell::new(credentials)));
        let seen = Seen::beginning_with(pins.kept());
        let expired = Expired::default();
        Ok(Self {
            kit,
            id,
            board,
            keys,
            identity,
            client,
            expired,
            pins,
            director,
            image,
            seen,
            place,
        })
    }
}
