//! What holds for any input at all.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;
use waxwing_tuf::json::Value;
use waxwing_tuf::role::{Root, Snapshot, Timestamp};
use waxwing_tuf::{Time, verify};

use crate::documents::{documents, mutant};
use crate::support::{Author, NOW, Server, key_id, key_json, role_json};

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    #[test]
    fn any_broken_document_is_read_or_refused(bytes in mutant()) {
        read_everything(&bytes);
    }

    #[test]
    fn canonical_form_is_its_own_canonical_form(bytes in documents()) {
        let Ok(value) = Value::parse(&bytes) else { return Ok(()) };
        let once = canonical(value);
        // Control characters stand raw in canonical form, which makes it unreadable as JSON.
        if once.iter().all(|byte| *byte >= 0x20) {
            let again = Value::parse(&once).unwrap();
            prop_assert_eq!(&canonical(again), &once);
            prop_assert!(again.same_as(value));
        }
    }

    #[test]
    fn any_text_is_a_time_or_refused(text in "\\PC{0,25}") {
        if let Some(time) = Time::parse(&text) {
            prop_assert_eq!(time.to_string(), text);
        }
    }

}

/// A case of the next property is a dozen whole refreshes.
fn few() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases / 8, ..default }
}

proptest! {
    #![proptest_config(few())]

    /// The heart of it: a server without keys mixes releases, drops, swaps and breaks files. The
    /// device only ever sees targets that were published, and never an older one than before.
    #[test]
    fn whatever_is_served_only_published_targets_are_found_and_none_goes_back(
        script in proptest::collection::vec(step(), 1..12)
    ) {
        let releases = &*RELEASES;
        let mut client = releases.first.client();
        let (mut timestamp, mut seen) = (0, 0);
        for step in script {
            let mut server = step.serve(&releases.served);
            let found = client.refresh(&mut server, NOW).and_then(|()| client.target("x", &mut server, NOW));
            let now_trusted = client.timestamp().map_or(0, |timestamp| timestamp.header.version);
            prop_assert!(now_trusted >= timestamp);
            timestamp = now_trusted;
            if let Ok(target) = found {
                let release = target.custom().unwrap().field("release").and_then(Value::as_u64).unwrap();
                prop_assert!(release >= seen, "release {} after {}", release, seen);
                prop_assert_eq!(target.length, release);
                seen = release;
            }
            // What is kept can always be opened again, and an honest server heals everything.
            client = releases.first.reopen(client);
        }
        let mut honest = Server { files: releases.served.last().unwrap().clone(), ..Server::default() };
        client.refresh(&mut honest, NOW).unwrap();
        prop_assert_eq!(client.target("x", &mut honest, NOW).unwrap().length, 4);
    }
}

fn canonical(value: Value<'_>) -> Vec<u8> {
    let mut form = Vec::new();
    value.canonical(&mut |piece| form.extend_from_slice(piece));
    form
}

/// Feeds bytes to everything that reads foreign bytes.
fn read_everything(bytes: &[u8]) {
    let signers = waxwing_tuf::role::Signers::new(1, vec![(key_id(1), crate::support::public(1))]);
    assert!(verify::verify_trusted_root(bytes, None).is_err());
    assert!(verify::verify::<Root>(bytes, &signers, None).is_err());
    assert!(verify::verify::<Snapshot>(bytes, &signers, None).is_err());
    assert!(verify::verify::<Timestamp>(bytes, &signers, None).is_err());
    assert!(verify::verify_targets(bytes.to_vec(), &signers, None).is_err());
    assert!(verify::verify_command(bytes, &signers, "d-1", NOW, 0).is_err());
}

/// Four releases of one target, and all files as they were after each.
struct Releases {
    first: Author,
    served: Vec<BTreeMap<String, Vec<u8>>>,
}

static RELEASES: LazyLock<Releases> = LazyLock::new(|| {
    let mut author = Author::new();
    author.delegate("targets", "team", &["*"], 8);
    let mut served = Vec::new();
    let mut first = None;
    for release in 1..=4_u64 {
        let length = usize::try_from(release).unwrap();
        let target = Author::target(&[0].repeat(length), &json!({"release": release}));
        author.roles.get_mut("team").unwrap()["targets"] = json!({"x": target});
        if release == 3 {
            author.root.bump();
            author.root["keys"][key_id(16)] = key_json(16);
            author.root["roles"]["targets"] = role_json(1, &[16]);
            author.targets.keys = vec![16];
        }
        author.release();
        served.push(author.served.files.clone());
        first.get_or_insert_with(|| author.clone());
    }
    Releases { first: first.unwrap(), served }
});

/// One answer of a hostile server: everything from one release, one file treated specially.
#[derive(Clone, Debug)]
struct Step {
    release: usize,
    file: prop::sample::Index,
    treatment: Treatment,
}

#[derive(Clone, Debug)]
enum Treatment {
    Drop,
    Flip(prop::sample::Index, u8),
    Honest,
    Swap(prop::sample::Index),
    Timestamp(usize),
    Truncate(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let treatment = prop_oneof![
        Just(Treatment::Drop),
        (index(), 0..8_u8).prop_map(|(at, bit)| Treatment::Flip(at, bit)),
        Just(Treatment::Honest),
        index().prop_map(Treatment::Swap),
        (0..4_usize).prop_map(Treatment::Timestamp),
        index().prop_map(Treatment::Truncate),
    ];
    (0..4_usize, index(), treatment).prop_map(|(release, file, treatment)| Step {
        release,
        file,
        treatment,
    })
}

impl Step {
    fn serve(&self, releases: &[BTreeMap<String, Vec<u8>>]) -> Server {
        let mut files = releases[self.release].clone();
        let names: Vec<String> = files.keys().cloned().collect();
        let name = self.file.get(&names);
        match &self.treatment {
            Treatment::Drop => drop(files.remove(name)),
            Treatment::Flip(at, bit) => {
                let bytes = files.get_mut(name).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Treatment::Honest => {}
            Treatment::Swap(other) => {
                let other = files[other.get(&names)].clone();
                files.insert(name.clone(), other);
            }
            Treatment::Timestamp(release) => {
                files.insert("timestamp.json".into(), releases[*release]["timestamp.json"].clone());
            }
            Treatment::Truncate(at) => {
                let bytes = files.get_mut(name).unwrap();
                bytes.truncate(at.index(bytes.len()));
            }
        }
        Server { files, ..Server::default() }
    }
}
