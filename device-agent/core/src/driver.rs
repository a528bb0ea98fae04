//! The one loop around an agent: action, ports, event.
//!
//! It decides nothing. What it adds are the messages themselves: polls are put together here,
//! answers are handed to [`Trust`], reports are sealed and sent.

mod orders;
mod pause;
mod reports;
mod roots;
mod start;

use alloc::boxed::Box;
use core::pin::Pin;
use core::time::Duration;

use waxwing_wire::bundle::{self, Bundle};
use waxwing_wire::chunks;
use waxwing_wire::poll::Request;
use waxwing_wire::{DeviceId, Digest, ErrorCode, Hardware, MessageId, Nonce, ProductId};

use crate::agent::{Action, Agent, Comparison, Event, Firmware, Seed};
use crate::chunks::{ChunkList, Recall};
use crate::found::Found;
use crate::local::{ImageRules, Local, Passing};
use crate::network::{Clock, Entropy, Message, Messages, NoAnswer, Server, Signer};
use crate::pins::Pins;
use crate::policy::Policy;
use crate::ports::{AppHooks, BootControl, Journal, SlotFlash};
use crate::trust::Trust;
use orders::Early;
use pause::yield_now;
use reports::HandedOver;
pub use start::StartError;

/// How long a restart waits for reports to get out.
const FAREWELL: Duration = Duration::from_secs(2);

/// The kinds of things a platform brings along.
pub trait Platform {
    /// The slot an update goes to.
    type Flash: SlotFlash;
    /// The boot records.
    type Boot: BootControl;
    /// Storage for the journal.
    type Journal: Journal;
    /// The application.
    type App: AppHooks;
    /// The device listener.
    type Server: Server;
    /// The connection for messages.
    type Messages: Messages;
    /// The device's key.
    type Signer: Signer;
    /// Uptime.
    type Clock: Clock;
    /// True randomness.
    type Entropy: Entropy;
    /// Storage for trusted metadata, one for each repository.
    type Store: waxwing_tuf::Store;
    /// By what the device knows its server.
    type Pins: Pins;
}

/// The things themselves.
#[derive(Debug)]
pub struct Ports<P: Platform> {
    /// The slot an update goes to.
    pub flash: P::Flash,
    /// The boot records.
    pub boot: P::Boot,
    /// Storage for the journal.
    pub journal: P::Journal,
    /// The application.
    pub app: P::App,
    /// The device listener.
    pub server: P::Server,
    /// The connection for messages.
    pub messages: P::Messages,
    /// The device's key.
    pub signer: P::Signer,
    /// Uptime.
    pub clock: P::Clock,
    /// True randomness.
    pub entropy: P::Entropy,
    /// By what the device knows its server.
    pub pins: P::Pins,
}

/// Who this device is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its name, as in its certificate.
    pub id: DeviceId,
    /// What it is.
    pub product: ProductId,
    /// Its hardware revision.
    pub hardware: Hardware,
}

/// An agent and the device it runs on.
#[derive(Debug)]
pub struct Driver<P: Platform> {
    // The large ones are elsewhere: a driver is handed on by value, through the stacks of devices.
    agent: Box<Agent>,
    next: Action,
    identity: Identity,
    trust: Box<Trust<P::Store>>,
    local: Local<P::Flash, P::Boot, P::Journal, P::App>,
    server: P::Server,
    messages: P::Messages,
    signer: P::Signer,
    clock: P::Clock,
    entropy: P::Entropy,
    pins: P::Pins,
    passing: Passing,
    handed_over: HandedOver,
    early: Early,
}

/// One turn of the loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Turn {
    /// What was done.
    pub action: Action,
    /// Why it did not work out.
    pub failed: Option<ErrorCode>,
}

impl<P: Platform> Driver<P> {
    /// Starts the agent after a reset: the first thing firmware does (D20), for it counts the boots
    /// of an image on trial.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the boot records cannot be read.
    pub fn boot(
        mut ports: Ports<P>,
        identity: Identity,
        firmware: Firmware,
        policy: Policy,
        rules: ImageRules,
        trust: impl Into<Box<Trust<P::Store>>>,
    ) -> Result<Self, StartError> {
        let view = ports.boot.view().map_err(StartError::Boot)?;
        let rules = ImageRules { secure_version: view.secure_version, ..rules };
        let seed = Seed { jitter: draw(&mut ports.entropy), boot: draw(&mut ports.entropy) };
        let (local, record) = Local::open(ports.flash, ports.boot, ports.journal, ports.app, rules);
        let trust = trust.into();
        let now = ports.clock.now();
        let unix_s = trust.time_floor_s();
        let mut agent = start::begin(firmware, policy, record, view, seed, now, unix_s);
        let next = agent.step(now, Event::Tick);
        let mut driver = Self {
            agent,
            next,
            identity,
            trust,
            local,
            server: ports.server,
            messages: ports.messages,
            signer: ports.signer,
            clock: ports.clock,
            entropy: ports.entropy,
            pins: ports.pins,
            passing: Passing::default(),
            handed_over: HandedOver::default(),
            early: Early::default(),
        };
        driver.count_boot(now);
        Ok(driver)
    }

    /// Saves what the boot meant, before anything can go wrong with the rest.
    fn count_boot(&mut self, now: Duration) {
        if self.next == Action::Save
            && let Some(event) = self.local.perform(&self.agent, Action::Save)
        {
            self.next = self.agent.step(now, event);
        }
    }

    /// Runs until the device restarts.
    pub async fn run(&mut self) {
        while self.turn().await.action != Action::Reboot {}
    }

    /// Carries out one action.
    pub async fn turn(&mut self) -> Turn {
        let action = self.next;
        let event = self.perform(action).await;
        let failed = if let Event::Failed(code) = event { Some(code) } else { None };
        if action != Action::Reboot {
            self.next = self.agent.step(self.clock.now(), event);
        }
        self.carry_out();
        self.send_reports();
        Turn { action, failed }
    }

    /// Returns the agent, to look at.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Tells what was found in flash at this start, for whoever reports the device's health.
    pub fn found(&self) -> Found {
        Found { journal: self.local.journal(), record: self.agent.started().running_state }
    }

    /// Returns the action that comes next.
    pub const fn next(&self) -> Action {
        self.next
    }

    async fn perform(&mut self, action: Action) -> Event {
        if let Some(event) = self.local.perform(&self.agent, action) {
            return event;
        }
        // Each has a place of its own, on the heap and on the stack: what one takes, others do not.
        let work: Pin<Box<dyn Future<Output = Result<Event, ErrorCode>> + '_>> = match action {
            Action::Compare => Box::pin(self.compare()),
            Action::Open { from, .. } => Box::pin(self.open(from)),
            Action::Poll => Box::pin(self.poll()),
            Action::Recall { list } => Box::pin(self.recall(list)),
            Action::Transfer { offset, bytes } => Box::pin(self.transfer(offset, bytes)),
            Action::Wait { until } => return self.wait(until).await,
            Action::Reboot => return self.restart().await,
            Action::Activate { .. }
            | Action::AskToDownload
            | Action::AskToReboot
            | Action::Burn { .. }
            | Action::CheckHealth
            | Action::Confirm
            | Action::Inspect
            | Action::Reject
            | Action::Save
            | Action::SelfTest => return Event::Tick,
        };
        work.await.unwrap_or_else(Event::Failed)
    }

    async fn poll(&mut self) -> Result<Event, ErrorCode> {
        let mut nonce = Nonce([0; 16]);
        self.entropy.fill(&mut nonce.0);
        let request = self.request(nonce).encode();
        let answer = match self.server.poll(&request).await {
            Err(NoAnswer::Busy(wait)) => return Ok(Event::Busy(wait)),
            answer => answer.map_err(|_| ErrorCode::NO_CONTACT)?,
        };
        // A check takes memory enough.
        drop(request);
        self.follow_roots(&answer).await;
        self.answered(nonce, &answer)
    }

    /// Takes an answer. On its own, so that what a check needs of the stack is not taken while the
    /// answer is awaited.
    #[inline(never)]
    fn answered(&mut self, nonce: Nonce, answer: &[u8]) -> Result<Event, ErrorCode> {
        let bundle = Bundle::parse(answer).map_err(|_| ErrorCode::TRUST_MALFORMED)?;
        for name in bundle.names(bundle::Kind::Acknowledged) {
            if let Ok(id) = MessageId::parse(name) {
                self.agent.acknowledge(&id);
            }
        }
        let floor = self.agent.security_version();
        let checked = self.trust.check(nonce, floor, &bundle);
        // Whatever became of the answer: pins are no part of it, and count for themselves.
        self.take_pins(&bundle);
        checked.map(Event::Answered)
    }

    /// Keeps the pins that came along, if both repositories vouch for them and they are new.
    fn take_pins(&mut self, bundle: &Bundle<'_>) {
        if let Some((pem, sha256)) = self.trust.server_ca(bundle)
            && self.pins.kept() != Some(sha256)
        {
            // What cannot be kept now comes again: the next poll says which ones are in use.
            let _ = self.pins.keep(pem, sha256);
        }
    }

    #[inline(never)]
    fn request(&mut self, nonce: Nonce) -> Request {
        let reports = self.sealed_reports();
        let firmware = self.agent.firmware();
        Request {
            nonce,
            product: self.identity.product.clone(),
            hw: self.identity.hardware.clone(),
            fw: firmware.release.clone(),
            fw_sha256: firmware.sha256,
            security_version: self.agent.security_version(),
            have: self.trust.have(),
            pins: self.pins.kept(),
            out_s: self.agent.out_s(self.clock.now()),
            reports,
        }
    }

    async fn open(&mut self, from: u32) -> Result<Event, ErrorCode> {
        self.local.protect()?;
        let sha256 = self.agent.deployment().ok_or(ErrorCode::DOWNLOAD_STATUS)?.sha256;
        self.server.open(&sha256, from).await.map(Event::Opened).map_err(NoAnswer::broken_off)
    }

    async fn transfer(&mut self, offset: u32, bytes: u32) -> Result<Event, ErrorCode> {
        let mut sector = alloc::vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.fill(&mut sector).await?;
        let image = self.agent.deployment().ok_or(ErrorCode::DOWNLOAD_STATUS)?;
        self.passing.take(image, offset, &sector);
        self.local.store(offset, &sector)?;
        Ok(Event::Transferred(bytes))
    }

    /// Reads so much of what was opened last, and no byte more.
    async fn fill(&mut self, mut rest: &mut [u8]) -> Result<(), ErrorCode> {
        while !rest.is_empty() {
            let read = self.server.read(rest).await.map_err(NoAnswer::broken_off)?;
            if read == 0 {
                return Err(ErrorCode::DOWNLOAD_TRUNCATED);
            }
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Asks for the chunk list, and reads in flash how much of the image is there (D8).
    async fn recall(&mut self, named: Digest) -> Result<Event, ErrorCode> {
        let length = self.agent.deployment().ok_or(ErrorCode::DOWNLOAD_STATUS)?.length;
        let file_bytes = chunks::list_bytes(length.into()).ok_or(ErrorCode::DOWNLOAD_HASH)?;
        let opened = self.server.open(&named, 0).await.map_err(NoAnswer::broken_off)?;
        if opened.status != 200 {
            return Ok(Event::Opened(opened));
        }
        let is_another = |sent: u64| usize::try_from(sent).ok() != Some(file_bytes);
        if opened.body_bytes.is_some_and(is_another) {
            return Err(ErrorCode::DOWNLOAD_HASH);
        }
        let mut file = alloc::vec![0; file_bytes];
        self.fill(&mut file).await?;
        let list = ChunkList::read(&file, &named).ok_or(ErrorCode::DOWNLOAD_HASH)?;
        let mut recall = Recall::new(list, length);
        while !self.local.recall(&mut recall)? {
            yield_now().await;
        }
        Ok(Event::Transferred(recall.good()))
    }

    async fn compare(&mut self) -> Result<Event, ErrorCode> {
        let image = self.agent.deployment().ok_or(ErrorCode::FLASH_REREAD)?;
        let mut scan = self.local.scan(image);
        while !self.local.advance(&mut scan)? {
            yield_now().await;
        }
        let flash = self.local.finish(scan);
        Ok(Event::Compared(Comparison { flash, network: self.passing.finish() }))
    }

    async fn wait(&mut self, until: Duration) -> Event {
        match self.next_message(until).await {
            Message::Acknowledged(id) => self.agent.acknowledge(&id),
            Message::Command(bytes) => self.command(bytes),
            Message::Refused(id) => self.handed_over.refuse(id),
            Message::Connected | Message::TimeUp => {}
        }
        Event::Tick
    }

    /// Restarts, after the reports had a chance to get out. They are in the journal anyway.
    async fn restart(&mut self) -> Event {
        let until = self.clock.now() + FAREWELL;
        self.send_reports();
        while self.is_sending() {
            match self.messages.next(until).await {
                Message::Acknowledged(id) => self.agent.acknowledge(&id),
                Message::Command(_) => {}
                Message::Connected => self.send_reports(),
                Message::Refused(id) => self.handed_over.refuse(id),
                Message::TimeUp => break,
            }
        }
        self.local.boot.reboot();
        Event::Tick
    }
}

fn draw(entropy: &mut impl Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
