//! A fleet around which everything goes wrong that the simulator knows.
#![expect(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use waxwing_e2e::ceremony::{CHANNEL, PRODUCT, Plan};
use waxwing_e2e::fleet::{Batch, Event, Fleet};
use waxwing_e2e::image::{self, Behaviour, Recipe};
use waxwing_e2e::world::{EVERYBODY, World};

const DEVICES: usize = 50;
/// Every profile, and two devices in fifty without trouble.
const PROFILES: &str = "bad-sector=12,clock=14,crash=14,latency=14,loss=14,power-cuts=14,slow=14";

#[test]
fn whatever_goes_wrong_around_a_device_it_updates_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let world = World::create_as(folder.path(), plan).unwrap();
    let image = |version| {
        let path: PathBuf = folder.path().join(version);
        let recipe = Recipe { version, behaviour: Behaviour::Work, code_bytes: 60_000 };
        fs::write(&path, image::make(recipe).unwrap()).unwrap();
        path
    };
    let names: Vec<_> = (1..=DEVICES).map(|number| format!("th1-{number:04}")).collect();
    let batch = Batch { names: &names, profile: Some(PROFILES), ..Batch::default() };
    let tokens = world.register_all(&names).unwrap();
    let mut fleet = world.start_with(&batch, &tokens, &image("1.0.0")).unwrap();
    world.publish("1.1.0", 1, &image("1.1.0")).unwrap();
    start_patient_rollout(&world);
    until_all_have_ended(&mut fleet);

    let summary = fleet.switch_off().unwrap();
    for (profile, states, errors) in [
        ("bad-sector", &["failed"][..], &["flash_reread"][..]),
        ("clean", &["healthy"], &[]),
        ("clock", &["healthy"], &[]),
        ("crash", &["rolled_back"], &["boot_reset"]),
        ("latency", &["healthy"], &[]),
        ("loss", &["healthy"], &[]),
        ("power-cuts", &["healthy", "rolled_back"], &["boot_reset"]),
        ("slow", &["healthy"], &[]),
    ] {
        let of_profile = &summary["profiles"][profile];
        let devices = of_profile["devices"].as_u64().unwrap();
        assert!(devices > 0, "{profile}: {summary}");
        check_keys(&of_profile["states"], states, profile, &summary);
        check_keys(&of_profile["errors"], errors, profile, &summary);
        let faults = of_profile["faults"].as_u64().unwrap();
        // Something goes wrong around most of them, more than once around many.
        let is_as_promised = if profile == "clean" { faults == 0 } else { faults * 2 >= devices };
        assert!(is_as_promised, "{profile}: {summary}");
    }
    let healthy = &summary["profiles"]["power-cuts"]["states"]["healthy"];
    assert!(healthy.as_u64() > Some(0), "{summary}");
}

/// A rollout that nothing halts.
fn start_patient_rollout(world: &World) {
    let create = ["rollout", "create", "--id", "r-1", "--product", PRODUCT, "--channel", CHANNEL];
    let what = ["--release", "1.1.0", "--group", EVERYBODY, "--soak", "1s"];
    let gate = ["--healthy-percent", "1", "--failed-percent", "100"];
    world.operator.ask(&[&create[..], &what, &gate].concat()).unwrap();
    world.operator.ask(&["rollout", "start", "r-1"]).unwrap();
}

/// Waits until the server has stored how the update of each device ended.
fn until_all_have_ended(fleet: &mut Fleet) {
    let mut ended = BTreeSet::new();
    let ends = ["failed", "healthy", "rolled_back"];
    while ended.len() < DEVICES {
        let is_end = |event: &Event| ends.iter().any(|end| event.is_acknowledged("r-1", end));
        ended.insert(fleet.wait_for(is_end).unwrap().text("device").to_owned());
    }
}

#[track_caller]
fn check_keys(counts: &Value, allowed: &[&str], profile: &str, summary: &Value) {
    let counts = counts.as_object().unwrap_or_else(|| panic!("{profile}: {summary}"));
    assert!(counts.keys().all(|key| allowed.contains(&&**key)), "{profile}: {summary}");
}
