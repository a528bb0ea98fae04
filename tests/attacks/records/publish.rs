//! Row 49: a rollout that is bypassed, publications that race, a publication cut in half.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use reqwest::blocking::{Body, Client};
use reqwest::{Certificate, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use waxwing_e2e::ceremony::{CHANNEL, Ceremony, Destination, PRODUCT, Release, Repository};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::process::run;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::{PILOT_COUNT, PILOTS, World};

use crate::support::author::hex;
use crate::support::real::{client_of, identity, mentions, poll, world};

/// Kills the server when half of a body has been sent.
struct Cut {
    body: io::Cursor<Vec<u8>>,
    victim: Option<Pid>,
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let half = self.body.get_ref().len() / 2;
        let sent = usize::try_from(self.body.position()).unwrap();
        if sent < half {
            let count = buffer.len().min(half - sent);
            return self.body.read(&mut buffer[..count]);
        }
        if let Some(victim) = self.victim.take() {
            kill_process(victim, Signal::KILL)?;
        }
        self.body.read(buffer)
    }
}

fn admin(server: &Server) -> Client {
    let ca = Certificate::from_pem(&fs::read(server.ca()).unwrap()).unwrap();
    Client::builder().tls_certs_only([ca]).build().unwrap()
}

/// Everything the server shows to a device of the Image repository, followed from the timestamp: each
/// file is of the version and the hash that the one before says.
fn consistent(world: &World, device: &Client) -> Vec<(String, Vec<u8>)> {
    let base = format!("{}/tuf/image/{PRODUCT}/metadata", world.server.url(Listener::Device));
    let file = |name: &str| {
        let answer = device.get(format!("{base}/{name}")).send().unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        answer.bytes().unwrap().to_vec()
    };
    let mut files = vec![("timestamp.json".to_owned(), file("timestamp.json"))];
    let mut next = 0;
    while let Some((name, bytes)) = files.get(next).cloned() {
        next += 1;
        let parsed: Json = serde_json::from_slice(&bytes).unwrap();
        for (role, meta) in parsed["signed"]["meta"].as_object().into_iter().flatten() {
            let listed = format!("{}.{role}", meta["version"]);
            let bytes = file(&listed);
            let parsed: Json = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(parsed["signed"]["version"], meta["version"], "{listed} in {name}");
            if let Some(sha256) = meta["hashes"]["sha256"].as_str() {
                assert_eq!(hex(&Sha256::digest(&bytes)), sha256, "{listed} in {name}");
            }
            files.push((listed, bytes));
        }
    }
    files
}

/// Packs a publication as the tool does.
fn bundle(metadata: &Path) -> Vec<u8> {
    let mut bundle = b"TB1\n".to_vec();
    for entry in fs::read_dir(metadata).unwrap() {
        let entry = entry.unwrap();
        let (name, bytes) =
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        bundle.extend([b'i', u8::try_from(name.len()).unwrap()]);
        bundle.extend(name.as_bytes());
        bundle.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        bundle.extend(bytes);
    }
    bundle.extend([0; 5]);
    bundle
}

fn list(ceremony: &Ceremony, world: &World, version: &'static str) -> PathBuf {
    let image = world.make_image(version, Behaviour::Work).unwrap();
    let release = Release { channel: CHANNEL, version, security_version: 1, image: &image };
    ceremony.list(&release).unwrap();
    image
}

#[test]
fn row_49_a_publication_cut_at_any_point_leaves_the_old_one_whole() {
    let (_folder, mut world) = world();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    world.publish("1.0.0", 1, &factory).unwrap();
    let fleet = world.enrol(1, &factory).unwrap();
    let device = client_of(&world.server, &identity(&fleet, "th1-0001"));
    let before = consistent(&world, &device);
    let token = fs::read_to_string(world.server.token()).unwrap();
    let api = format!("{}/api/v1/products/{PRODUCT}", world.server.url(Listener::Admin));

    let image = fs::read(list(&world.ceremony, &world, "1.1.0")).unwrap();
    world.ceremony.publish_here("publisher").unwrap();
    let bundle = bundle(&world.ceremony.metadata(Repository::Image));
    let image_url = format!("{api}/images/{}", hex(&Sha256::digest(&image)));
    let cuts = [
        (Method::PUT, &image_url, image.clone()),
        (Method::POST, &format!("{api}/metadata"), bundle),
    ];
    for (method, url, body) in cuts {
        let victim = Pid::from_raw(i32::try_from(world.server.process_id().unwrap()).unwrap());
        let length = u64::try_from(body.len()).unwrap();
        let body = Body::sized(Cut { body: io::Cursor::new(body), victim }, length);
        let request = admin(&world.server).request(method, url).bearer_auth(token.trim());
        assert!(request.body(body).send().is_err(), "the server is gone");
        world.server.kill().unwrap();
        world.server.restart().unwrap();
        let device = client_of(&world.server, &identity(&fleet, "th1-0001"));
        assert_eq!(consistent(&world, &device), before, "after {url}");
    }
    // The image is there, and the server dies before the metadata comes.
    let stored = admin(&world.server).put(&image_url).bearer_auth(token.trim()).body(image).send();
    assert!(stored.unwrap().status().is_success());
    world.server.kill().unwrap();
    world.server.restart().unwrap();
    let device = client_of(&world.server, &identity(&fleet, "th1-0001"));
    assert_eq!(consistent(&world, &device), before);
    // The same publication, begun again, arrives whole.
    world.upload(|to| world.ceremony.publish(to)).unwrap();
    let device = client_of(&world.server, &identity(&fleet, "th1-0001"));
    let after = consistent(&world, &device);
    assert!(after.iter().any(|(_, bytes)| mentions(bytes, "/1.1.0/")));
}

#[test]
fn row_49_of_publications_that_race_one_wins_whole_and_no_other_is_mixed_in() {
    let (folder, world) = world();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    world.publish("1.0.0", 1, &factory).unwrap();
    let fleet = world.enrol(1, &factory).unwrap();
    // Every publisher has all keys and takes the next version for their own.
    let versions = ["2.0.1", "2.0.2", "2.0.3", "2.0.4"];
    let publishers = versions.map(|version| {
        let own = world.ceremony.steal(&folder.path().join(version)).unwrap();
        list(&own, &world, version);
        own
    });
    let url = world.server.url(Listener::Admin);
    let (ca, token) = (world.server.ca(), world.server.token());
    let outcomes: Vec<bool> = thread::scope(|scope| {
        let publish = |ceremony| {
            let to = Destination { url: &url, ca: &ca, token: &token };
            scope.spawn(move || Ceremony::publish(ceremony, &to).is_ok())
        };
        let running: Vec<_> = publishers.iter().map(publish).collect();
        running.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
    let device = client_of(&world.server, &identity(&fleet, "th1-0001"));
    let files = consistent(&world, &device);
    for (version, won) in versions.iter().zip(outcomes) {
        let shown = files.iter().any(|(_, bytes)| mentions(bytes, &format!("/{version}/")));
        assert_eq!(shown, won, "{version}");
    }
}

/// Polls after which a device has an offer: the server writes what begins once a second.
const POLLS_MAX: u32 = 10_000;

#[test]
fn row_49_nobody_gets_a_release_around_its_rollout() {
    let (_folder, world) = world();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    let image = world.make_image("1.1.0", Behaviour::Work).unwrap();
    world.publish("1.1.0", 1, &image).unwrap();
    let fleet = world.enrol(PILOT_COUNT + 1, &factory).unwrap();
    let [pilot, outsider] =
        ["th1-0001", "th1-0003"].map(|device| client_of(&world.server, &identity(&fleet, device)));
    drop(fleet);
    let url = format!("{}/v1/poll", world.server.url(Listener::Device));
    let is_offered = |client: &Client, body: &Json| {
        let answer = client.post(&url).body(body.to_string()).send().unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        mentions(&answer.bytes().unwrap(), "/1.1.0/")
    };
    let ask = |what: &str| {
        let create = ["rollout", what, "r-1"];
        run(&mut world.operator.command(&create).unwrap(), b"").unwrap();
    };
    let create = [
        "rollout",
        "create",
        "--id",
        "r-1",
        "--product",
        PRODUCT,
        "--channel",
        CHANNEL,
        "--release",
        "1.1.0",
        "--group",
        PILOTS,
    ];
    world.operator.ask(&create).unwrap();
    assert!(!is_offered(&pilot, &poll()), "a draft offers nothing");
    ask("start");
    // A place is written down before the device is told of it, so it asks again.
    let soon = (0..POLLS_MAX).any(|_| is_offered(&pilot, &poll()));
    assert!(soon, "a pilot is offered the release");
    // Whatever somebody outside of the group says about itself.
    let mut lies = vec![poll(), poll(), poll()];
    lies[1]["have"] = serde_json::json!({"d.root": 1, "d.targets": 9_007_199_254_740_991_u64});
    lies[2]["fw"] = "0.0.1".into();
    for lie in &lies {
        assert!(!is_offered(&outsider, lie), "{lie}");
    }
    ask("pause");
    assert!(!is_offered(&pilot, &poll()), "a pause takes the offer back");
    ask("resume");
    assert!(is_offered(&pilot, &poll()));
    ask("cancel");
    assert!(!is_offered(&pilot, &poll()), "so does the end");
}
