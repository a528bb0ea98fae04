//! The agent of this chip, put together and kept going.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::future::pending;
use core::marker::PhantomData;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use semver::Version;
use waxwing_agent::driver::{Driver, Identity as Who, Platform, Ports, StartError, Turn};
use waxwing_agent::guard::Guarded;
use waxwing_agent::journal::Condition;
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::network::{Clock as _, Entropy as _};
use waxwing_agent::policy::{Jitter, Policy};
use waxwing_agent::ports::{AppHooks, BootView, FlashError};
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Agent, Firmware};
use waxwing_agent_flash::{
    BootPort, Drawer, JournalPort, Region, SlotPort, State, StateError, image,
};
use waxwing_agent_net::address::InvalidAddress;
use waxwing_agent_net::est::{self, EstError, KeyStore as _};
use waxwing_agent_net::identity::{MessageSigner, SharedIdentity};
use waxwing_agent_net::mqtt::{Link, Mailbox, mailbox};
use waxwing_agent_net::{Address, Client, Https, Identity, Network as _, SharedClient};
use waxwing_esp_image::Chip;
use waxwing_tuf::{Refusal, Time, uptane};
use waxwing_wire::Provision;

use crate::BUILT_AT_S;
use crate::clock::Uptime;
use crate::entropy::Noise;
use crate::flash::FlashChip;
use crate::guard::Storage;
use crate::keys::{Keys, KnownServer, server_trust};
use crate::reset::ResetLine;
use crate::sockets::Sockets;
use crate::telemetry::{KnownTime, Telemetry};

/// The chip this crate is for.
const CHIP: Chip = Chip::Esp32c3;

/// What is compiled into an application.
#[derive(Clone, Debug)]
pub struct Product {
    /// The release it was built as.
    pub release: Version,
    /// Its security version: raised after a security fix, so that no older release runs any more.
    pub security_version: u32,
    /// What the project name in the descriptor of an image must be; `None` if any will do.
    pub project: Option<String>,
    /// When to ask, how long to wait, how often to try.
    pub policy: Policy,
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
pub struct Updater<A: AppHooks> {
    driver: Driver<Esp32<A>>,
    link: Link<Sockets>,
    messages: Option<Address>,
    account: Account,
    time: KnownTime,
    telemetry: Telemetry,
    policy: Policy,
    seed: u64,
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
        let network = Rc::new(sockets);
        let seed = draw(&mut network.entropy());
        let region = Region::new(storage.flash.clone(), storage.layout.state());
        let state = State::open(region).map_err(NotStarted::State)?;
        let account = Account::open(&network, &state, provision, &product.policy, seed).await?;
        let (mailbox, link) = mailbox(&network, &provision.device, &account.client);
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
        let (policy, time) = (product.policy, Rc::clone(&telemetry.time));
        let driver = driver(storage, provision, &account, mailbox, app, product)?;
        Ok(Self { driver, link, messages, account, time, telemetry, policy, seed })
    }

    /// Returns what the application sends its readings with.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry {
            mailbox: self.telemetry.mailbox.clone(),
            signer: self.telemetry.signer.clone(),
            device: self.telemetry.device.clone(),
            time: Rc::clone(&self.time),
            boot: self.seed,
            number: 0,
        }
    }

    /// Returns what was found in flash at this start, to be sent along with the readings: whether the
    /// journal was lost, and what the boot records said.
    pub fn found(&self) -> (Condition, BootView) {
        (self.driver.journal(), *self.driver.agent().started())
    }

    /// Runs until the chip restarts. `told` sees each turn, for logs.
    pub async fn run(self, mut told: impl FnMut(&Agent, Turn)) {
        let Self { mut driver, link, messages, mut account, time, policy, seed, .. } = self;
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

fn driver<A: AppHooks>(
    storage: Storage,
    provision: &Provision,
    account: &Account,
    messages: Mailbox<Sockets>,
    app: A,
    product: Product,
) -> Result<Driver<Esp32<A>>, NotStarted> {
    let layout = &storage.layout;
    let target = *layout.target(storage.running).ok_or(NotStarted::NoSlot)?;
    let running = *layout.image(storage.running).ok_or(NotStarted::NoSlot)?;
    let running = &mut Region::new(storage.flash.clone(), &running);
    let firmware = Firmware {
        release: product.release,
        sha256: image::sha256(running).map_err(NotStarted::Image)?,
        security_version: product.security_version,
    };
    let trust = trust(account, provision, product.security_version, target.bytes)?;
    let ports = Ports {
        flash: SlotPort::new(Region::new(storage.flash.clone(), &target)),
        boot: storage.boot,
        journal: storage.journal,
        app,
        server: account.https(&provision.server)?.noting(Rc::clone(&account.expired)),
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
    Driver::boot(ports, who, firmware, product.policy, rules, trust).map_err(NotStarted::Start)
}

/// Opens the trusted metadata. What is damaged is forgotten, and the device begins with the roots it
/// was made with: the server brings the rest.
fn trust(
    account: &Account,
    provision: &Provision,
    security_version: u32,
    slot_bytes: u32,
) -> Result<Trust<Drawer<FlashChip>>, NotStarted> {
    let open = || {
        let device = uptane::Device {
            id: provision.device.to_string(),
            product: provision.product.to_string(),
            channels: provision.channels.iter().map(ToString::to_string).collect(),
            hardware: provision.hardware.to_string(),
            chip: CHIP.as_str().into(),
            slot_bytes: slot_bytes.into(),
            security_version,
            secure_versions: 0..=CHIP.secure_version_max(),
        };
        let director = account.state.drawer("director");
        let image = account.state.drawer("image");
        uptane::Client::open(
            device,
            (director, &provision.director_root),
            (image, &provision.image_root),
        )
    };
    let client = match open() {
        Ok(client) => client,
        Err(_) => {
            account.forget_all_but_identity()?;
            open().map_err(NotStarted::Trust)?
        }
    };
    Ok(Trust::new(client, Time::from_seconds(BUILT_AT_S)))
}

/// The device's account with its server.
struct Account {
    network: Rc<Sockets>,
    state: State<FlashChip>,
    provision: Provision,
    identity: SharedIdentity,
    client: SharedClient,
    kept: Option<waxwing_wire::Digest>,
    expired: Rc<Cell<bool>>,
}

impl Account {
    async fn open(
        network: &Rc<Sockets>,
        state: &State<FlashChip>,
        provision: &Provision,
        policy: &Policy,
        seed: u64,
    ) -> Result<Self, NotStarted> {
        let trust = server_trust(state, &provision.server_ca).ok_or(NotStarted::Pins)?;
        let mut keys = Keys(state.clone());
        let identity = match keys.identity() {
            Ok(Some(identity)) => identity,
            Ok(None) => enrol(network, &mut keys, provision, &trust.0, policy, seed).await?,
            // Beyond repair: nothing of it is worth keeping without the key.
            Err(_) => {
                state.erase().map_err(NotStarted::State)?;
                enrol(network, &mut keys, provision, &trust.0, policy, seed).await?
            }
        };
        let identity = Rc::new(identity);
        let client = Client { trust: trust.0, identity: Some(Rc::clone(&identity)) };
        Ok(Self {
            network: Rc::clone(network),
            state: state.clone(),
            provision: provision.clone(),
            identity: Rc::new(RefCell::new(identity)),
            client: Rc::new(RefCell::new(Rc::new(client))),
            kept: trust.1,
            expired: Rc::default(),
        })
    }

    fn https(&self, server: &str) -> Result<Https<Sockets>, NotStarted> {
        let address = server.parse().map_err(NotStarted::Address)?;
        Ok(Https::new(Rc::clone(&self.network), address, Rc::clone(&self.client)))
    }

    fn pins(&self) -> KnownServer {
        KnownServer { state: self.state.clone(), client: Rc::clone(&self.client), kept: self.kept }
    }

    /// Erases the state but for key and certificate: without them the device could not come back.
    fn forget_all_but_identity(&self) -> Result<(), NotStarted> {
        self.state.erase().map_err(NotStarted::State)?;
        let identity = Rc::clone(&self.identity.borrow());
        Keys(self.state.clone()).keep(&identity).map_err(NotStarted::State)
    }

    /// Renews the certificate at two thirds of its life, or when the server says that it has ended.
    /// A failure waits for the next poll.
    async fn renew_if_due(&mut self, unix_s: Option<u64>) {
        let is_due = unix_s.is_some_and(|unix_s| self.identity.borrow().is_due(unix_s));
        if !self.expired.take() && !is_due {
            return;
        }
        let Ok(mut server) = self.https(&self.provision.server) else { return };
        let mut keys = Keys(self.state.clone());
        let renewed = est::renew(&mut server, &mut keys, &self.provision.device).await;
        let Ok(renewed) = renewed else { return };
        let renewed = Rc::new(renewed);
        let trust = self.client.borrow().trust.clone();
        self.client.replace(Rc::new(Client { trust, identity: Some(Rc::clone(&renewed)) }));
        self.identity.replace(renewed);
    }
}

/// Asks for the first certificate until there is one.
async fn enrol(
    network: &Rc<Sockets>,
    keys: &mut Keys,
    provision: &Provision,
    trust: &waxwing_agent_net::ServerTrust,
    policy: &Policy,
    seed: u64,
) -> Result<Identity, NotStarted> {
    let address: Address = provision.enrol.parse().map_err(NotStarted::Address)?;
    let client = Rc::new(Client { trust: trust.clone(), identity: None });
    let client: SharedClient = Rc::new(RefCell::new(client));
    let mut server = Https::new(Rc::clone(network), address, client);
    let mut jitter = Jitter::new(seed);
    for failures in 1_u32.. {
        let token = provision.token.expose();
        match est::enrol(&mut server, keys, &provision.device, token).await {
            Ok(identity) => return Ok(identity),
            Err(EstError::Keys(error)) => return Err(NotStarted::State(error)),
            // Also what the server refuses for good: somebody may register the device later.
            Err(EstError::Answer | EstError::NoAnswer(_) | EstError::Refused { .. }) => {}
        }
        let wait = policy.back_off(failures, jitter.draw());
        network.sleep_until(network.now().saturating_add(wait)).await;
    }
    Err(NotStarted::Pins)
}

fn draw(noise: &mut Noise) -> u64 {
    let mut bytes = [0; 8];
    noise.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
