//! The device of document 003, as its description has it: Python's `json.dumps` and `hmac`, a shared secret, its own
//! topic. And the four attacks of that document.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::get;
use serde_json::{Value, json};
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::process::run;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;

use crate::sinks::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

/// The secret of the document's first device.
const SECRET: &str = "supersecretkey123";

/// How the document signs a message.
const SIGN: &str = "import hashlib, hmac, json, sys\n\
    message = json.load(sys.stdin)\n\
    text = json.dumps(message, sort_keys=True)\n\
    message['signature'] = hmac.new(sys.argv[1].encode(), text.encode(), hashlib.sha256).hexdigest()\n\
    print(json.dumps(message))\n";

#[test]
fn document_003_the_device_of_the_document_is_understood_and_its_four_attacks_are_refused()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = World::create_with(&folder.path().join("world"), PLAN, "")?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET)?;
    let file = secret.to_str().context("a path in UTF-8")?;
    world.operator.ask(&["device", "secret", "sensor_001", "--file", file])?;
    let says = |message: &str| sensor.publish_on(&world.server, "device/sensor_001/data", message);

    says(&signed("sensor_001", now()?, "fixed-id-12345", 22.5)?)?;
    check(&world, "applied")?;
    let tampered = signed("sensor_001", now()?, "id-2", 22.5)?.replace("22.5", "99.9");
    let attacks = [
        ("refused_signature", tampered),
        ("refused_replay", signed("sensor_001", now()?, "fixed-id-12345", 23.5)?),
        ("refused_stale", signed("sensor_001", now()? - 600, "id-3", 22.5)?),
        ("refused_wrong_sender", signed("sensor_999", now()?, "id-4", 22.5)?),
    ];
    for (outcome, message) in attacks {
        // The client may or may not say that it was refused.
        let _ = says(&message);
        check(&world, outcome)?;
    }
    check(&world, "applied")
}

/// Makes a message as the document's simulator does.
fn signed(device: &str, timestamp: u64, id: &str, celsius: f64) -> Result<String> {
    let payload = json!({"temperature": celsius, "humidity": 60});
    let message: Value =
        json!({"device_id": device, "timestamp": timestamp, "message_id": id, "payload": payload});
    let mut python = Command::new("python3");
    Ok(run(python.args(["-c", SIGN, SECRET]), message.to_string().as_bytes())?.trim().to_owned())
}

/// Checks that so far one message of this outcome was counted.
#[track_caller]
fn check(world: &World, outcome: &str) -> Result<()> {
    let text = get(format!("{}/metrics", world.server.url(Listener::Ops)))?.text()?;
    let line = format!("waxwing_messages_total{{kind=\"telemetry\",outcome=\"{outcome}\"}} 1");
    ensure!(text.lines().any(|other| other == line), "{line} in {text}");
    Ok(())
}

fn now() -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "the server judges it by the real time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(now.as_secs())
}
