//! A board, the agent on it, and a server in the same thread.
//!
//! Everything a device trusts or runs is real: metadata, verifier, journal, boot loader model. Time
//! passes when the agent waits for it, so nothing here sleeps.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use semver::Version;
use waxwing_agent::driver::{Driver, Identity, Platform, Ports, Turn};
use waxwing_agent::found::Found;
use waxwing_agent::guard::{Guarded, guard};
use waxwing_agent::local::{ImageRules, VersionRule};
use waxwing_agent::policy::Policy;
use waxwing_agent::ports::ResetReason;
use waxwing_agent::trust::Trust;
use waxwing_agent::{Action, Firmware};
use waxwing_agent_host::board::{
    Application, Board, BootPort, JournalPort, Layout, Running, SlotPort,
};
use waxwing_agent_host::flash::{Flash, FlashFault, PowerCut, Tear};
use waxwing_agent_host::shared::Shared;
use waxwing_agent_host::store::Metadata;
use waxwing_esp_image::Chip;
use waxwing_esp_image::model::{BootError, BootLoader, Rollback};
use waxwing_esp_image::write::AppBuilder;
use waxwing_tuf::{Time, uptane};
use waxwing_wire::report::State;
use waxwing_wire::{Digest, ErrorCode};

use crate::backend::{BEGIN_S, Backend, Near, device_id, digest};
use crate::ports::{Counting, Line, Memory, Scribble, StillClock, Talk};

/// Room for an image that crosses the first mark of progress at 64 KiB.
const SLOT_BYTES_MIN: u32 = 128 * 1024;
/// Turns after which a device that has not settled never will.
const TURNS_MAX: usize = 3000;
/// Boots after which a device that has not settled never will: three attempts, the ways back, and the
/// power cuts of a test.
const BOOTS_MAX: u32 = 20;

/// An image of two sectors with something of its own in it.
pub(crate) fn image(version: &str, content: &[u8]) -> Vec<u8> {
    builder(version, content).build().unwrap()
}

/// An image of 17 sectors: code begins at the second 64 KiB.
pub(crate) fn large_image(version: &str, content: &[u8]) -> Vec<u8> {
    builder(version, content).code(vec![0x13; 100]).build().unwrap()
}

pub(crate) fn builder(version: &str, content: &[u8]) -> AppBuilder {
    let rodata = [content, &[0x5a; 5000]].concat();
    AppBuilder::new(Chip::Esp32c3).version(version).project("acme-th1").rodata(rodata)
}

/// The platform of these tests.
pub(crate) enum Tested {}

impl Platform for Tested {
    type Flash = SlotPort;
    type Boot = BootPort;
    type Journal = Guarded<JournalPort>;
    type App = Application;
    type Server = Near;
    type Messages = Line;
    type Signer = Scribble;
    type Clock = StillClock;
    type Entropy = Counting;
    type Store = Metadata;
    type Pins = Memory;
}

/// Something that happens to a board after a turn of the agent on it.
pub(crate) type Disturbance = Box<dyn FnMut(Turn, &Board)>;

/// A device and its server.
pub(crate) struct World {
    pub(crate) board: Board,
    pub(crate) backend: Rc<RefCell<Backend>>,
    /// Every image that somebody signed for this device, by its SHA-256.
    signed: Vec<Digest>,
    entropy: Rc<Cell<u64>>,
    clock: Rc<Cell<Duration>>,
    stores: (Metadata, Metadata),
    roots: (Vec<u8>, Vec<u8>),
    pins: Memory,
    /// Boots in this life.
    pub(crate) boots: u32,
    /// How often the new image was started.
    pub(crate) starts_of_new: u32,
    /// Flash operations until the image was compared first.
    pub(crate) verified_at: Option<u64>,
    /// What each start of the agent found in flash.
    pub(crate) found: Vec<Found>,
    /// Power cuts to come, each so many operations after the one before.
    cuts: VecDeque<PowerCut>,
    /// The user puts every restart off for as long.
    pub(crate) puts_off: Option<Duration>,
    /// There is a connection for messages, and its server takes none.
    pub(crate) refuses_messages: bool,
    /// What comes and goes over a connection that works.
    pub(crate) talk: Rc<RefCell<Talk>>,
    /// What happens to the board behind the agent's back, after a turn.
    pub(crate) disturbance: Option<Disturbance>,
}

impl World {
    /// A device that runs `old` and is offered `new`.
    pub(crate) fn new(old: &[u8], new: &[u8], rollback: Rollback) -> Self {
        let image_bytes = u32::try_from(old.len().max(new.len())).unwrap();
        let layout = Layout::new(image_bytes.max(SLOT_BYTES_MIN));
        let mut flash = Flash::erased(layout.sectors(), &Shared::default());
        layout.manufacture(&mut flash, old).unwrap();
        let board = Board::new(flash, layout, BootLoader { chip: Chip::Esp32c3, rollback });
        let clock = Rc::new(Cell::new(Duration::ZERO));
        let backend = Backend::new(new, &clock);
        let roots = (backend.root("director"), backend.root("image/acme-th1"));
        let stores = (Metadata::in_memory(), Metadata::in_memory());
        let backend = Rc::new(RefCell::new(backend));
        Self {
            board,
            backend,
            signed: vec![digest(old), digest(new)],
            entropy: Rc::default(),
            clock,
            stores,
            roots,
            pins: Memory::default(),
            boots: 0,
            starts_of_new: 0,
            verified_at: None,
            found: Vec::new(),
            cuts: VecDeque::new(),
            puts_off: None,
            refuses_messages: false,
            talk: Rc::default(),
            disturbance: None,
        }
    }

    /// Publishes another image, and offers it.
    pub(crate) fn offer(&mut self, image: &[u8], rollout: &str) {
        self.signed.push(digest(image));
        let mut backend = self.backend.borrow_mut();
        backend.new = image.to_vec();
        backend.rollout = (rollout.into(), backend.rollout.1 + 1);
        backend.publish();
    }

    /// Arranges power cuts: the first so many operations from now, each other one so many after the
    /// one before.
    pub(crate) fn cut_power(&mut self, cuts: impl IntoIterator<Item = (u64, Tear)>) {
        let cuts = cuts.into_iter();
        self.cuts = cuts.map(|(operation, tear)| PowerCut { operation, tear }).collect();
        self.arrange_cut();
    }

    fn arrange_cut(&mut self) {
        let mut flash = self.board.flash();
        let operations = flash.operations();
        let next = self.cuts.pop_front();
        flash.cut_power(next.map(|cut| PowerCut { operation: operations + cut.operation, ..cut }));
    }

    /// Lets the device live until it has settled and its server knows, through resets and power
    /// cuts. Returns the image it runs then.
    pub(crate) fn live(&mut self) -> Vec<u8> {
        let running = self.settle();
        self.board.image(&running, u32::MAX)
    }

    /// As [`World::live`], without reading the image once more.
    pub(crate) fn settle(&mut self) -> Running {
        let (mut reset, mut turns) = (ResetReason::PowerOn, 0);
        self.boots = 0;
        loop {
            self.boots += 1;
            assert!(self.boots <= BOOTS_MAX, "only restarts");
            let running = match self.board.start(reset) {
                Ok(running) => running,
                Err(BootError::Flash(FlashFault::PowerCut)) => {
                    reset = self.switch_on();
                    continue;
                }
                Err(error) => panic!("bricked: {error}"),
            };
            self.check_started(&running);
            let Some(mut driver) = self.driver(&running) else {
                reset = if self.power_is_gone() {
                    self.switch_on()
                } else {
                    self.board.power().take().unwrap()
                };
                continue;
            };
            self.found.push(driver.found());
            reset = loop {
                if self.power_is_gone() {
                    break self.switch_on();
                }
                let turn = block_on(driver.turn());
                turns += 1;
                assert!(turns < TURNS_MAX, "still {} after so long", driver.agent().state_name());
                if turn.action == Action::Compare {
                    self.verified_at.get_or_insert(self.board.flash().operations());
                }
                if let Some(disturbance) = &mut self.disturbance {
                    disturbance(turn, &self.board);
                }
                if self.power_is_gone() {
                    break self.switch_on();
                }
                if let Some(reason) = self.board.power().take() {
                    break reason;
                }
                if matches!(driver.next(), Action::Wait { .. }) && self.is_over(&driver, turn) {
                    return running;
                }
            };
        }
    }

    fn is_over(&self, driver: &Driver<Tested>, turn: Turn) -> bool {
        let backend = self.backend.borrow();
        let (record, rollout) = (driver.agent().record(), &backend.rollout.0);
        let has_settled =
            record.settled.as_ref().is_some_and(|settled| settled.rollout.as_str() == rollout);
        has_settled && driver.agent().unsent().is_empty()
            || backend.withdrawn && turn.action == Action::Poll
    }

    /// Nothing runs that nobody signed, or that the eFuses would not let run.
    fn check_started(&mut self, running: &Running) {
        let is_new = running.sha256 == self.backend.borrow().sha256();
        self.starts_of_new += u32::from(is_new);
        assert!(self.signed.contains(&running.sha256), "something nobody signed was started");
        assert!(
            running.secure_version() >= self.board.secure_version(),
            "the eFuses forbid what runs"
        );
    }

    /// Returns the last thing that the server was told.
    pub(crate) fn last(&self) -> Option<(State, ErrorCode)> {
        self.backend.borrow().reports.last().copied()
    }

    /// Returns by what the device knows its server.
    pub(crate) fn pins(&self) -> Option<Vec<u8>> {
        self.pins.0.borrow().clone()
    }

    /// Starts the device, and returns how often its agent lets others run in its first poll.
    pub(crate) fn pauses_in_a_poll(&mut self) -> usize {
        let running = self.board.start(ResetReason::PowerOn).unwrap();
        let mut driver = self.driver(&running).unwrap();
        while driver.next() != Action::Poll {
            block_on(driver.turn());
        }
        let mut pauses = 0;
        let mut turn = pin!(driver.turn());
        let mut context = Context::from_waker(Waker::noop());
        while turn.as_mut().poll(&mut context).is_pending() {
            pauses += 1;
        }
        pauses
    }

    fn power_is_gone(&self) -> bool {
        self.board.flash().was_cut()
    }

    fn switch_on(&mut self) -> ResetReason {
        self.arrange_cut();
        self.board.power().take();
        ResetReason::PowerOn
    }

    /// Starts firmware as a product does: the guard first. `None` when that gave the image up, or the
    /// power went meanwhile.
    pub(crate) fn driver(&mut self, running: &Running) -> Option<Driver<Tested>> {
        let mut boot = self.board.boot_port(running).unwrap();
        let journal = guard(&mut boot, self.board.journal_port(), &Policy::DEVICE)?;
        let ports = Ports {
            flash: self.board.slot_port(running.slot).unwrap(),
            boot,
            journal,
            app: Application::new(&self.board, running).of_user(self.puts_off),
            server: Near(Rc::clone(&self.backend)),
            messages: Line {
                clock: Rc::clone(&self.clock),
                talk: Rc::clone(&self.talk),
                refused: self.refuses_messages.then(VecDeque::new),
            },
            signer: Scribble,
            clock: StillClock(Rc::clone(&self.clock)),
            entropy: Counting(Rc::clone(&self.entropy)),
            pins: self.pins.clone(),
        };
        let identity = Identity {
            id: device_id(),
            product: "acme-th1".parse().unwrap(),
            hardware: "r1".parse().unwrap(),
        };
        let firmware = Firmware {
            release: Version::new(1, 0, 0),
            sha256: running.sha256,
            security_version: 1,
            secure_version: running.secure_version(),
        };
        let rules = ImageRules {
            chip: Chip::Esp32c3,
            version: VersionRule::Match,
            project: Some("acme-th1".into()),
            secure_version: 0,
        };
        Driver::boot(ports, identity, firmware, Policy::DEVICE, rules, self.trust()).ok()
    }

    fn trust(&self) -> Trust<Metadata> {
        let device = uptane::Device {
            id: "d-1".into(),
            product: "acme-th1".into(),
            channels: vec!["stable".into()],
            hardware: "r1".into(),
            chip: "esp32c3".into(),
            slot_bytes: self.board.layout().slot_bytes().into(),
            security_version: 1,
            secure_versions: 0..=16,
        };
        let (director, image) = (self.stores.0.clone(), self.stores.1.clone());
        let client =
            uptane::Client::open(device, (director, &self.roots.0), (image, &self.roots.1));
        Trust::new(client.unwrap(), Time::from_seconds(BEGIN_S - 1))
    }
}

/// Nothing here ever waits for anything outside.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
