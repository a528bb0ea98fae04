//! Row 48: reports that are replayed, forged, stale, or somebody else's.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::Client;
use serde_json::json;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::{EVERYBODY, World};
use waxwing_tuf::author::{Ed25519Signer, SecretKey, Signer};

use crate::support::author::hex;
use crate::support::real::{client_of, identity, mentions, poll, world};

const VICTIM: &str = "th1-0001";
const ATTACKER: &str = "th1-0002";
const ROLLOUT: &str = "r-1";

/// A report before it is sealed.
#[derive(Clone)]
struct Report<'a> {
    device: &'a str,
    id: &'a str,
    state: &'a str,
    at: u64,
}

impl Report<'_> {
    fn sealed(&self, signer: &dyn Signer) -> String {
        let Self { device, id, state, at } = self;
        let payload = json!({
            "rollout": ROLLOUT, "release": "1.1.0", "state": state, "code": 0,
            "fw_sha256": "02".repeat(32), "attempt": 1, "measured_at": at,
        });
        let message = format!("waxwing-msg-v1\nup\nreport\n{device}\n{at}\n{id}\n{payload}");
        let signature = hex(&signer.sign(message.as_bytes()).unwrap());
        format!(
            "{{\"device_id\":\"{device}\",\"timestamp\":{at},\"message_id\":\"{id}\",\
             \"payload\":{payload},\"signature\":\"{signature}\"}}"
        )
    }
}

/// Reads the key out of a device's identity.
fn key(identity: &Path) -> SecretKey {
    let pem = fs::read_to_string(identity).unwrap();
    let (_, key) = pem.split_once("-----BEGIN PRIVATE KEY-----").unwrap();
    let (key, _) = key.split_once("-----END").unwrap();
    let der = STANDARD.decode(key.split_whitespace().collect::<String>()).unwrap();
    SecretKey::from_pkcs8_der(&der).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the server compares with the real time")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Sends reports with a poll; returns whether this message was settled.
fn settled(world: &World, client: &Client, report: &str, id: &str) -> bool {
    let url = format!("{}/v1/poll", world.server.url(Listener::Device));
    // Byte for byte, as it was signed.
    let body = poll().to_string().replace("[]", &format!("[{report}]"));
    let answer = client.post(url).body(body).send().unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    mentions(&answer.bytes().unwrap(), id)
}

/// How many reports had this outcome since the server started.
fn count(world: &World, outcome: &str) -> u64 {
    let metrics = format!("{}/metrics", world.server.url(Listener::Ops));
    let text = reqwest::blocking::get(metrics).unwrap().text().unwrap();
    let line = format!("waxwing_messages_total{{kind=\"report\",outcome=\"{outcome}\"}} ");
    text.lines().find_map(|it| it.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// The state of a device's part in the rollout.
fn state(world: &World, device: &str) -> String {
    let all = world.operator.ask(&["rollout", "deployments", ROLLOUT]).unwrap();
    let its = all.as_array().unwrap().iter().find(|it| it["device"] == device);
    its.map_or_else(String::new, |it| it["state"].as_str().unwrap().to_owned())
}

#[test]
fn row_48_reports_that_are_forged_replayed_stale_or_of_another_device_have_no_effect() {
    let (_folder, mut world) = world();
    let factory = world.make_image("1.0.0", Behaviour::Work).unwrap();
    let image = world.make_image("1.1.0", Behaviour::Work).unwrap();
    world.publish("1.1.0", 1, &image).unwrap();
    let fleet = world.enrol(2, &factory).unwrap();
    let [ours, theirs] = [ATTACKER, VICTIM].map(|device| {
        let copy = identity(&fleet, device).with_extension("stolen");
        fs::copy(identity(&fleet, device), &copy).unwrap();
        copy
    });
    // The devices are silent from now on: whatever is heard comes from us.
    drop(fleet);
    world.start_rollout(ROLLOUT, "1.1.0", EVERYBODY, "100").unwrap();
    let (client, key) = (client_of(&world.server, &ours), key(&ours));
    let victim = client_of(&world.server, &theirs);
    let stranger = Ed25519Signer::from_seed(&[9; 32]).unwrap();

    let report = |device, id, state, at| Report { device, id, state, at };
    let cases = [
        (report(VICTIM, "m-other", "failed", now_s()).sealed(&key), "refused_wrong_sender"),
        (report(ATTACKER, "m-forged", "verified", now_s()).sealed(&stranger), "refused_signature"),
        (
            report(ATTACKER, "m-edited", "verified", now_s())
                .sealed(&key)
                .replace("\"verified\"", "\"healthy\""),
            "refused_signature",
        ),
        (report(ATTACKER, "m-old", "verified", now_s() - 3600).sealed(&key), "refused_stale"),
        (report(ATTACKER, "m-early", "verified", now_s() + 3600).sealed(&key), "refused_stale"),
        ("{}".to_owned(), "refused_malformed"),
    ];
    for (sealed, outcome) in cases {
        let before = count(&world, outcome);
        settled(&world, &client, &sealed, "m-");
        assert_eq!(count(&world, outcome), before + 1, "{outcome}: {sealed}");
    }
    // Another device's key under the victim's name, over the victim's own connection.
    let stolen = report(VICTIM, "m-stolen", "failed", now_s()).sealed(&key);
    settled(&world, &victim, &stolen, "m-stolen");
    assert_ne!(state(&world, VICTIM), "failed");

    let genuine = report(ATTACKER, "m-1", "downloading", now_s()).sealed(&key);
    assert!(settled(&world, &client, &genuine, "m-1"));
    assert_eq!(state(&world, ATTACKER), "downloading");
    for restarted in [false, true] {
        if restarted {
            world.server.stop().unwrap();
            world.server.restart().unwrap();
        }
        settled(&world, &client, &genuine, "m-1");
        assert_eq!(
            count(&world, "duplicate"),
            1,
            "the same again is acknowledged, and nothing more"
        );
        let reused = report(ATTACKER, "m-1", "verified", now_s()).sealed(&key);
        settled(&world, &client, &reused, "m-1");
        assert_eq!(count(&world, "refused_replay"), 1);
        assert_eq!(state(&world, ATTACKER), "downloading");
    }
    let recount = world.recount(ROLLOUT).unwrap();
    assert_eq!((&recount["equal"], &recount["reports"]), (&json!(true), &json!(1)), "{recount}");
}
