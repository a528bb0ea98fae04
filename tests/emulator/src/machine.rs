//! The whole: a core, a board and a network, from power-on to the end of a run.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::board::time::{CYCLES_PER_SECOND, CYCLES_PER_US};
use crate::board::{Board, Halt, ResetReason};
use crate::core::{self, Core as _, Engine, Pause};
use crate::flash::Nor;
use crate::net::Network;
use crate::random::Noise;
use crate::rom::{self, BootError};
use crate::serial::Serial;
use crate::world::now;

/// How often the network is looked at while the core is busy, in cycles.
const NETWORK_CYCLES: u64 = 200 * CYCLES_PER_US;

/// A chip with flash, serial line and network.
pub struct Machine<'e> {
    engine: Engine<'e>,
    network: Network,
    limits: Limits,
    started: Instant,
    resets: Vec<Reset>,
}

/// When a run ends that nothing else ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the world.
    pub wall: Duration,
    /// Of the chip.
    pub virtual_time: Duration,
    /// More resets than this are a device that does not start.
    pub resets: usize,
}

/// A start of the chip.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reset {
    /// When, in milliseconds of the chip's time.
    pub at_ms: u64,
    /// Why.
    pub reason: ResetReason,
}

/// Why a run ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "end", content = "detail")]
pub enum End {
    /// The text came on the serial line.
    Text,
    /// The planned power cut.
    PowerCut,
    /// A limit of time.
    Time,
    /// The limit of resets.
    Resets,
    /// The ROM found nothing to start.
    NoBootLoader(String),
    /// The program did something that the model has no answer to.
    Unknown(String),
}

/// What a run was.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Why it ended.
    #[serde(flatten)]
    pub end: End,
    /// Every start of the chip, the first when power came.
    pub resets: Vec<Reset>,
    /// Chip time, in milliseconds.
    pub virtual_ms: u64,
    /// Time of the world, in milliseconds.
    pub wall_ms: u128,
    /// Cycles of the core in which it did not wait.
    pub busy_cycles: u64,
    /// Flash operations.
    pub flash_operations: u64,
    /// Sectors erased.
    pub erased_sectors: u64,
    /// Bytes programmed.
    pub programmed_bytes: u64,
}

impl Machine<'_> {
    /// Puts a machine together and gives it power.
    pub fn new(
        flash: Nor,
        serial: Serial,
        network: Network,
        seed: u64,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let mut noise = Noise::new(seed);
        let board = Box::new(Board::new(flash, serial, noise.clone()));
        let mut engine = core::new(board)?;
        for region in [core::DATA, core::CODE, core::LOW_POWER] {
            let bytes = noise.bytes(usize::try_from(region.bytes)?);
            engine.write(region.start, &bytes);
        }
        Ok(Self { engine, network, limits, started: now(), resets: Vec::new() })
    }

    /// Runs to the end.
    pub fn run(&mut self) -> anyhow::Result<Summary> {
        let mut busy_cycles = 0;
        let end = match self.boot(ResetReason::PowerOn) {
            Err(end) => end,
            Ok(()) => loop {
                if let Some(end) = self.limit() {
                    break end;
                }
                let before = self.engine.board().now;
                let pause = self.engine.resume();
                busy_cycles += self.engine.board().now - before;
                if let Some(end) = self.after(pause)? {
                    break end;
                }
            },
        };
        Ok(self.summary(end, busy_cycles))
    }

    /// Returns the flash, with what it remembers.
    pub fn flash(&self) -> &Nor {
        &self.engine.board().flash
    }

    /// Returns the static memory, as data.
    pub fn memory(&self) -> Vec<u8> {
        self.engine.read(core::DATA.start, core::DATA.bytes)
    }

    fn after(&mut self, pause: Pause) -> anyhow::Result<Option<End>> {
        match self.engine.board_mut().halt.take() {
            None => {}
            Some(Halt::PowerLost) => return Ok(Some(End::PowerCut)),
            Some(Halt::Reset(reason)) => return self.reset(reason),
            Some(Halt::Unknown(text)) => return Ok(Some(End::Unknown(text))),
        }
        if pause == Pause::Waiting && self.engine.board().interrupt.is_none() {
            self.wait();
        }
        if self.engine.board().now >= self.engine.board().network_at {
            self.exchange();
        }
        if let Some(input) = self.engine.board().interrupt {
            self.engine.interrupt(input);
        }
        Ok(None)
    }

    /// A waiting core sees nothing until the next event, or until something comes from the network.
    fn wait(&mut self) {
        self.exchange();
        let board = self.engine.board();
        if board.interrupt.is_some() {
            return;
        }
        let (now, event) = (board.now, board.next_event());
        let event = event.min(self.network.next_event(now));
        if event <= now {
            self.engine.board_mut().tick();
            return;
        }
        let waited = self.network.wait(Duration::from_micros((event - now) / CYCLES_PER_US));
        let passed = waited.map_or(event - now, cycles).min(event - now);
        self.engine.pass(passed);
    }

    fn exchange(&mut self) {
        let board = self.engine.board_mut();
        let now = board.now;
        let sent: Vec<_> = board.sent.drain(..).collect();
        let received = self.network.exchange(now, sent);
        let next = self.network.next_event(now).max(now + CYCLES_PER_US);
        let board = self.engine.board_mut();
        board.network_at = next.min(now + NETWORK_CYCLES);
        for frame in received {
            board.ethernet.arrived(frame);
        }
        crate::cable::exchange(&mut self.engine);
    }

    fn reset(&mut self, reason: ResetReason) -> anyhow::Result<Option<End>> {
        let kept = [core::DATA, core::CODE, core::LOW_POWER]
            .map(|region| (region.start, self.engine.read(region.start, region.bytes)));
        let mut board = self.engine.take_board();
        board.reset(reason);
        self.engine = core::new(board)?;
        for (start, bytes) in kept {
            self.engine.write(start, &bytes);
        }
        if self.resets.len() >= self.limits.resets {
            return Ok(Some(End::Resets));
        }
        Ok(self.boot(reason).err())
    }

    fn boot(&mut self, reason: ResetReason) -> Result<(), End> {
        self.resets.push(Reset { at_ms: milliseconds(self.engine.board().now), reason });
        rom::start(&mut self.engine)
            .map_err(|error: BootError| End::NoBootLoader(error.to_string()))
    }

    fn limit(&self) -> Option<End> {
        let board = self.engine.board();
        if board.serial.has_seen_the_text() {
            return Some(End::Text);
        }
        let late = cycles(self.limits.virtual_time) <= board.now;
        (late || self.started.elapsed() >= self.limits.wall).then_some(End::Time)
    }

    fn summary(&self, end: End, busy_cycles: u64) -> Summary {
        let board = self.engine.board();
        Summary {
            end,
            resets: self.resets.clone(),
            virtual_ms: milliseconds(board.now),
            wall_ms: self.started.elapsed().as_millis(),
            busy_cycles,
            flash_operations: board.flash.operations(),
            erased_sectors: board.flash.erased_sectors(),
            programmed_bytes: board.flash.programmed_bytes(),
        }
    }
}

fn cycles(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_mul(CYCLES_PER_US)
}

const fn milliseconds(cycles: u64) -> u64 {
    cycles / (CYCLES_PER_SECOND / 1000)
}
