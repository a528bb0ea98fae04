//! Two repositories, one device, and the Director's clock.

use serde_json::{Value as Json, json};
use waxwing_tuf::uptane::{Answer, Client, Device, Install};
use waxwing_tuf::{Cause, MemoryStore, Refusal, Store, Time, Verified};

use super::author::{Author, hex, target};

/// When the stories begin: 2026-11-20.
pub(crate) const NOW: Time = Time::from_seconds(1_795_167_000);
/// Build time of the device's firmware.
pub(crate) const BUILT_AT: Time = Time::from_seconds(1_790_000_000);
/// The nonce of every poll of which a test says nothing else.
pub(crate) const NONCE: [u8; 16] = [0xab; 16];
/// The release that is offered.
pub(crate) const PATH: &str = "acme-th1/stable/1.4.2/esp32c3.bin";
/// The role that lists it.
pub(crate) const STABLE: &str = "acme-th1-stable";
/// Its image.
pub(crate) const IMAGE: &[u8] = b"image";

pub(crate) fn device() -> Device {
    Device {
        id: "d-1".into(),
        product: "acme-th1".into(),
        channels: vec!["stable".into()],
        hardware: "r1".into(),
        chip: "esp32c3".into(),
        slot_bytes: 1_048_576,
        security_version: 3,
        secure_versions: 1..=16,
    }
}

/// What both repositories say of the release.
pub(crate) fn attributes() -> Json {
    json!({
        "chip": "esp32c3", "hw": ["r1", "r2"], "kind": "app", "secure_version": 2,
        "security_version": 3, "version": "1.4.2",
    })
}

/// Both repositories and the Director's clock.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) director: Author,
    pub(crate) image: Author,
    pub(crate) now: Time,
}

impl World {
    /// A stable release, and a Director that wants it installed.
    pub(crate) fn new() -> Self {
        let mut image = Author::new("image/acme-th1");
        let stable = image.delegate("targets", STABLE, &["acme-th1/stable/*/*"], 8);
        stable["targets"][PATH] = target(IMAGE, &json!({"match": attributes()}));
        image.publish();
        let mut director = Author::new("director");
        director.targets["custom"] = json!({"device": "d-1"});
        director.publish();
        let mut world = Self { director, image, now: NOW };
        world.direct(PATH, &attributes());
        world
    }

    /// Lets the Director name this release for the device, and nothing else.
    pub(crate) fn direct(&mut self, path: &str, attributes: &Json) {
        let custom = json!({"match": attributes, "deploy": "r-7", "device": "d-1", "soak_s": 60});
        self.director.targets["targets"] = json!({ path: target(IMAGE, &custom) });
    }

    /// Returns one of the repositories.
    pub(crate) fn repository(&mut self, repo: &str) -> &mut Author {
        if repo == "director" { &mut self.director } else { &mut self.image }
    }

    /// Lets a device leave the factory.
    pub(crate) fn client(&self) -> Client<MemoryStore> {
        self.client_of(device())
    }

    pub(crate) fn client_of(&self, device: Device) -> Client<MemoryStore> {
        self.restart(device, (MemoryStore::new(), MemoryStore::new()))
    }

    /// Starts a device again with what it kept.
    pub(crate) fn restart<S: Store>(&self, device: Device, (director, image): (S, S)) -> Client<S> {
        let (roots, first) = ((&self.director.served, &self.image.served), "1.root.json");
        Client::open(device, (director, &roots.0[first]), (image, &roots.1[first])).unwrap()
    }

    /// Signs the Director's answer to a poll a minute later.
    pub(crate) fn answer(&mut self) {
        self.answer_to(&NONCE);
    }

    pub(crate) fn answer_to(&mut self, nonce: &[u8; 16]) {
        self.now = Time::from_millis(self.now.as_millis() + 60_000);
        self.director.timestamp["version"] = self.now.as_millis().into();
        self.director.timestamp["custom"] =
            json!({"device": "d-1", "nonce": hex(nonce), "time": self.now.to_string()});
        self.director.publish();
    }

    /// Makes a new decision, to be signed in the next answer.
    pub(crate) fn decide(&mut self) {
        self.director.targets.bump();
        self.director.snapshot.bump();
    }

    /// Lets a device ask and gives it the answer.
    pub(crate) fn poll<S: Store>(&mut self, client: &mut Client<S>) -> Result<Answer, Refusal> {
        self.answer();
        self.deliver(client)
    }

    /// Gives a device what was signed last.
    pub(crate) fn deliver<S: Store>(&mut self, client: &mut Client<S>) -> Result<Answer, Refusal> {
        client.check(&NONCE, BUILT_AT, &mut self.director.served, &mut self.image.served)
    }
}

#[track_caller]
pub(crate) fn installs(answer: Result<Answer, Refusal>) -> Verified<Install> {
    match answer {
        Ok(Answer::Install(install)) => install,
        other => panic!("must install, not {other:?}"),
    }
}

/// Gives a new device what the world holds after `change`, and expects a refusal. The same world
/// without the change installs.
#[track_caller]
pub(crate) fn refused(change: impl FnOnce(&mut World), subject: &str, cause: Cause) {
    let mut world = World::new();
    world.answer();
    let mut control = world.clone();
    installs(control.deliver(&mut control.client()));
    let mut client = world.client();
    change(&mut world);
    assert_eq!(world.deliver(&mut client), Err(cause.of(subject)));
}

/// As [`refused`], where several causes would do. `None` when it is not refused.
pub(crate) fn refused_by(change: impl FnOnce(&mut World)) -> Option<Cause> {
    let mut world = World::new();
    world.answer();
    let mut client = world.client();
    change(&mut world);
    world.deliver(&mut client).err().map(|refusal| refusal.cause)
}

/// As [`refused`], of a device that had accepted everything in version 2, and now comes version 3.
#[track_caller]
pub(crate) fn refused_later(change: impl FnOnce(&mut World), subject: &str, cause: Cause) {
    let mut world = World::new();
    world.decide();
    world.image.release();
    let mut client = world.client();
    installs(world.poll(&mut client));
    world.decide();
    world.image.release();
    world.answer();
    let mut control = world.clone();
    installs(control.deliver(&mut client.clone()));
    change(&mut world);
    assert_eq!(world.deliver(&mut client), Err(cause.of(subject)));
}
