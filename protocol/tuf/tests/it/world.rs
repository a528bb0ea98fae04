//! Two repositories, one device and the Director's clock.

use serde_json::{Value as Json, json};
use waxwing_tuf::uptane::{Answer, Client, Device, Install};
use waxwing_tuf::{Cause, MemoryStore, Refusal, Store, Time, Verified};

use crate::support::{Author, NOW};

pub(crate) const NONCE: [u8; 16] = [0xab; 16];
pub(crate) const PATH: &str = "acme-th1/stable/1.4.2/esp32c3.bin";
/// Build time of the firmware.
pub(crate) const FLOOR: Time = Time::from_seconds(1_790_000_000);

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

pub(crate) fn attributes() -> Json {
    json!({
        "chip": "esp32c3", "hw": ["r1", "r2"], "kind": "app",
        "secure_version": 2, "security_version": 3, "version": "1.4.2"
    })
}

/// Both repositories, one device, and the Director's clock.
pub(crate) struct World {
    pub(crate) director: Author,
    pub(crate) image: Author,
    pub(crate) now: Time,
}

impl World {
    /// A stable release, and a Director that wants it installed.
    pub(crate) fn new() -> Self {
        let mut image = Author::named("image/acme-th1");
        let role = image.delegate("targets", "acme-th1-stable", &["acme-th1/stable/*/*"], 8);
        role["targets"][PATH] = Author::target(b"image", &json!({"match": attributes()}));
        image.publish();
        let mut director = Author::named("director");
        director.targets["custom"] = json!({"device": "d-1"});
        let custom = json!({"match": attributes(), "deploy": "r-7", "device": "d-1", "soak_s": 60});
        director.targets["targets"][PATH] = Author::target(b"image", &custom);
        Self { director, image, now: NOW }
    }

    pub(crate) fn client(&self) -> Client<MemoryStore> {
        self.reopen((MemoryStore::new(), MemoryStore::new()))
    }

    pub(crate) fn reopen<S: Store>(&self, (director, image): (S, S)) -> Client<S> {
        let root = |author: &Author| author.served.files["1.root.json"].clone();
        Client::open(device(), (director, &root(&self.director)), (image, &root(&self.image)))
            .unwrap()
    }

    /// Signs the Director's answer to a poll a minute later.
    pub(crate) fn answer(&mut self) {
        self.now = Time::from_millis(self.now.as_millis() + 60_000);
        let nonce = "ab".repeat(16);
        self.director.timestamp["version"] = self.now.as_millis().into();
        self.director.timestamp["custom"] =
            json!({"device": "d-1", "nonce": nonce, "time": self.now.to_string()});
        self.director.publish();
    }

    /// Makes a new decision, to be signed in the next answer.
    pub(crate) fn decide(&mut self) {
        self.director.targets.bump();
        self.director.snapshot.bump();
    }

    pub(crate) fn poll<S: Store>(&mut self, client: &mut Client<S>) -> Result<Answer, Refusal> {
        self.answer();
        self.deliver(client)
    }

    /// Delivers what was signed last.
    pub(crate) fn deliver<S: Store>(&mut self, client: &mut Client<S>) -> Result<Answer, Refusal> {
        client.check(&NONCE, FLOOR, &mut self.director.served, &mut self.image.served)
    }
}

#[track_caller]
pub(crate) fn installs(answer: Result<Answer, Refusal>) -> Verified<Install> {
    match answer {
        Ok(Answer::Install(install)) => install,
        other => panic!("must install, not {other:?}"),
    }
}

/// Lets a device in the world as `change` left it poll once, and expects it to refuse.
#[track_caller]
pub(crate) fn refused(change: impl FnOnce(&mut World), subject: &str, cause: Cause) {
    let mut world = World::new();
    world.answer();
    change(&mut world);
    let mut client = world.client();
    assert_eq!(world.deliver(&mut client), Err(cause.of(subject)));
}

/// Changes the attributes in both repositories alike.
#[track_caller]
pub(crate) fn refused_by_the_device(field: &str, value: &Json, cause: Cause) {
    let change = |world: &mut World| {
        world.director.targets["targets"][PATH]["custom"]["match"][field] = value.clone();
        let role = world.image.roles.get_mut("acme-th1-stable").unwrap();
        role["targets"][PATH]["custom"]["match"][field] = value.clone();
        world.director.publish();
        world.image.publish();
    };
    refused(change, &format!("director/{PATH}"), cause);
}
