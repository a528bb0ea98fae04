//! The agent of this chip, put together and kept going.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::convert::Infallible;
use core::future::pending;
use core::marker::PhantomData;
use core::pin::{Pin, pin};

use embassy_futures::select::{Either, select};
use semver::Version;
use waxwing_agent::driver::{Driver, Identity as Who, Platform, Ports, StartError, Turn};
use waxwing_agent::found::Found;
use waxwing_agent::guard::Guarded;
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::network::{Clock as _, Entropy as _};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{AppHooks, FlashError};
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Agent, Firmware};
use waxwing_agent_flash::{
    BootPort, Drawer, JournalPort, Region, SlotPort, State, StateError,
    image::{self, Image},
};
use waxwing_agent_net::address::InvalidAddress;
use waxwing_agent_net::identity::MessageSigner;
use waxwing_agent_net::mqtt::{Link, Mailbox, mailbox};
use waxwing_agent_net::{Address, Https, Network as _};
use waxwing_esp_image::Chip;
use waxwing_tuf::{Refusal, Time, uptane};
use waxwing_wire::Provision;

use crate::BUILT_AT_S;
use crate::account::Account;
use crate::clock::Uptime;
use crate::entropy::Noise;
use crate::flash::FlashChip;
use crate::guard::Storage;
use crate::keys::KnownServer;
use crate::reset::ResetLine;
use crate::sockets::Sockets;
use crate::telemetry::{KnownTime, Telemetry};

/// The chip this crate is for.
const CHIP: Chip = Chip::Esp32c3;

/// Where the number of starts is kept.
const BOOTS: &str = "boots";

/// What is compiled into an application.
#[derive(Clone, Debug)]
pub struct Product {
    /// The release it was built as.
    pub release: Version,
    /// Its security version: raised after a security fix, so that no older release runs any more.
    pub security_version: u32,
    /// What the project name in the descriptor of an image must be; `None` if any will do.
    pub project: Option<String>,
}

/// The platform of this chip.
#[derive(Debug)]
pub struct Esp32<A>(PhantomData<A>);

impl<A: AppHooks> Platform for Esp32<A> {
    type Flash = SlotPort<FlashChip>;
    type Boot = BootPort<FlashChip, ResetLine>;
    type Journal = Guarded<JournalPort<FlashChip>>;
    type App = A;
    type Server = Https<Sockets>;
    type Messages = Mailbox<Sockets>;
    type Signer = MessageSigner;
    type Clock = Uptime;
    type Entropy = Noise;
    type Store = Drawer<FlashChip>;
    type Pins = KnownServer;
}

/// The agent, ready to run.
pub struct Updater<A: AppHooks>(Box<Parts<A>>);

/// What it is made of.
struct Parts<A: AppHooks> {
    driver: Box<Driver<Esp32<A>>>,
    link: Link<Sockets>,
    messages: Option<Address>,
    account: Account,
    time: KnownTime,
    telemetry: Telemetry,
    policy: Policy,
    seed: u64,
    boots: Option<u32>,
}

/// The agent cannot be started. The product runs without updates, and says so.
#[derive(Debug)]
pub enum NotStarted {
    /// A server's name and port.
    Address(InvalidAddress),
    /// The running image cannot be read.
    Image(FlashError),
    /// There is no slot for an update.
    NoSlot,
    /// The certificates of the server.
    Pins,
    /// The boot records.
    Start(StartError),
    /// The state partition.
    State(StateError),
    /// The roots it was made with.
    Trust(Refusal),
}

impl<A: AppHooks> Updater<A> {
    /// Puts the agent together. A device that has no certificate asks for one with its token, again
    /// and again until it gets it.
    ///
    /// # Errors
    ///
    /// [`NotStarted`] when there is something wrong that waiting does not mend.
    pub async fn start(
        storage: Storage,
        provision: &Provision,
        sockets: Sockets,
        app: A,
        product: Product,
    ) -> Result<Self, NotStarted> {
        // From the heap, as all that runs for long: see `run`.
        let start: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(Self::started(storage, provision, sockets, app, product));
        start.await
    }

    async fn started(
        storage: Storage,
        provision: &Provision,
        sockets: Sockets,
        app: A,
        product: Product,
    ) -> Result<Self, NotStarted> {
        let network = Rc::new(sockets);
        let seed = draw(&mut network.entropy());
        let region = Region::new(storage.parts.flash.clone(), storage.parts.layout.state());
        let state = State::open(region).map_err(NotStarted::State)?;
        let boots = count_boot(&state);
        let opening: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(Account::open(&network, &state, provision, &storage.policy, seed));
        let account = opening.await?;
        Self::with(account, storage, provision, app, product, seed, boots)
    }

    /// Puts the agent together when the device has its account.
    #[inline(never)]
    fn with(
        account: Account,
        storage: Storage,
        provision: &Provision,
        app: A,
        product: Product,
        seed: u64,
        boots: Option<u32>,
    ) -> Result<Self, NotStarted> {
        let network = &account.network;
        let (mailbox, link) = mailbox(network, &provision.device, &account.client);
        let telemetry = Telemetry {
            mailbox: mailbox.clone(),
            signer: MessageSigner(Rc::clone(&account.identity)),
            device: provision.device.clone(),
            time: KnownTime::default(),
            boot: seed,
            number: 0,
        };
        let messages = provision.mqtt.as_deref().map(str::parse).transpose();
        let messages = messages.map_err(NotStarted::Address)?;
        let (policy, time) = (storage.policy, Rc::clone(&telemetry.time));
        let trust = trust(&account, provision, &storage, product.security_version)?;
        let driver = driver(storage, provision, &account, mailbox, app, product, trust)?;
        let parts = Parts { driver, link, messages, account, time, telemetry, policy, seed, boots };
        Ok(Self(Box::new(parts)))
    }

    /// Returns how often the device started in its life; `None` when that cannot be kept.
    pub const fn boots(&self) -> Option<u32> {
        self.0.boots
    }

    /// Returns what the application sends its readings with.
    pub fn telemetry(&self) -> Telemetry {
        let Parts { telemetry, time, seed, .. } = &*self.0;
        Telemetry {
            mailbox: telemetry.mailbox.clone(),
            signer: telemetry.signer.clone(),
            device: telemetry.device.clone(),
            time: Rc::clone(time),
            boot: *seed,
            number: 0,
        }
    }

    /// Returns what was found in flash at this start, to be sent along with the readings: whether the
    /// journal was lost, and what the boot records said.
    pub fn found(&self) -> Found {
        self.0.driver.found()
    }

    /// Runs until the chip restarts. `told` sees each turn, for logs.
    ///
    /// It runs from the heap, where it takes what it needs; a task that awaits it stays small.
    #[inline(never)]
    pub fn run<'a>(
        self,
        told: impl FnMut(&Agent, Turn) + 'a,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>>
    where
        A: 'a,
    {
        Box::pin(self.turns(told))
    }

    async fn turns(self, mut told: impl FnMut(&Agent, Turn)) {
        let Parts { mut driver, link, messages, mut account, time, policy, seed, .. } = *self.0;
        let mut link = pin!(keep_up(link, messages, policy, seed));
        loop {
            match select(driver.turn(), &mut link).await {
                Either::First(turn) => {
                    let unix_s = driver.agent().unix_s(Uptime.now());
                    time.set(unix_s.map(|unix_s| (Uptime.now(), unix_s)));
                    told(driver.agent(), turn);
                    if turn.action == Action::Reboot {
                        return;
                    }
                    if turn.action == Action::Poll {
                        account.renew_if_due(unix_s).await;
                    }
                }
                Either::Second(never) => match never {},
            }
        }
    }
}

async fn keep_up(
    link: Link<Sockets>,
    address: Option<Address>,
    policy: Policy,
    seed: u64,
) -> Infallible {
    match &address {
        Some(address) => link.keep_up(address, &policy, seed).await,
        None => pending().await,
    }
}

/// Makes the driver in its place: it is large, and copies of it would stay on the stack.
#[inline(never)]
fn driver<A: AppHooks>(
    storage: Storage,
    provision: &Provision,
    account: &Account,
    messages: Mailbox<Sockets>,
    app: A,
    product: Product,
    trust: Box<Trust<Drawer<FlashChip>>>,
) -> Result<Box<Driver<Esp32<A>>>, NotStarted> {
    let layout = &storage.parts.layout;
    let target = *layout.target(storage.parts.running).ok_or(NotStarted::NoSlot)?;
    let running = *layout.image(storage.parts.running).ok_or(NotStarted::NoSlot)?;
    let running = &mut Region::new(storage.parts.flash.clone(), &running);
    let Image { sha256, secure_version } = image::read(running).map_err(NotStarted::Image)?;
    let (release, security_version) = (product.release, product.security_version);
    let firmware = Firmware { release, sha256, security_version, secure_version };
    let ports = Ports {
        flash: SlotPort::new(Region::new(storage.parts.flash.clone(), &target)),
        boot: storage.parts.boot,
        journal: storage.parts.journal,
        app,
        server: account.https().noting(Rc::clone(&account.expired)),
        messages,
        signer: MessageSigner(Rc::clone(&account.identity)),
        clock: Uptime,
        entropy: account.network.entropy(),
        pins: account.pins(),
    };
    let who = Who {
        id: provision.device.clone(),
        product: provision.product.clone(),
        hardware: provision.hardware.clone(),
    };
    let rules = ImageRules {
        chip: CHIP,
        version: VersionRule::Match,
        project: product.project,
        secure_version: 0,
    };
    let driver = Driver::boot(ports, who, firmware, storage.policy, rules, trust);
    driver.map(Box::new).map_err(NotStarted::Start)
}

/// Opens the trusted metadata. What is damaged counts as missing, and the device begins with the roots
/// it was made with: the server brings the rest.
#[inline(never)]
fn trust(
    account: &Account,
    provision: &Provision,
    storage: &Storage,
    security_version: u32,
) -> Result<Box<Trust<Drawer<FlashChip>>>, NotStarted> {
    let target = storage.parts.layout.target(storage.parts.running).ok_or(NotStarted::NoSlot)?;
    let device = uptane::Device {
        id: provision.device.to_string(),
        product: provision.product.to_string(),
        channels: provision.channels.iter().map(ToString::to_string).collect(),
        hardware: provision.hardware.to_string(),
        chip: CHIP.as_str().into(),
        slot_bytes: target.bytes.into(),
        security_version,
        secure_versions: 0..=CHIP.secure_version_max(),
    };
    let director = (account.state.drawer("director"), &*provision.director_root);
    let image = (account.state.drawer("image"), &*provision.image_root);
    let client = uptane::Client::open(device, director, image).map_err(NotStarted::Trust)?;
    Ok(Box::new(Trust::new(client, Time::from_seconds(BUILT_AT_S))))
}

/// Counts this start among all of the device's. What is not a number begins anew.
fn count_boot(state: &State<FlashChip>) -> Option<u32> {
    let before = state.load(BOOTS).ok().flatten();
    let before = before.and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    let boots = before.unwrap_or(0).saturating_add(1);
    state.save(BOOTS, &boots.to_le_bytes()).ok().map(|()| boots)
}

fn draw(noise: &mut Noise) -> u64 {
    let mut bytes = [0; 8];
    noise.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
