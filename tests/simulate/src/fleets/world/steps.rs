//! What happens to a device, step by step, and what it says about it: the agent, as far as a server can
//! notice. Not here: when the server looks.

use waxwing_server::fleet::Told;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::{Deferral, State as Step};

use super::{Doing, HOUR_MS, SECOND_MS, World};
use crate::fleets::auditor::Violation;
use crate::fleets::device::{Fate, Life, Task, WRONG_CLOCK_S};
use crate::fleets::scenario::Nature;
use crate::fleets::server::Answer;
use crate::fleets::{cast, disk};

/// A device that is about to be offered a release asks again after so long, in virtual milliseconds.
const SOON_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;
const POLL_MS: u64 = 15 * MINUTE_MS;
/// From the switch to the first line of the new image.
const RESET_MS: u64 = 20_000;
/// From there to the end of the self-test.
const SELF_TEST_MS: u64 = 70_000;

/// How often the plans of the scenarios let users put a release off.
const DEFERRALS_MAX: u8 = 2;

/// What happens to a device.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Happens {
    Boots,
    GoesBack,
    HasLoaded,
    HasSoaked,
    IsTested,
    Lie,
    Poll,
}

impl World<'_> {
    pub(super) fn happen(
        &mut self,
        device: u32,
        epoch: u8,
        happens: Happens,
    ) -> Result<(), Violation> {
        if happens != Happens::Lie && self.units.of(device).epoch != epoch {
            return Ok(());
        }
        self.doing = Doing::ToDevice(device, happens);
        match happens {
            Happens::Boots => self.boot(device),
            Happens::GoesBack => self.go_back(device),
            Happens::HasLoaded => self.has_loaded(device),
            Happens::HasSoaked => self.has_soaked(device),
            Happens::IsTested => self.is_tested(device),
            Happens::Lie => self.lie(device),
            Happens::Poll => self.ask(device),
        }
    }

    /// It polls, and does what it is told.
    pub(super) fn ask(&mut self, device: u32) -> Result<(), Violation> {
        let Some(told) = self.poll(device)? else {
            let at = self.now_ms + if self.server.is_up() { POLL_MS } else { MINUTE_MS };
            if self.units.of(device).life == Life::Idle {
                self.units.of_mut(device).life = Life::Asking;
            }
            self.happens(device, at, Happens::Poll);
            return Ok(());
        };
        let unit = self.units.of(device);
        match unit.life {
            Life::Idle | Life::Settled | Life::Asking => match task(&told) {
                Some(task) if task.image != unit.image => self.begin(device, task),
                _ if told.soon => {
                    self.units.of_mut(device).life = Life::Asking;
                    self.happens(device, self.now_ms + SOON_MS, Happens::Poll);
                    Ok(())
                }
                _ => {
                    self.rest(device);
                    Ok(())
                }
            },
            Life::Loading if task(&told) == unit.task => {
                self.happens(device, self.now_ms + HOUR_MS, Happens::Poll);
                Ok(())
            }
            Life::Ready if task(&told) == unit.task => self.switch(device),
            Life::Loading | Life::Ready => {
                self.rest(device);
                Ok(())
            }
            Life::Trial | Life::Soaking | Life::Lost => Ok(()),
        }
    }

    /// Says what it has to say, and hears what it should run; `None`: nobody is there.
    fn poll(&mut self, device: u32) -> Result<Option<Told>, Violation> {
        self.deliver(device)?;
        if !self.server.is_up() {
            return Ok(None);
        }
        let unit = self.units.of(device);
        let running = self.cast.running(unit.image);
        let (told, known) =
            self.server.poll(&self.cast, device, (running, unit.known), self.now_ms)?;
        if self.server.slow_ms > 0 {
            // It has heard a later time, and believes no earlier one (D5).
            return Ok(None);
        }
        let unit = self.units.of_mut(device);
        unit.known = known;
        if unit.nature != Nature::StubbornClock {
            unit.clock_s = 0;
        }
        Ok(Some(told))
    }

    /// Nothing to do until the next poll.
    fn rest(&mut self, device: u32) {
        let unit = self.units.of_mut(device);
        if unit.life != Life::Idle {
            unit.epoch = unit.epoch.wrapping_add(1);
        }
        unit.task = None;
        let can_speak = !unit.is_silent && unit.nature != Nature::StubbornClock;
        let has_to_speak = !unit.outbox.is_empty() && can_speak;
        if has_to_speak || self.server.disk.in_flight(device).next().is_some() {
            self.units.of_mut(device).life = Life::Asking;
            let at = self.now_ms + MINUTE_MS + self.rng.u64(0..POLL_MS);
            self.happens(device, at, Happens::Poll);
        } else {
            self.join(device);
        }
    }

    fn begin(&mut self, device: u32, task: Task) -> Result<(), Violation> {
        let is_slow = self.units.of(device).nature == Nature::SlowLink;
        let takes = if is_slow { HOUR_MS..24 * HOUR_MS } else { MINUTE_MS..10 * MINUTE_MS };
        let download_ms = self.rng.u64(takes);
        let unit = self.units.of_mut(device);
        unit.epoch = unit.epoch.wrapping_add(1);
        (unit.life, unit.task) = (Life::Loading, Some(task));
        if unit.nature == Nature::SaysHealthy {
            unit.say(task.rollout, task.image, task.image, Step::Healthy);
            self.deliver(device)?;
            self.rest(device);
            return Ok(());
        }
        self.speak(device, Step::Downloading)?;
        self.happens(device, self.now_ms + download_ms, Happens::HasLoaded);
        if download_ms > HOUR_MS {
            self.happens(device, self.now_ms + HOUR_MS, Happens::Poll);
        }
        Ok(())
    }

    fn has_loaded(&mut self, device: u32) -> Result<(), Violation> {
        let (nature, deferred) = (self.units.of(device).nature, self.units.of(device).deferred);
        if nature == Nature::BrokenLink && self.rng.u8(0..4) == 0 {
            return self.stop_at(device, Step::Failed, ErrorCode::DOWNLOAD_STALLED, None);
        }
        if nature == Nature::PutsOff && deferred < DEFERRALS_MAX {
            let until = (self.now_ms + self.rng.u64(HOUR_MS..9 * HOUR_MS)) / SECOND_MS;
            self.units.of_mut(device).deferred += 1;
            let deferral = Deferral { times: deferred + 1, until };
            return self.stop_at(device, Step::Verified, ErrorCode::NONE, Some(deferral));
        }
        self.speak(device, Step::Verified)?;
        self.units.of_mut(device).life = Life::Ready;
        if self.rng.u8(0..16) > 0 {
            return self.ask(device);
        }
        // Its application waits for a good moment.
        let polls = self.rng.u64(1..8);
        for poll in 1..polls {
            let at = self.now_ms + poll * POLL_MS;
            self.happens(device, at, Happens::Poll);
        }
        self.units.of_mut(device).life = Life::Loading;
        self.happens(device, self.now_ms + polls * POLL_MS, Happens::HasLoaded);
        Ok(())
    }

    /// The last poll has confirmed the offer (D17).
    fn switch(&mut self, device: u32) -> Result<(), Violation> {
        let fate = self.fate(device);
        self.speak(device, Step::Activated)?;
        let unit = self.units.of_mut(device);
        let Some(task) = unit.task else { return Ok(()) };
        unit.epoch = unit.epoch.wrapping_add(1);
        (unit.before, unit.image) = (unit.image, task.image);
        (unit.life, unit.fate) = (Life::Trial, fate);
        if unit.nature == Nature::WrongClock {
            // Nothing keeps the time over a reset.
            unit.clock_s = WRONG_CLOCK_S;
        }
        if fate == Fate::FallsSilent {
            (unit.life, unit.harmed_by) = (Life::Lost, Some(task.rollout));
            return Ok(());
        }
        self.happens(device, self.now_ms + RESET_MS, Happens::Boots);
        Ok(())
    }

    fn fate(&mut self, device: u32) -> Fate {
        let image = self.units.of(device).task.map_or(0, |task| usize::from(task.image));
        let share = self.scenario.broken.get(image).copied().unwrap_or(0.0);
        if self.rng.f64() >= share {
            return Fate::Healthy;
        }
        match self.rng.u8(0..3) {
            _ if self.scenario.silences => Fate::FallsSilent,
            0 => Fate::FailsSelfTest,
            1 => Fate::CrashesInSoak,
            _ => Fate::FallsSilent,
        }
    }

    fn boot(&mut self, device: u32) -> Result<(), Violation> {
        self.speak(device, Step::Booted)?;
        let next = match self.units.of(device).fate {
            Fate::FailsSelfTest => Happens::GoesBack,
            Fate::CrashesInSoak | Fate::FallsSilent | Fate::Healthy => Happens::IsTested,
        };
        self.happens(device, self.now_ms + SELF_TEST_MS, next);
        Ok(())
    }

    /// The self-test is passed; an authenticated poll is the rest of the trial.
    fn is_tested(&mut self, device: u32) -> Result<(), Violation> {
        if self.poll(device)?.is_none() {
            self.happens(device, self.now_ms + MINUTE_MS, Happens::IsTested);
            return Ok(());
        }
        self.speak(device, Step::Confirmed)?;
        let unit = self.units.of_mut(device);
        unit.life = Life::Soaking;
        let soak_ms = unit.task.map_or(0, |task| u64::from(task.soak_s) * SECOND_MS);
        if unit.fate == Fate::CrashesInSoak {
            let at = self.now_ms + self.rng.u64(0..soak_ms.max(1));
            self.happens(device, at, Happens::GoesBack);
        } else {
            self.happens(device, self.now_ms + soak_ms, Happens::HasSoaked);
        }
        Ok(())
    }

    fn has_soaked(&mut self, device: u32) -> Result<(), Violation> {
        self.speak(device, Step::Healthy)?;
        let unit = self.units.of_mut(device);
        match unit.nature {
            Nature::Flapping => {
                self.deliver(device)?;
                let at = self.now_ms + self.rng.u64(HOUR_MS..5 * HOUR_MS);
                self.happens(device, at, Happens::GoesBack);
            }
            Nature::Backwards => {
                unit.outbox.reverse();
                let again = unit.outbox.clone();
                unit.outbox.extend(again);
                unit.is_silent = false;
                self.deliver(device)?;
                self.rest(device);
            }
            Nature::Late => {
                unit.is_silent = false;
                let at = self.now_ms + self.rng.u64(HOUR_MS..9 * HOUR_MS);
                (unit.life, unit.task) = (Life::Asking, None);
                self.happens(device, at, Happens::Poll);
            }
            Nature::Ordinary
            | Nature::NeverComes
            | Nature::NightsOnly
            | Nature::SlowLink
            | Nature::SaysHealthy
            | Nature::Nonsense
            | Nature::Everywhere
            | Nature::WrongClock
            | Nature::StubbornClock
            | Nature::BrokenLink
            | Nature::PutsOff => self.rest(device),
        }
        Ok(())
    }

    /// The boot loader takes the old slot again.
    fn go_back(&mut self, device: u32) -> Result<(), Violation> {
        let unit = self.units.of_mut(device);
        let Some(task) = unit.task else { return Ok(()) };
        unit.image = unit.before;
        if unit.nature != Nature::Flapping {
            unit.harmed_by = Some(task.rollout);
        }
        unit.is_silent = false;
        self.speak(device, Step::RolledBack)?;
        self.rest(device);
        Ok(())
    }

    /// Whatever comes to a liar's mind.
    fn lie(&mut self, device: u32) -> Result<(), Violation> {
        let rollouts = self.server.disk.rollouts.len();
        let nature = self.units.of(device).nature;
        let random = self.rng.u8(0..6);
        let unit = self.units.of_mut(device);
        if nature == Nature::Everywhere {
            let states = [Step::Downloading, Step::Activated, Step::Verified];
            for state in states.into_iter().take(usize::from(random) % 3 + 1) {
                for (image, rollout) in (1..).zip(0..rollouts) {
                    unit.say(rollout, image, unit.image, state);
                }
            }
            return self.tell_lies(device);
        }
        match random {
            0 => unit.say(rollouts + 7, 1, 1, Step::Healthy),
            1 => unit.say(0, 1, 1, Step::Offered),
            2 => unit.say(0, 2, 2, Step::Healthy),
            3 => unit.say(0, 1, 0, Step::Healthy),
            4 => unit.say(0, 1, 1, Step::TimedOut),
            _ => unit.say(0, 1, 1, Step::Waiting),
        }
        self.tell_lies(device)
    }

    /// After a lie its next poll may have an effect.
    fn tell_lies(&mut self, device: u32) -> Result<(), Violation> {
        self.deliver(device)?;
        if matches!(self.units.of(device).life, Life::Idle | Life::Settled) {
            self.rest(device);
        }
        Ok(())
    }

    /// Says how far it is: at once, or with the next poll.
    fn speak(&mut self, device: u32, state: Step) -> Result<(), Violation> {
        let unit = self.units.of_mut(device);
        let Some(task) = unit.task else { return Ok(()) };
        unit.say(task.rollout, task.image, unit.image, state);
        if unit.has_mqtt { self.deliver(device) } else { Ok(()) }
    }

    /// Says how far it came and why no further, and waits for the next offer.
    fn stop_at(
        &mut self,
        device: u32,
        state: Step,
        code: ErrorCode,
        deferred: Option<Deferral>,
    ) -> Result<(), Violation> {
        let unit = self.units.of_mut(device);
        let Some(task) = unit.task else { return Ok(()) };
        unit.say(task.rollout, task.image, unit.image, state);
        unit.explain(code, deferred);
        if unit.has_mqtt {
            self.deliver(device)?;
        }
        self.rest(device);
        Ok(())
    }

    /// Sends what was not acknowledged, in order.
    fn deliver(&mut self, device: u32) -> Result<(), Violation> {
        if self.units.of(device).is_silent {
            return Ok(());
        }
        while let Some(said) = self.units.of(device).outbox.first().copied() {
            let clock_s = self.units.of(device).clock_s;
            let sent_s = (self.now_ms / SECOND_MS).saturating_add_signed(clock_s);
            let answer = self.server.report(&self.cast, device, (said, sent_s), self.now_ms)?;
            if answer == Answer::Later {
                break;
            }
            let unit = self.units.of_mut(device);
            unit.outbox.remove(0);
            if self.server.disk.has_heard(device, said.id) {
                unit.acknowledged |= disk::bit(said.id);
            }
        }
        Ok(())
    }

    /// Plans something.
    pub(super) fn happens(&mut self, device: u32, at: u64, what: Happens) {
        self.events += 1;
        let epoch = self.units.of(device).epoch;
        let event = (at, self.events, device, epoch, what);
        self.queue.entry(at.next_multiple_of(SECOND_MS)).or_default().push(event);
    }
}

/// Returns what a device is told to do.
fn task(told: &Told) -> Option<Task> {
    let offer = told.decision.offer.as_ref()?;
    Some(Task {
        rollout: cast::rollout_number(&offer.rollout.id),
        image: cast::image_of(&offer.release.version),
        soak_s: offer.soak_s,
    })
}
