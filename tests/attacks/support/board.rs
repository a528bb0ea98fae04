//! A whole device in memory: the agent that ships, on a simulated ESP32 with the model of its boot
//! loader, against an opponent that answers in place of the server.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use semver::Version;
use sha2::{Digest as _, Sha256};
use waxwing_agent::Firmware;
use waxwing_agent::download::Opened;
use waxwing_agent::driver::{Driver, Identity, Platform, Ports, Turn};
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::network::{Message, NoAnswer};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::{ResetReason, Slot};
use waxwing_agent::trust::Trust;
use waxwing_agent_host::board::{
    Application, Board, BootPort, JournalPort, Layout, Running, SlotPort,
};
use waxwing_agent_host::flash::{Flash, FlashFault, PowerCut, Tear};
use waxwing_agent_host::shared::Shared;
use waxwing_agent_host::store::Metadata;
use waxwing_esp_image::Flash as _;
use waxwing_esp_image::model::{BootError, BootLoader, Rollback};
use waxwing_esp_image::write::AppBuilder;
use waxwing_esp_image::{App, Chip};
use waxwing_tuf::{Store as _, Time, uptane};
use waxwing_wire::Digest;
use waxwing_wire::poll::Request;

use super::ports::{Beside, Counting, Kept, Scribble, StillClock, Waiting, Wire, beside};

/// Length of a slot: two images of these tests would fit.
pub(crate) const SLOT_BYTES: u32 = 64 * 1024;
/// Project in the descriptors of all images.
pub(crate) const PROJECT: &str = "acme-th1";
/// Restarts without a turn in between after which a device is a brick.
const RESTARTS_MAX: usize = 32;

/// Whoever answers the device. It may say anything, at any time.
pub(crate) trait Opponent {
    /// Answers a poll with the body of a bundle.
    fn poll(&mut self, request: &Request) -> Result<Vec<u8>, NoAnswer>;

    /// Begins to answer a download.
    fn open(&mut self, sha256: &Digest, from: u32) -> Result<Opened, NoAnswer>;

    /// Sends the next bytes of the download.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NoAnswer>;

    /// Says something while the device waits.
    fn message(&mut self) -> Option<Message>;
}

/// An image of two sectors. Its rodata holds what tells the application how to behave.
pub(crate) fn image(version: &str, rodata: &str) -> Vec<u8> {
    let rodata = [rodata.as_bytes(), &[0x5a; 4096]].concat();
    AppBuilder::new(Chip::Esp32c3).version(version).project(PROJECT).rodata(rodata).build().unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// What a device is made with.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    /// The image in its first slot.
    pub(crate) factory: Vec<u8>,
    /// Roots of Director and Image repository.
    pub(crate) roots: (Vec<u8>, Vec<u8>),
    /// Build time of every firmware.
    pub(crate) built_at: Time,
    /// The security version compiled into an image, by its version.
    pub(crate) compiled: fn(&Version) -> u32,
    pub(crate) device: uptane::Device,
}

/// A device, switched on or off.
pub(crate) struct Subject {
    make: &'static Make,
    board: Board,
    opponent: Rc<RefCell<dyn Opponent>>,
    clock: Rc<Cell<Duration>>,
    entropy: Rc<Cell<u128>>,
    director: Metadata,
    image: Metadata,
    pins: Rc<RefCell<Option<Vec<u8>>>>,
    reset: ResetReason,
    running: Option<(Driver<OnBoard>, Slot)>,
    /// Bytes of memory the agent holds now.
    resident: i64,
    /// Bytes of the answer that was received in this turn.
    received: Rc<Cell<u64>>,
    /// Most bytes of memory the agent ever held at once.
    pub(crate) peak: Peak,
}

/// Most bytes of memory at once, on a 64-bit host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    /// With the answer that was being read.
    pub(crate) with_answer: u64,
    /// Besides that.
    pub(crate) without_answer: u64,
}

/// What happened next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The device started this image.
    Started(Vec<u8>),
    /// The agent carried out an action.
    Turned(Turn),
    /// The power went, or the device restarted.
    Stopped,
}

impl Subject {
    /// A device as it leaves the factory. Its uptime is `clock`, which goes on over resets.
    pub(crate) fn new(
        make: &'static Make,
        opponent: Rc<RefCell<dyn Opponent>>,
        clock: &Rc<Cell<Duration>>,
    ) -> Self {
        let layout = Layout::new(SLOT_BYTES);
        let mut flash = Flash::erased(layout.sectors(), &Shared::default());
        layout.manufacture(&mut flash, &make.factory).unwrap();
        let boot_loader = BootLoader { chip: Chip::Esp32c3, rollback: Rollback::Enabled };
        Self {
            make,
            board: Board::new(flash, layout, boot_loader),
            opponent,
            clock: Rc::clone(clock),
            entropy: Rc::default(),
            director: Metadata::in_memory(),
            image: Metadata::in_memory(),
            pins: Rc::default(),
            reset: ResetReason::PowerOn,
            running: None,
            resident: 0,
            received: Rc::default(),
            peak: Peak::default(),
        }
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) -> Step {
        let Some((driver, _)) = &mut self.running else { return self.start() };
        self.received.set(0);
        let mut turn = None;
        let cost = measure(|| turn = Some(block_on(driver.turn())));
        self.note(cost.bytes_current, cost.bytes_max);
        if self.board.flash().was_cut() {
            self.switch_on();
            return Step::Stopped;
        }
        if let Some(reason) = self.board.power().take() {
            self.stop(reason);
            return Step::Stopped;
        }
        Step::Turned(turn.unwrap())
    }

    /// Switches the device off and on.
    pub(crate) fn switch_on(&mut self) {
        self.board.flash().cut_power(None);
        self.board.power().take();
        self.stop(ResetReason::PowerOn);
    }

    /// Lets the power go during one of the next flash operations, after some bytes of it.
    pub(crate) fn cut_power_in(&self, operations: u64, after_bytes: usize) {
        let mut flash = self.board.flash();
        let operation = flash.operations() + operations;
        flash.cut_power(Some(PowerCut { operation, tear: Tear::Bytes(after_bytes) }));
    }

    pub(crate) fn driver(&self) -> Option<&Driver<OnBoard>> {
        self.running.as_ref().map(|(driver, _)| driver)
    }

    /// Resets the device at its next step.
    pub(crate) fn reset(&self, reason: ResetReason) {
        self.board.power().reset(reason);
    }

    /// Returns what the device keeps of a file of the Director and of the Image repository.
    pub(crate) fn kept(&self, name: &str) -> [Option<Vec<u8>>; 2] {
        [&self.director, &self.image].map(|store| store.load(name).unwrap())
    }

    /// Returns the pins that the device was given after it left the factory.
    pub(crate) fn pins(&self) -> Option<Vec<u8>> {
        self.pins.borrow().clone()
    }

    /// Returns the first bytes of the slot that does not run.
    pub(crate) fn target_slot(&self, bytes: usize) -> Vec<u8> {
        let (_, running) = self.running.as_ref().unwrap();
        let target = waxwing_agent::ports::slot_after(*running, 2);
        let partition = self.board.layout().partition_of(target).unwrap();
        let mut image = vec![0; bytes];
        self.board.flash().read(partition.offset, &mut image).unwrap();
        image
    }

    fn stop(&mut self, reason: ResetReason) {
        self.running = None;
        self.resident = 0;
        self.reset = reason;
    }

    fn note(&mut self, held: i64, peak: u64) {
        let resident = u64::try_from(self.resident.max(0)).unwrap();
        let without_answer = (resident + peak).saturating_sub(self.received.get());
        self.peak.with_answer = self.peak.with_answer.max(resident + peak);
        self.peak.without_answer = self.peak.without_answer.max(without_answer);
        self.resident += held;
    }

    fn start(&mut self) -> Step {
        for _ in 0..RESTARTS_MAX {
            let running = match self.board.start(self.reset) {
                Ok(running) => running,
                Err(BootError::Flash(FlashFault::PowerCut)) => {
                    self.switch_on();
                    continue;
                }
                Err(error) => panic!("a brick: {error}"),
            };
            let mut driver = None;
            let cost = measure(|| driver = self.boot(&running));
            match driver {
                Some(driver) => {
                    self.note(cost.bytes_current, cost.bytes_max);
                    self.running = Some((driver, running.slot));
                    return Step::Started(self.board.image(&running, u32::MAX));
                }
                None if self.board.flash().was_cut() => self.switch_on(),
                None => panic!("the agent does not start"),
            }
        }
        panic!("a device that only restarts")
    }

    /// `None` when the agent did not start.
    fn boot(&self, running: &Running) -> Option<Driver<OnBoard>> {
        let board = &self.board;
        let ports = beside(|| Ports {
            flash: Beside(board.slot_port(running.slot).unwrap()),
            boot: Beside(board.boot_port(running).unwrap()),
            journal: Beside(board.journal_port()),
            app: Application::new(board, running),
            server: Wire {
                opponent: Rc::clone(&self.opponent),
                received: Rc::clone(&self.received),
            },
            messages: Waiting {
                clock: Rc::clone(&self.clock),
                opponent: Rc::clone(&self.opponent),
            },
            signer: Scribble,
            clock: StillClock(Rc::clone(&self.clock)),
            pins: Kept(Rc::clone(&self.pins)),
            entropy: Counting(Rc::clone(&self.entropy)),
        });
        let make = self.make;
        let identity = Identity {
            id: make.device.id.parse().unwrap(),
            product: make.device.product.parse().unwrap(),
            hardware: make.device.hardware.parse().unwrap(),
        };
        let release = version_of(&running.app);
        let security_version = (make.compiled)(&release);
        let sha256 = running.sha256;
        let secure_version = running.secure_version();
        let firmware = Firmware { release, sha256, security_version, secure_version };
        let rules = ImageRules {
            chip: Chip::Esp32c3,
            version: VersionRule::Match,
            project: Some(PROJECT.into()),
            secure_version: 0,
        };
        let trust = self.trust(security_version);
        Driver::boot(ports, identity, firmware, Policy::DEVICE, rules, trust).ok()
    }

    fn trust(&self, security_version: u32) -> Trust<Beside<Metadata>> {
        let (director, image) = (Beside(self.director.clone()), Beside(self.image.clone()));
        let device = uptane::Device { security_version, ..self.make.device.clone() };
        let roots = &self.make.roots;
        let client = uptane::Client::open(device, (director, &roots.0), (image, &roots.1));
        Trust::new(client.unwrap(), self.make.built_at)
    }
}

fn version_of(app: &App) -> Version {
    app.descriptor.as_ref().unwrap().version.as_str().unwrap().parse().unwrap()
}

/// The platform of these tests.
pub(crate) enum OnBoard {}

impl Platform for OnBoard {
    type Flash = Beside<SlotPort>;
    type Boot = Beside<BootPort>;
    type Journal = Beside<JournalPort>;
    type App = Application;
    type Server = Wire;
    type Messages = Waiting;
    type Signer = Scribble;
    type Clock = StillClock;
    type Entropy = Counting;
    type Store = Beside<Metadata>;
    type Pins = Kept;
}

/// Nothing here ever waits for anything outside.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
