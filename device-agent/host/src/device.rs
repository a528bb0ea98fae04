//! One simulated device: a board, its credentials, and the agent on it.
//!
//! The agent is the one that ships. What is simulated is around it: the board and its application.

mod seen;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use semver::Version;
use sha2::{Digest as _, Sha256};
use waxwing_agent::driver::{Driver, Identity, Platform, Ports, StartError};
use waxwing_agent::network::Entropy as _;
use waxwing_agent::ports::{FlashError, ResetReason};
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Firmware};
use waxwing_agent_net::est::{self, EstError, KeyStore as _};
use waxwing_agent_net::http::Expired;
use waxwing_agent_net::identity::{MessageSigner, SharedIdentity};
use waxwing_agent_net::mqtt::{Link, Mailbox, mailbox};
use waxwing_agent_net::{Identity as Credentials, SharedClient};
use waxwing_esp_image::model::{BootError, BootLoader};
use waxwing_tuf::{Refusal, Time, uptane};
use waxwing_wire::{DeviceId, Digest};

use crate::board::{
    Application, Board, BootPort, JournalPort, Layout, LayoutError, Running, SlotPort,
};
use crate::credentials::{CredentialsError, KeyFolder};
use crate::flash::{Flash, FlashFault, FlashFile};
use crate::happening::{Happening, What};
use crate::kit::{BUILT_AT_S, Kit};
use crate::network::{HostNetwork, Https, https};
use crate::pins::{PinsPort, ServerPins};
use crate::random::SystemEntropy;
use crate::store::Metadata;
use crate::time::Uptime;
use seen::{Seen, booted};

/// The platform of a simulated device.
#[derive(Debug)]
pub enum Simulated {}

impl Platform for Simulated {
    type Flash = SlotPort;
    type Boot = BootPort;
    type Journal = JournalPort;
    type App = Application;
    type Server = Https;
    type Messages = Mailbox<HostNetwork>;
    type Signer = MessageSigner;
    type Clock = Uptime;
    type Entropy = SystemEntropy;
    type Store = Metadata;
    type Pins = PinsPort;
}

/// A device that is enrolled.
#[derive(Debug)]
pub struct Device {
    kit: Arc<Kit>,
    id: DeviceId,
    board: Board,
    keys: KeyFolder,
    identity: SharedIdentity,
    client: SharedClient,
    expired: Expired,
    pins: ServerPins,
    director: Metadata,
    image: Metadata,
    seen: Seen,
    /// Which of the devices of this process it is.
    number: u32,
}

/// A device cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The boot loader starts nothing.
    #[error("boot loader starts no image")]
    Boot(#[source] BootError<FlashFault>),
    /// Key or certificate.
    #[error("credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// No certificate.
    #[error("enrolment failed")]
    Enrolment(#[from] EstError<CredentialsError>),
    /// A file of the device.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The flash cannot be laid out.
    #[error("device cannot be made")]
    Layout(#[from] LayoutError),
    /// There is neither a certificate nor a token.
    #[error("device is not enrolled and has no token")]
    NoToken,
    /// The agent does not start.
    #[error("agent does not start")]
    Start(#[from] StartError),
    /// What the device trusts cannot be used.
    #[error("trusted metadata cannot be used: {0}")]
    Trust(Refusal),
}

/// What becomes of what can be seen of a device: `Break` stops it where it is.
pub type Observer<'a> = dyn FnMut(Happening) -> ControlFlow<()> + 'a;

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
    ) -> Result<Self, DeviceError> {
        let layout = Layout::new(kit.config.slot_bytes);
        let mut flash = Flash::erased(layout.sectors(), &kit.sectors);
        layout.manufacture(&mut flash, &kit.factory)?;
        let stores = (Metadata::in_memory(), Metadata::in_memory());
        Self::enrolled(kit, id, token, flash, stores).await
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
            Flash::in_file(flash_file, &content, &kit.sectors)
        } else {
            let layout = Layout::new(kit.config.slot_bytes);
            let flash_file =
                FlashFile::create(&path, layout.sectors()).map_err(file(path.clone()))?;
            let (_, content) = FlashFile::open(&path).map_err(file(path))?;
            let mut flash = Flash::in_file(flash_file, &content, &kit.sectors);
            layout.manufacture(&mut flash, &kit.factory)?;
            flash
        };
        Self::enrolled(kit, id, token, flash, stores).await
    }

    async fn enrolled(
        kit: &Arc<Kit>,
        id: DeviceId,
        token: Option<&str>,
        flash: Flash,
        (director, image): (Metadata, Metadata),
    ) -> Result<Self, DeviceError> {
        let folder = kit.config.work.join(id.as_str());
        let mut keys = KeyFolder::open(folder.clone())?;
        let pins = ServerPins::open(&folder, &kit.server);
        let credentials = match keys.identity()? {
            Some(credentials) => credentials,
            None => enrol(kit, &pins, &mut keys, &id, token.ok_or(DeviceError::NoToken)?).await?,
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
            number: 0,
        })
    }

    /// Tells a device that it is one of thousands in this process.
    #[must_use]
    pub fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Switches the device on and lets it run until the observer has seen enough.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] when it is a brick, or its agent does not start.
    pub async fn run(&mut self, observer: &mut Observer<'_>) -> Result<(), DeviceError> {
        let mut reset = ResetReason::PowerOn;
        loop {
            let running = match self.board.start(reset) {
                Ok(running) => running,
                // Somebody cut the power while the boot loader wrote: once more.
                Err(BootError::Flash(FlashFault::PowerCut)) => {
                    self.board.flash().cut_power(None);
                    continue;
                }
                Err(error) => return Err(DeviceError::Boot(error)),
            };
            match self.run_until_reset(&running, observer).await? {
                ControlFlow::Continue(reason) => reset = reason,
                ControlFlow::Break(()) => return Ok(()),
            }
        }
    }

    /// Returns the board, to look at or to disturb.
    pub const fn board(&self) -> &Board {
        &self.board
    }

    async fn run_until_reset(
        &mut self,
        running: &Running,
        observer: &mut Observer<'_>,
    ) -> Result<ControlFlow<(), ResetReason>, DeviceError> {
        let network = Rc::new(HostNetwork::of_device(self.number));
        let clock = network.uptime();
        let (mailbox, link) = mailbox(&network, &self.id, &self.client);
        let mut driver = self.driver(running, network, mailbox)?;
        if self.tell(observer, booted(running, driver.agent().firmware())).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let (kit, power) = (Arc::clone(&self.kit), self.board.power().clone());
        let mut link = pin!(keep_up(link, &kit));
        loop {
            tokio::select! {
                biased;
                reason = power.pulled() => return Ok(ControlFlow::Continue(reason)),
                turn = driver.turn() => {
                    let mut happened = self.seen.after(&driver, turn);
                    happened.extend(self.seen.pinned(self.pins.kept()));
                    let told = happened.into_iter().try_for_each(|what| self.tell(observer, what));
                    if told.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    if turn.action == Action::Poll {
                        self.renew_if_due(driver.agent().unix_s(clock_now(clock)), observer).await;
                    }
                }
                never = &mut link => match never {},
            }
        }
    }

    fn driver(
        &self,
        running: &Running,
        network: Rc<HostNetwork>,
        messages: Mailbox<HostNetwork>,
    ) -> Result<Driver<Simulated>, DeviceError> {
        let target = self.board.slot_port(running.slot);
        let flash = target.map_err(|_: FlashError| LayoutError::ImageTooLarge)?;
        let config = &self.kit.config;
        let ports = Ports {
            flash,
            boot: self
                .board
                .boot_port(running)
                .map_err(|_: FlashError| LayoutError::ImageTooLarge)?,
            journal: self.board.journal_port(),
            app: Application::new(&self.board, running),
            clock: network.uptime(),
            server: Https::new(network, config.server.device.clone(), Rc::clone(&self.client))
                .noting(Rc::clone(&self.expired)),
            messages,
            signer: MessageSigner(Rc::clone(&self.identity)),
            entropy: SystemEntropy,
            pins: PinsPort::new(
                self.pins.clone(),
                Rc::clone(&self.identity),
                Rc::clone(&self.client),
            ),
        };
        let identity = Identity {
            id: self.id.clone(),
            product: config.product.clone(),
            hardware: config.hardware.clone(),
        };
        let (firmware, policy) = (self.firmware(running), config.policy());
        let (rules, trust) = (config.image_rules(), self.trust()?);
        Ok(Driver::boot(ports, identity, firmware, policy, rules, trust)?)
    }

    fn trust(&self) -> Result<Trust<Metadata>, DeviceError> {
        let config = &self.kit.config;
        let device = uptane::Device {
            id: self.id.to_string(),
            product: config.product.to_string(),
            channels: config.channels.iter().map(ToString::to_string).collect(),
            hardware: config.hardware.to_string(),
            chip: config.chip.as_str().into(),
            slot_bytes: config.slot_bytes.into(),
            security_version: config.factory.security_version,
            secure_versions: 0..=config.chip.secure_version_max(),
        };
        let client = uptane::Client::open(
            device,
            (self.director.clone(), &self.kit.director_root),
            (self.image.clone(), &self.kit.image_root),
        );
        Ok(Trust::new(client.map_err(DeviceError::Trust)?, Time::from_seconds(BUILT_AT_S)))
    }

    /// What is compiled into the running image. The simulated one says so in its descriptor, if it
    /// has one.
    fn firmware(&self, running: &Running) -> Firmware {
        let sha256 = Digest(Sha256::digest(&running.image).into());
        let factory = &self.kit.config.factory;
        let described = || {
            let descriptor = running.app.descriptor.as_ref()?;
            descriptor.version.as_str()?.parse().ok()
        };
        let release = if sha256 == self.kit.factory_sha256 {
            factory.version.clone()
        } else {
            described().unwrap_or(Version::new(0, 0, 0))
        };
        Firmware { release, sha256, security_version: factory.security_version }
    }

    /// Renews the certificate at two thirds of its life, or when the server says that it has ended.
    /// A failure waits for the next poll.
    async fn renew_if_due(&mut self, unix_s: Option<u64>, observer: &mut Observer<'_>) {
        let is_due = unix_s.is_some_and(|unix_s| self.identity.borrow().is_due(unix_s));
        if !self.expired.take() && !is_due {
            return;
        }
        let present = Rc::clone(&self.client.borrow());
        let mut server = https(self.kit.config.server.device.clone(), present);
        let Ok(renewed) = est::renew(&mut server, &mut self.keys, &self.id).await else { return };
        let renewed = Rc::new(renewed);
        *self.client.borrow_mut() = self.pins.trust().client(Some(&renewed));
        *self.identity.borrow_mut() = renewed;
        let _ = self.tell(observer, What::Renewed);
    }

    fn tell(&self, observer: &mut Observer<'_>, what: What) -> ControlFlow<()> {
        observer(Happening { device: self.id.clone(), what })
    }
}

async fn enrol(
    kit: &Kit,
    pins: &ServerPins,
    keys: &mut KeyFolder,
    id: &DeviceId,
    token: &str,
) -> Result<Credentials, DeviceError> {
    let mut server = https(kit.config.server.enrol.clone(), pins.trust().client(None));
    Ok(est::enrol(&mut server, keys, id, token).await?)
}

async fn keep_up(link: Link<HostNetwork>, kit: &Kit) -> std::convert::Infallible {
    let mut seed = [0; 8];
    SystemEntropy.fill(&mut seed);
    match &kit.config.server.mqtt {
        Some(address) => {
            link.keep_up(address, &kit.config.policy(), u64::from_le_bytes(seed)).await
        }
        None => std::future::pending().await,
    }
}

fn clock_now(clock: Uptime) -> std::time::Duration {
    waxwing_agent::network::Clock::now(&clock)
}
