//! The server: the real engine over a virtual disk, with the steps of the real jobs, in one thread.
//!
//! It dies on command, in the middle of a transaction, and starts again with what is on the disk. Not
//! here: what devices do, and when anything happens.

use waxwing_server::domain::deployment::Step;
use waxwing_server::domain::effect::Effect;
use waxwing_server::domain::rollout::State;
use waxwing_server::domain::{Decision, Rollout, Running};
use waxwing_server::fleet::{Fleet, Told};
use waxwing_server::ingest::FRESH_S;
use waxwing_wire::Report;

use super::auditor::{Auditor, Cause, Violation};
use super::cast::{self, Cast, Each};
use super::device::{Known, Said, Unit};
use super::disk::{Disk, Honesty};

/// As many as the jobs of the server write in one statement.
const ROWS_MAX: usize = 10_000;
/// For how long the server is away when it dies, in virtual milliseconds.
const AWAY_MS: u64 = 30_000;
/// How often the server says that it is alive, in virtual milliseconds.
const ALIVE_MS: u64 = 10_000;
/// Devices whose answer is compared before and after a restart.
const COMPARED: u32 = 64;

/// What happens to the next transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Accident {
    /// It fails, and the server goes on.
    DiskFull,
    /// The server dies before it is written.
    DiesBefore,
    /// The server dies after it is written, and before anybody hears of it.
    DiesAfter,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// It need not come again.
    Settled,
    /// It must come again.
    Later,
}

/// What the server did by itself since the last time.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Devices whose deployments changed without their word.
    pub(super) devices: Vec<u32>,
    /// Whether a rollout moved.
    pub(super) moved: bool,
}

/// How much was lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) restarts: u64,
    pub(super) writes: u64,
}

pub(super) struct Server {
    pub(super) disk: Disk,
    pub(super) accident: Option<Accident>,
    pub(super) news: News,
    pub(super) losses: Losses,
    pub(super) auditor: Auditor,
    pub(super) polls: u64,
    pub(super) reports: u64,
    /// By how much its clock is slow, in milliseconds.
    pub(super) slow_ms: u64,
    fleet: Fleet,
    /// When it starts again, if it is dead.
    away_until: Option<u64>,
    /// What some devices would have been told when it died, if nothing was written that they would not
    /// have been told of.
    answers: Vec<(u32, Decision)>,
}

impl Server {
    pub(super) fn new(cast: &Cast, honesty: Honesty) -> Self {
        let disk = Disk::new(cast.devices(), honesty);
        Self {
            fleet: Fleet::restored(disk.records(), disk.members(cast)),
            auditor: Auditor::new(cast.devices()),
            disk,
            accident: None,
            news: News::default(),
            losses: Losses::default(),
            polls: 0,
            reports: 0,
            slow_ms: 0,
            away_until: None,
            answers: Vec::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.away_until.is_none()
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Returns for how many devices there is room. The rollout that decides reaches everybody, and whoever
    /// waits for a place in it gets none in another.
    pub(super) fn room(&self) -> u64 {
        self.deciding().map_or(0, |rollout| self.fleet.room(&rollout.id))
    }

    /// Returns the rollout of the highest priority of those that run, the newest among equals.
    pub(super) fn deciding(&self) -> Option<&Rollout> {
        let all = self.disk.rollouts.iter().map(|(_, rollout)| rollout);
        let running = all.filter(|rollout| rollout.state == State::Running);
        running.max_by_key(|rollout| rollout.plan.priority)
    }

    /// Returns what its clock says.
    pub(super) fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms - self.slow_ms
    }

    /// An operator drafts or changes a rollout.
    pub(super) fn put_rollout(&mut self, rollout: Rollout, now_ms: u64) {
        if cast::rollout_number(&rollout.id) == self.disk.rollouts.len() {
            self.auditor.open_book();
        }
        self.disk.put_rollout(rollout.clone(), now_ms);
        self.fleet.put_rollout(rollout);
        self.news.moved = true;
    }

    /// Answers a poll.
    pub(super) fn poll(
        &mut self,
        cast: &Cast,
        device: u32,
        (running, known): (&Running, Known),
        now_ms: u64,
    ) -> Result<(Told, Known), Violation> {
        self.polls += 1;
        let now_ms = self.clock_ms(now_ms);
        let told = self.fleet.poll(cast.id(device), running, now_ms);
        let told = told.ok_or_else(|| Violation(format!("d-{device} is not registered")))?;
        let known = self.auditor.told(&self.disk, cast, device, (&told, known), now_ms)?;
        Ok((told, known))
    }

    /// Takes in a report that was sent at a time by the device's clock.
    pub(super) fn report(
        &mut self,
        cast: &Cast,
        device: u32,
        (said, sent_s): (Said, u64),
        now_ms: u64,
    ) -> Result<Answer, Violation> {
        let now_ms = self.clock_ms(now_ms);
        if !self.is_up() || sent_s.abs_diff(now_ms / 1000) > FRESH_S {
            return Ok(Answer::Later);
        }
        if self.disk.has_heard(device, said.id) {
            return Ok(Answer::Settled);
        }
        self.reports += 1;
        let heard = self.fleet.on_report(cast.id(device), &report(said), now_ms);
        let Some((step, effect)) = heard else { return Ok(Answer::Settled) };
        debug_assert!(matches!(step, Step::Applied(_)) || effect.deployments.is_empty());
        self.news.moved |= !effect.moved.is_empty();
        let is_stored =
            self.transact(cast, Cause::Report, effect, Some((device, said.id)), now_ms)?;
        Ok(if is_stored { Answer::Settled } else { Answer::Later })
    }

    /// Does what the jobs of the server do each second.
    pub(super) fn tick(&mut self, cast: &Cast, now_ms: u64) -> Result<(), Violation> {
        match self.away_until {
            Some(until) if now_ms < until => return Ok(()),
            Some(_) => self.restart(cast, self.clock_ms(now_ms))?,
            None => {}
        }
        self.disk.catch_up(now_ms);
        if now_ms.is_multiple_of(ALIVE_MS) {
            // The latest time that it may have signed: a clock set back does not lower it.
            self.disk.alive_at = now_ms;
        }
        let now_ms = self.clock_ms(now_ms);
        self.advance(cast, now_ms)?;
        if self.is_up() { self.flush(cast, now_ms) } else { Ok(()) }
    }

    /// As `jobs::advance_rollouts`.
    fn advance(&mut self, cast: &Cast, now_ms: u64) -> Result<(), Violation> {
        self.auditor.looks_at(now_ms);
        self.fleet.look(now_ms);
        if !self.fleet.timed_out(now_ms, 1).is_empty() {
            let effect = self.fleet.on_silence(now_ms, ROWS_MAX);
            self.take_note(&effect);
            self.transact(cast, Cause::Silence, effect, None, now_ms)?;
        }
        for rollout in self.fleet.open_rollouts() {
            let (evidence, health) =
                (self.fleet.evidence(&rollout.id), self.fleet.health(&rollout.id));
            let decision = rollout.decide(&evidence, &health, now_ms);
            let Some(decision) = decision.filter(|_| self.is_up()) else { continue };
            let effect = self.fleet.on_decision(&rollout.id, &decision, now_ms);
            let Some(effect) = effect else { continue };
            self.take_note(&effect);
            self.transact(cast, Cause::Decision, effect, None, now_ms)?;
        }
        Ok(())
    }

    /// As `jobs::flush_sightings`.
    fn flush(&mut self, cast: &Cast, now_ms: u64) -> Result<(), Violation> {
        let mut polls = self.fleet.sightings().take();
        let mut written = 0;
        for batch in polls.chunks(ROWS_MAX) {
            let effect = self.fleet.on_polls(batch);
            self.take_note(&effect);
            if !self.transact(cast, Cause::Polls, effect, None, now_ms)? {
                break;
            }
            written += batch.len();
        }
        polls.drain(..written);
        if self.is_up() {
            self.fleet.sightings().put_back(polls);
        } else {
            self.losses.writes += count(polls.len());
        }
        Ok(())
    }

    /// Writes and then shows an effect; tells whether it was both.
    fn transact(
        &mut self,
        cast: &Cast,
        cause: Cause,
        effect: Effect<'_>,
        message: Option<(u32, u8)>,
        now_ms: u64,
    ) -> Result<bool, Violation> {
        let accident = self.accident.take();
        if accident == Some(Accident::DiskFull) {
            return Ok(false);
        }
        if accident == Some(Accident::DiesBefore) {
            self.losses.writes += count(effect.deployments.len()) + u64::from(message.is_some());
            let compared = (0..COMPARED.min(cast.devices()))
                .filter_map(|device| Some((device, self.fleet.decide(cast.id(device), now_ms)?)));
            self.answers = compared.collect();
            self.die(now_ms);
            return Ok(false);
        }
        self.auditor.book(&self.disk, &self.fleet, cause, &effect, now_ms)?;
        self.disk.write(&effect, message, now_ms);
        self.auditor.booked(&self.disk, &effect)?;
        if accident == Some(Accident::DiesAfter) {
            self.answers.clear();
            self.die(now_ms);
            return Ok(false);
        }
        self.fleet.show(effect);
        Ok(true)
    }

    fn die(&mut self, now_ms: u64) {
        self.losses.restarts += 1;
        self.losses.writes += count(self.fleet.sightings().take().len());
        self.disk.crash();
        self.away_until = Some(now_ms + self.slow_ms + AWAY_MS);
    }

    fn restart(&mut self, cast: &Cast, now_ms: u64) -> Result<(), Violation> {
        self.away_until = None;
        self.fleet = Fleet::default();
        self.fleet = Fleet::restored(self.disk.records(), self.disk.members(cast));
        for (device, before) in std::mem::take(&mut self.answers) {
            let after = self.fleet.decide(cast.id(device), now_ms);
            let offers =
                |decision: &Decision| decision.offer.as_ref().map(|it| it.rollout.id.clone());
            if after.as_ref().map(offers) != Some(offers(&before)) {
                let words = format!("d-{device}: {before:?} before a restart, {after:?} after it");
                return Err(Violation(words));
            }
        }
        self.listen(now_ms);
        Ok(())
    }

    /// The first look at the clock.
    pub(super) fn listen(&mut self, now_ms: u64) {
        self.auditor.listens_from(now_ms, now_ms.saturating_sub(self.disk.alive_at));
        self.fleet.listen_from(now_ms);
        self.fleet.look(now_ms);
    }

    /// Checks everything.
    pub(super) fn audit(
        &mut self,
        cast: &Cast,
        units: &Each<Unit>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        if !self.is_up() {
            return Ok(());
        }
        self.auditor.audit((&self.disk, cast), &self.fleet, units, self.clock_ms(now_ms))
    }

    fn take_note(&mut self, effect: &Effect<'_>) {
        self.news.devices.extend(effect.deployments.iter().map(|(_, it, _)| cast::number(it)));
        self.news.moved |= !effect.moved.is_empty();
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn report(said: Said) -> Report {
    Report {
        rollout: cast::rollout_id(said.rollout),
        release: cast::version(said.image),
        state: said.state,
        code: said.code,
        fw_sha256: cast::digest(said.runs),
        attempt: 1,
        measured_at: 0,
        deferred: said.deferred,
    }
}
