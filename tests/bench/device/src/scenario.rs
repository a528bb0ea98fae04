//! A device's life in answers: first contact, nothing new, a new release, a restart.
//!
//! A scenario is a list of bundles, each behind its length: first the roots that the firmware was
//! built with, then what a server answers to the polls. Bundles lie in the buffer of whoever received
//! them, and trusted files in flash; neither is counted as heap.

use alloc::string::String;
use alloc::vec::Vec;

use waxwing_tuf::uptane::{Answer, Client, Device};
use waxwing_tuf::{Delivered, Refusal, Store, StoreError, Time};
use waxwing_wire::bundle::{Bundle, Kind};

use crate::machine::{Cost, measure, print};
use crate::number;

/// Files that fit the flash of one repository.
const FILES_MAX: usize = 8;
/// Longest of them in bytes.
const FILE_BYTES_MAX: usize = 16 * 1024;
/// The nonce of the first poll; each further poll counts it up.
const FIRST_NONCE: u8 = 1;

/// Runs a scenario to its end; false if an answer was refused.
pub(crate) fn run(scenario: &[u8]) -> bool {
    live(scenario).inspect_err(|error| explain(error)).is_ok()
}

enum Failure {
    Answer(&'static str),
    Refused(Refusal),
    Scenario,
}

fn live(mut scenario: &[u8]) -> Result<(), Failure> {
    let factory = next(&mut scenario)?;
    let roots = [Kind::Director, Kind::Image].map(|kind| factory.find(kind, "1.root.json"));
    let [Some(director), Some(image)] = roots else { return Err(Failure::Scenario) };
    let open = |(flash, other)| Client::open(device(), (flash, director), (other, image));
    let first = next(&mut scenario)?;
    let flash = (Flash::new(), Flash::new());
    let (done, cost) = measure(|| {
        let mut client = open(flash)?;
        let answer = poll(&mut client, FIRST_NONCE, &first)?;
        Ok((client, answer))
    });
    report("first-contact", &cost);
    let (mut client, answer) = done.map_err(Failure::Refused)?;
    expect(matches!(answer, Answer::Install(_)), "first contact installs nothing")?;
    let mut nonce = FIRST_NONCE;
    let mut step = |client: &mut Client<Flash>, name, bundle: &Bundle<'_>| {
        nonce += 1;
        let (answer, cost) = measure(|| poll(client, nonce, bundle));
        report(name, &cost);
        answer.map_err(Failure::Refused)
    };
    let answer = step(&mut client, "idle-poll", &next(&mut scenario)?)?;
    expect(answer == Answer::Idle, "an idle poll is not idle")?;
    let answer = step(&mut client, "new-release", &next(&mut scenario)?)?;
    expect(matches!(answer, Answer::Install(_)), "a new release installs nothing")?;
    let flash = client.into_stores();
    let (client, cost) = measure(|| open(flash));
    report("restart", &cost);
    let answer =
        step(&mut client.map_err(Failure::Refused)?, "poll-after-restart", &next(&mut scenario)?)?;
    expect(matches!(answer, Answer::Install(_)), "a restart forgets the release")
}

fn poll(client: &mut Client<Flash>, nonce: u8, bundle: &Bundle<'_>) -> Result<Answer, Refusal> {
    let files = |kind| Delivered(move |name: &str| bundle.find(kind, name));
    let (mut director, mut image) = (files(Kind::Director), files(Kind::Image));
    client.check(&[nonce; 16], Time::default(), &mut director, &mut image)
}

/// The device for which `waxwing-bench` signs.
fn device() -> Device {
    Device {
        id: "th1-000001".into(),
        product: "acme-th1".into(),
        channels: Vec::from(["stable".into()]),
        hardware: "r2".into(),
        chip: "esp32c3".into(),
        slot_bytes: 2_031_616,
        security_version: 1,
        secure_versions: 0..=16,
    }
}

fn next<'s>(scenario: &mut &'s [u8]) -> Result<Bundle<'s>, Failure> {
    let (length, rest) = scenario.split_first_chunk().ok_or(Failure::Scenario)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (bundle, rest) = rest.split_at_checked(length).ok_or(Failure::Scenario)?;
    *scenario = rest;
    Bundle::parse(bundle).map_err(|_| Failure::Scenario)
}

fn expect(so: bool, otherwise: &'static str) -> Result<(), Failure> {
    if so { Ok(()) } else { Err(Failure::Answer(otherwise)) }
}

fn report(name: &str, cost: &Cost) {
    let numbers = [
        ("instructions", cost.instructions),
        ("heap", cost.heap),
        ("kept", cost.kept),
        ("stack", cost.stack),
    ];
    for (what, value) in numbers {
        print(name);
        print(".");
        number(what, value);
    }
}

fn explain(failure: &Failure) {
    print("failed: ");
    match failure {
        Failure::Answer(what) => print(what),
        // The cause would be told by a table of names that no device needs for its work.
        Failure::Refused(refusal) => print(&refusal.subject),
        Failure::Scenario => print("not a scenario"),
    }
    print("\n");
}

/// Flash: room that is there from the beginning and never grows.
struct Flash(Vec<(String, Vec<u8>)>);

impl Flash {
    fn new() -> Self {
        let file = || (String::with_capacity(FILE_BYTES_MAX), Vec::with_capacity(FILE_BYTES_MAX));
        Self((0..FILES_MAX).map(|_| file()).collect())
    }
}

impl Store for Flash {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let file = self.0.iter().find(|(other, _)| other == name);
        Ok(file.map(|(_, bytes)| bytes.as_slice().to_vec()))
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        // No scenario removes a file, so the free places come last.
        let is_place = |(other, _): &&mut (String, Vec<u8>)| other == name || other.is_empty();
        let place = self.0.iter_mut().find(is_place).ok_or(StoreError)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(StoreError);
        }
        place.0.clear();
        place.0.push_str(name);
        place.1.clear();
        place.1.extend_from_slice(bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        for (other, _) in self.0.iter_mut().filter(|(other, _)| other == name) {
            other.clear();
        }
        Ok(())
    }
}
