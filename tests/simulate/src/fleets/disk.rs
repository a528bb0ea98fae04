//! What is durable, in virtual time: the tables of the store, with its rules. A transaction is whole or
//! absent, and what is committed survives a crash.
//!
//! A disk can be made to lie, to see that the simulation notices. Not here: decisions.

use std::collections::VecDeque;
use std::mem;

use waxwing_server::domain::effect::{Effect, Moved, NewDeployment};
use waxwing_server::domain::rollout::State;
use waxwing_server::domain::{Deployment, Device, Rollout};
use waxwing_server::fleet::Records;
use waxwing_server::store::devices::Stored;

use super::cast::{self, Cast, Each};

/// Whether the disk can be trusted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Honesty {
    /// What it says is durable is.
    #[default]
    Honest,
    /// It forgets at a crash what it was told in the last minute.
    ForgetsTheLastMinute,
    /// It says that it wrote a halt, and did not.
    ForgetsHalts,
    /// It says that it wrote what becomes of devices, and does so a moment later: as if devices were told
    /// before it is written.
    WritesLater,
}

/// How much later such a disk writes, in virtual milliseconds.
const LATE_MS: u64 = 10_000;

/// How long a disk that lies keeps things in memory, in virtual milliseconds.
const UNSYNCED_MS: u64 = 60_000;

/// The tables.
#[derive(Debug)]
pub(super) struct Disk {
    honesty: Honesty,
    devices: Each<Row>,
    pub(super) rollouts: Each<Rollout>,
    /// By rollout and device.
    deployments: Each<Each<Option<Deployment>>>,
    /// When the server last said that it was alive.
    pub(super) alive_at: u64,
    /// What was there before, of what is not really durable yet.
    unsynced: Vec<(u64, Before)>,
    /// What is yet to be written, and when.
    late: VecDeque<(u64, NewDeployment)>,
}

/// What changes of a device.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    image: Option<u8>,
    changed_at: u64,
    /// The ids of messages that were taken in, a bit each.
    messages: u64,
}

#[derive(Debug)]
enum Before {
    Deployment(u32, u32, Option<Deployment>),
    Message(u32, u64),
    Rollout(Box<Rollout>),
}

impl Disk {
    pub(super) fn new(devices: u32, honesty: Honesty) -> Self {
        Self {
            honesty,
            devices: Each::new(devices, |_| Row::default()),
            rollouts: Each::new(0, |_| unreachable!("there is none")),
            deployments: Each::new(0, |_| unreachable!("there is none")),
            alive_at: 0,
            unsynced: Vec::new(),
            late: VecDeque::new(),
        }
    }

    /// Writes what should have been written by a time.
    pub(super) fn catch_up(&mut self, now_ms: u64) {
        while let Some((_, late)) = self.late.pop_front_if(|(at, _)| *at <= now_ms) {
            self.put_deployment(&late, now_ms);
        }
    }

    /// Writes all of an effect, with the id of the message that it follows from.
    pub(super) fn write(&mut self, effect: &Effect<'_>, message: Option<(u32, u8)>, now_ms: u64) {
        self.unsynced.retain(|(at, _)| at + UNSYNCED_MS > now_ms);
        for (device, sighting) in effect.sightings {
            let image = cast::image_of(&sighting.running.version);
            self.devices.of_mut(cast::number(device)).image = Some(image);
        }
        for device in &effect.devices {
            self.devices.of_mut(cast::number(&device.id)).changed_at = device.changed_at;
        }
        for deployment in &effect.deployments {
            if self.honesty == Honesty::WritesLater {
                self.late.push_back((now_ms + LATE_MS, deployment.clone()));
            } else {
                self.put_deployment(deployment, now_ms);
            }
        }
        for Moved { rollout, .. } in &effect.moved {
            self.put_rollout(rollout.clone(), now_ms);
        }
        if let Some((device, id)) = message {
            let row = self.devices.of_mut(device);
            let before = row.messages;
            row.messages |= bit(id);
            self.remember(now_ms, || Before::Message(device, before));
        }
    }

    fn put_deployment(&mut self, (rollout, device, it): &NewDeployment, now_ms: u64) {
        let (rollout, device) = (cast::rollout_number(rollout), cast::number(device));
        let before = self.deployments.of_mut(rollout).of_mut(device).replace(*it);
        self.remember(now_ms, || Before::Deployment(rollout, device, before));
    }

    /// Adds or replaces a rollout.
    pub(super) fn put_rollout(&mut self, rollout: Rollout, now_ms: u64) {
        if self.honesty == Honesty::ForgetsHalts && rollout.state == State::Halted {
            return;
        }
        let number = cast::rollout_number(&rollout.id);
        if number == self.rollouts.len() {
            self.rollouts.push(rollout);
            self.deployments.push(Each::new(self.devices.len(), |_| None));
            return;
        }
        let before = mem::replace(self.rollouts.of_mut(number), rollout);
        self.remember(now_ms, || Before::Rollout(Box::new(before)));
    }

    /// The power fails.
    pub(super) fn crash(&mut self) {
        for (_, before) in mem::take(&mut self.unsynced).into_iter().rev() {
            match before {
                Before::Deployment(rollout, device, deployment) => {
                    *self.deployments.of_mut(rollout).of_mut(device) = deployment;
                }
                Before::Message(device, messages) => {
                    self.devices.of_mut(device).messages = messages;
                }
                Before::Rollout(rollout) => {
                    let number = cast::rollout_number(&rollout.id);
                    *self.rollouts.of_mut(number) = *rollout;
                }
            }
        }
    }

    /// Returns everything but the devices, as a server that starts reads it.
    pub(super) fn records(&self) -> Records {
        Records {
            rollouts: self.rollouts.iter().map(|(_, rollout)| rollout.clone()).collect(),
            alive_at: self.alive_at,
            ..Cast::records()
        }
    }

    /// Returns the devices with their part in the rollouts, as a server that starts reads them.
    pub(super) fn members<'a>(&'a self, cast: &'a Cast) -> impl Iterator<Item = Stored> + 'a {
        let versions = cast::shared_versions();
        let names: Vec<_> = (0..self.deployments.len()).map(cast::rollout_id).collect();
        self.devices.iter().map(move |(number, row)| {
            let device = Device {
                version: row.image.map(|image| versions.of(image.into()).clone()),
                changed_at: row.changed_at,
                ..cast.device(number)
            };
            let parts = self.deployments.iter().zip(&names);
            let parts =
                parts.filter_map(|((_, all), name)| Some((name.clone(), (*all.of(number))?)));
            (device, parts.collect())
        })
    }

    pub(super) fn deployment(&self, rollout: u32, device: u32) -> Option<Deployment> {
        *self.deployments.of(rollout).of(device)
    }

    /// Returns the deployments of a rollout.
    pub(super) fn deployments_in(&self, rollout: u32) -> impl Iterator<Item = (u32, Deployment)> {
        let rows = self.deployments.of(rollout).iter();
        rows.filter_map(|(device, row)| Some((device, (*row)?)))
    }

    /// Returns the rollouts in which a device is in flight.
    pub(super) fn in_flight(&self, device: u32) -> impl Iterator<Item = (u32, Deployment)> {
        let all = self.deployments.iter();
        let rows = all.filter_map(move |(rollout, rows)| Some((rollout, (*rows.of(device))?)));
        rows.filter(|(_, deployment)| deployment.is_in_flight())
    }

    pub(super) fn has_heard(&self, device: u32, id: u8) -> bool {
        self.devices.of(device).messages & bit(id) != 0
    }

    /// Tells whether all these messages of a device were taken in.
    pub(super) fn has_heard_all(&self, device: u32, messages: u64) -> bool {
        messages & !self.devices.of(device).messages == 0
    }

    fn remember(&mut self, now_ms: u64, before: impl FnOnce() -> Before) {
        if self.honesty == Honesty::ForgetsTheLastMinute {
            self.unsynced.push((now_ms, before()));
        }
    }
}

/// Returns the bit of a message id.
pub(super) fn bit(id: u8) -> u64 {
    1 << id.min(63)
}
