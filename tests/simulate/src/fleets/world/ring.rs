//! The round of polls, in which every device has its second.
//!
//! A million devices that poll four times an hour are ten million polls for each virtual hour, nearly all
//! of them without effect. Those are left out: of devices whose last poll had no effect although there was
//! room, or that are healthy in the newest rollout, until anything changes, and of the others while there
//! is no room. Again and again one of those is
//! polled all the same, and must have no effect.
//!
//! Not here: what a device does with an answer, see [`super::steps`].

use std::mem;

use waxwing_wire::report::State as Step;

use super::{SECOND_MS, World};
use crate::fleets::auditor::Violation;
use crate::fleets::device::Life;

/// How often devices poll, in seconds.
pub(super) const POLL_S: u32 = 15 * 60;
/// How often a poll that would be left out is tried, in virtual milliseconds.
const SAMPLE_MS: u64 = 10_000;

impl World<'_> {
    /// It polls in its second from now on.
    pub(super) fn join(&mut self, device: u32) {
        let unit = self.units.of_mut(device);
        unit.life = Life::Idle;
        if mem::replace(&mut unit.is_in_ring, true) {
            return;
        }
        // Neighbours by number are no neighbours in time.
        let second = device.wrapping_mul(2_654_435_761) % POLL_S;
        self.ring.of_mut(second).push(device);
    }

    /// Those poll whose second it is, as long as there is room.
    pub(super) fn go_round(&mut self) -> Result<(), Violation> {
        if !self.server.is_up() {
            return Ok(());
        }
        let room = self.server.room();
        if room == 0 {
            return Ok(());
        }
        let second = u32::try_from(self.now_ms / SECOND_MS % u64::from(POLL_S)).unwrap_or(0);
        let mut waiting = mem::take(self.ring.of_mut(second));
        let first = self.rng.usize(0..waiting.len().max(1));
        let behind = waiting.split_off(first.min(waiting.len()));
        let mut waiting = behind.into_iter().chain(waiting);
        let mut wishes = 0;
        let mut stay = Vec::new();
        for device in waiting.by_ref() {
            let hour = self.cast.hour_at(device, self.now_ms);
            if self.units.of(device).life != Life::Idle {
                self.units.of_mut(device).is_in_ring = false;
                continue;
            }
            if self.units.of(device).is_on_line(hour) {
                self.ask(device)?;
                wishes += u64::from(self.units.of(device).life == Life::Asking);
            }
            // There was room for it too: it does not want any.
            let has_room = self.server.room() > 0;
            let has_arrived = self.has_arrived(device);
            let unit = self.units.of_mut(device);
            let settles = has_arrived || (has_room && !unit.nature.waits_for_a_time());
            if unit.life == Life::Idle && settles && unit.is_on_line(hour) {
                unit.life = Life::Settled;
            } else if unit.life == Life::Idle {
                stay.push(device);
            }
            unit.is_in_ring = unit.life == Life::Idle;
            if wishes >= room {
                break;
            }
        }
        stay.extend(waiting);
        self.ring.of_mut(second).extend(stay);
        Ok(())
    }

    /// Tells whether a device is healthy in the newest rollout, and none of higher priority overrules that: room
    /// elsewhere is none of its business.
    fn has_arrived(&self, device: u32) -> bool {
        let disk = &self.server.disk;
        let newest = disk.rollouts.len().checked_sub(1);
        let deployment = newest.and_then(|newest| disk.deployment(newest, device));
        let decides = |number| {
            let decides = self.server.deciding();
            decides.is_none_or(|it| it.plan.priority <= disk.rollouts.of(number).plan.priority)
        };
        deployment.is_some_and(|it| it.state == Step::Healthy) && newest.is_some_and(decides)
    }

    /// One of those whose polls are left out polls, and nothing may come of it. Returns who it was.
    pub(super) fn sample(&mut self) -> Result<Option<u32>, Violation> {
        if !self.now_ms.is_multiple_of(SAMPLE_MS) {
            return Ok(None);
        }
        let device = self.rng.u32(0..self.cast.devices());
        let hour = self.cast.hour_at(device, self.now_ms);
        let unit = self.units.of(device);
        let is_left_out =
            unit.life == Life::Settled || (unit.life == Life::Idle && self.server.room() == 0);
        if !is_left_out || !unit.is_on_line(hour) || !self.server.is_up() {
            return Ok(None);
        }
        self.sampled += 1;
        let (life, running) = (unit.life, self.cast.running(unit.image));
        let (told, known) =
            self.server.poll(&self.cast, device, (running, unit.known), self.now_ms)?;
        self.units.of_mut(device).known = known;
        if told.soon || told.decision.offer.is_some() {
            let words =
                format!("a poll of d-{device} ({life:?}) would have been left out: {told:?}");
            return Err(Violation(words));
        }
        Ok(Some(device).filter(|_| life == Life::Settled))
    }

    pub(super) fn hear_news(&mut self, sample: Option<u32>) -> Result<(), Violation> {
        let news = mem::take(&mut self.server.news);
        if let Some(device) = sample.filter(|device| news.devices.contains(device)) {
            let words = format!("a poll of d-{device} had an effect that would have been left out");
            return Err(Violation(words));
        }
        for device in news.devices {
            self.unsettle(device);
        }
        if news.moved {
            (0..self.cast.devices()).for_each(|device| self.unsettle(device));
        }
        Ok(())
    }

    /// Its next poll may have an effect.
    pub(super) fn unsettle(&mut self, device: u32) {
        if self.units.of(device).life == Life::Settled {
            self.join(device);
        }
    }
}
