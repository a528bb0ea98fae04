//! One simulated device: a board, its credentials, and the agent on it.
//!
//! The agent is the one that ships. What is simulated is around it: the board and its application.

mod birth;
mod seen;
mod telemetry;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use semver::Version;
use waxwing_agent::driver::{Driver, Identity, Platform, Ports, StartError};
use waxwing_agent::network::Entropy as _;
use waxwing_agent::ports::{FlashError, ResetReason};
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Firmware};
use waxwing_agent_net::SharedClient;
use waxwing_agent_net::est::{self, EstError};
use waxwing_agent_net::http::Expired;
use waxwing_agent_net::identity::{MessageSigner, SharedIdentity};
use waxwing_agent_net::mqtt::{Link, Mailbox, mailbox};
use waxwing_esp_image::model::BootError;
use waxwing_tuf::{Refusal, Time, uptane};
use waxwing_wire::DeviceId;

use crate::board::{
    Application, Board, BootPort, JournalPort, LayoutError, Log, Running, SlotPort,
};
use crate::credentials::{CredentialsError, KeyFolder};
use crate::flash::FlashFault;
use crate::happening::{Happening, What, reset_name};
use crate::kit::{BUILT_AT_S, Kit};
use crate::network::{HostNetwork, Https, https_over};
use crate::pins::{PinsPort, ServerPins};
use crate::random::SystemEntropy;
use crate::store::Metadata;
use crate::time::Uptime;
use crate::uplink::{Relay, Socket, Uplink};
use seen::{Seen, booted};
use telemetry::Chatter;

pub use birth::Place;

/// The platform of a simulated device.
#[derive(Debug)]
pub enum Simulated {}

impl Platform for Simulated {
    type Flash = SlotPort;
    type Boot = BootPort;
    type Journal = JournalPort;
    type App = Application;
    type Server = Uplink;
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
    place: Place,
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
    /// Switches the device on and lets it run until the observer has seen enough.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] when it is a brick, or its agent does not start.
    pub async fn run(&mut self, observer: &mut Observer<'_>) -> Result<(), DeviceError> {
        let mut reset = ResetReason::PowerOn;
        loop {
            self.switch_on();
            let running = match self.board.start(reset) {
                Ok(running) => running,
                // The power went while the boot loader wrote: once more.
                Err(BootError::Flash(FlashFault::PowerCut)) => continue,
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

    fn switch_on(&self) {
        let (mut flash, trouble) = (self.board.flash(), &self.place.trouble);
        if flash.was_cut() {
            trouble.happened();
        } else if flash.next_cut().is_some() {
            return;
        }
        let next_cut = trouble.next_cut(flash.operations());
        flash.cut_power(next_cut);
    }

    async fn run_until_reset(
        &mut self,
        running: &Running,
        observer: &mut Observer<'_>,
    ) -> Result<ControlFlow<(), ResetReason>, DeviceError> {
        let network = Rc::new(self.place.network());
        let clock = network.uptime();
        let (mailbox, link) = mailbox(&network, &self.id, &self.client);
        let relay = self.relay(&network);
        let chatter = Chatter::new(clock);
        let log = Log::default();
        log.write(&format!("started after {}", reset_name(running.reset)));
        let mut driver = match self.driver(running, network, mailbox, relay.clone(), &log) {
            Ok(driver) => driver,
            Err(_) if self.board.flash().was_cut() => {
                self.board.power().take();
                return Ok(ControlFlow::Continue(ResetReason::PowerOn));
            }
            Err(error) => return Err(error),
        };
        if self.tell(observer, booted(running, driver.agent().firmware())).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let (kit, power) = (Arc::clone(&self.kit), self.board.power().clone());
        let mut link = pin!(keep_up(link, &kit));
        let mut chat = chatter.chat(relay, kit.config.telemetry_every);
        loop {
            tokio::select! {
                biased;
                reason = power.pulled() => return Ok(ControlFlow::Continue(reason)),
                turn = driver.turn() => {
                    let mut happened = self.seen.after(&driver, turn);
                    happened.extend(self.seen.pinned(self.pins.kept()));
                    happened.extend(log.take_commands().into_iter().map(commanded));
                    let told = happened.into_iter().try_for_each(|what| self.tell(observer, what));
                    if told.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let unix_s = driver.agent().unix_s(clock_now(clock));
                    chatter.know(unix_s);
                    if turn.action == Action::Poll {
                        // Rare, and nothing of it stays in memory.
                        Box::pin(self.renew_if_due(unix_s, observer)).await;
                    }
                }
                never = &mut link => match never {},
                never = &mut chat => match never {},
            }
        }
    }

    fn driver(
        &self,
        running: &Running,
        network: Rc<HostNetwork>,
        messages: Mailbox<HostNetwork>,
        relay: Option<Relay>,
        log: &Log,
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
            app: self.application(running).writing(log.clone()),
            clock: network.uptime(),
            server: match relay {
                Some(relay) => Uplink::Relayed(Box::new(relay)),
                None => Uplink::Direct(self.https(network)),
            },
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

    fn https(&self, network: Rc<HostNetwork>) -> Https {
        let address = self.kit.config.server.device.clone();
        Https::new(network, address, Rc::clone(&self.client)).noting(Rc::clone(&self.expired))
    }

    /// The way to the server through the gateway, if the device has one.
    fn relay(&self, network: &Rc<HostNetwork>) -> Option<Relay> {
        let gateway = self.kit.config.server.gateway.clone()?;
        let link = Socket::new(Rc::clone(network), gateway);
        let signer = MessageSigner(Rc::clone(&self.identity));
        Some(Relay::new(Rc::clone(network), self.id.clone(), link, signer))
    }

    fn application(&self, running: &Running) -> Application {
        if running.sha256 == self.kit.factory_sha256 || !self.place.trouble.crashes_updates() {
            let puts_off = self.place.trouble.puts_off();
            return Application::new(&self.board, running).of_user(puts_off);
        }
        self.place.trouble.happened();
        Application::crashing(&self.board)
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
        let factory = &self.kit.config.factory;
        let described = || {
            let descriptor = running.app.descriptor.as_ref()?;
            descriptor.version.as_str()?.parse().ok()
        };
        let release = if running.sha256 == self.kit.factory_sha256 {
            factory.version.clone()
        } else {
            described().unwrap_or(Version::new(0, 0, 0))
        };
        let secure_version = running.secure_version();
        let security_version = factory.security_version;
        Firmware { release, sha256: running.sha256, security_version, secure_version }
    }

    /// Renews the certificate at two thirds of its life, or when the server says that it has ended.
    /// A failure waits for the next poll. Behind a gateway it is the key that counts, and nothing is renewed.
    async fn renew_if_due(&mut self, unix_s: Option<u64>, observer: &mut Observer<'_>) {
        let is_due = unix_s.is_some_and(|unix_s| self.identity.borrow().is_due(unix_s));
        if self.kit.config.server.gateway.is_some() || (!self.expired.take() && !is_due) {
            return;
        }
        let present = Rc::clone(&self.client.borrow());
        let address = self.kit.config.server.device.clone();
        let mut server = https_over(self.place.network(), address, present);
        let Ok(renewed) = est::renew(&mut server, &mut self.keys, &self.id).await else { return };
        let renewed = Rc::new(renewed);
        *self.client.borrow_mut() = self.pins.trust().client(Some(&renewed));
        *self.identity.borrow_mut() = renewed;
        let _ = self.tell(observer, What::Renewed);
    }

    fn tell(&self, observer: &mut Observer<'_>, what: What) -> ControlFlow<()> {
        let faults = self.place.trouble.times() + self.board.flash().ignored();
        observer(Happening { device: self.id.clone(), faults, what })
    }
}

async fn keep_up(link: Link<HostNetwork>, kit: &Kit) -> std::convert::Infallible {
    let mut seed = [0; 8];
    SystemEntropy.fill(&mut seed);
    let address = kit.config.server.mqtt.as_ref();
    match address.filter(|_| kit.config.server.gateway.is_none()) {
        Some(address) => {
            link.keep_up(address, &kit.config.policy(), u64::from_le_bytes(seed)).await
        }
        None => std::future::pending().await,
    }
}

fn commanded((command, arguments): (String, String)) -> What {
    What::Commanded { command, arguments }
}

fn clock_now(clock: Uptime) -> std::time::Duration {
    waxwing_agent::network::Clock::now(&clock)
}
