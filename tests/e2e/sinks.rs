//! What devices say reaches other systems: real sensors over MQTT, the real server, real systems behind it.

pub(crate) mod backend;
mod broker;
pub(crate) mod influx;
pub(crate) mod sensor;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use reqwest::Certificate;
use reqwest::blocking::Client;
use serde_json::Value;
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::process::run;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;
use waxwing_tuf::json;
use waxwing_tuf::key::PublicKey;

use self::backend::{Backend, Reply};
use self::broker::Broker;
use self::influx::Influx;
use self::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

/// How often the operator asks for what must come.
const QUESTIONS_MAX: usize = 1000;

fn readings(count: usize) -> Vec<String> {
    (0..count).map(|n| format!(r#"{{"celsius":{n}.5,"humidity":65,"door":"open"}}"#)).collect()
}

#[test]
fn document_001_telemetry_over_mutual_tls_is_in_influxdb_also_when_both_died_in_between()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut influx = Influx::create(&folder.path().join("influx"))?;
    ensure!(influx.ask_as_nobody()? == 401, "InfluxDB asks who it is");
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &influx.section()?)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;

    sensor.say(&world.server, 0, &readings(100))?;
    influx.count_reaches("SELECT count(celsius) FROM telemetry", 100)?;
    let texts = "SELECT count(door) FROM telemetry_text WHERE device = 'sensor_001' AND product = 'acme-th1'";
    ensure!(influx.count_reaches(texts, 100)? == 100);

    // The sink is away; then the server dies with all of it undelivered, and comes back first.
    influx.kill()?;
    sensor.say(&world.server, 100, &readings(400))?;
    world.server.kill()?;
    world.server.restart()?;
    sensor.say(&world.server, 500, &readings(10))?;
    influx.start()?;
    let count = influx.count_reaches("SELECT count(celsius) FROM telemetry", 510)?;
    ensure!(count == 510, "a point that is written twice is one: {count}");
    Ok(())
}

#[test]
fn document_003_the_answer_of_the_back_end_comes_back_to_the_device_signed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backend = Backend::create(&folder.path().join("backend"))?;
    let section = backend.section()?;
    let world = World::create_with(&folder.path().join("world"), PLAN, &section)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    sensor.listen(&world.server)?;
    let payload = r#"{"temperature": 22.50, "humidity": 65}"#.to_owned();
    let sealed = sensor.say(&world.server, 7, &[payload])?;

    let request = backend.next()?;
    ensure!(request.path == "/device/sensor_001/data", "{request:?}");
    ensure!(request.header("authorization") == format!("Bearer {}", backend::TOKEN));
    ensure!(request.header("idempotency-key") == "sensor_001/m-7", "{request:?}");
    ensure!(request.header("waxwing-product") == "acme-th1", "{request:?}");
    ensure!(!request.is_marked() && sealed.contains(&request.body), "byte for byte: {request:?}");

    let answered = sensor.next(&world.server)?;
    let answer: Value = serde_json::from_str(&answered)?;
    let signed = &answer.pointer("/signed").context("it is signed")?;
    let field = |name: &str| signed.pointer(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(field("/_type") == "command" && field("/device") == "sensor_001", "{answer}");
    ensure!(
        field("/command/name") == "answer" && field("/command/message_id") == "m-7",
        "{answer}"
    );
    ensure!(field("/command/body") == r#"{"next_s":30,"status":"ok"}"#, "{answer}");
    let key = world.operator.ask(&["director", "key"])?;
    let key = key.pointer("/key").context("the key of the Director")?.to_string();
    let key = PublicKey::from_tuf_json(json::Value::parse(key.as_bytes())?)?;
    let bytes = json::Value::parse(answered.as_bytes())?;
    let bytes = bytes.field("signed").context("it is signed")?.as_raw().as_bytes();
    let signature = answer.pointer("/signatures/0/sig").and_then(Value::as_str).unwrap_or_default();
    let signature = unhex(signature).context("a signature in hexadecimal")?;
    ensure!(key.verify(&[bytes], &signature).is_ok(), "{answer}");
    Ok(())
}

#[test]
fn document_003_nothing_is_lost_while_the_back_end_is_away_and_the_server_is_killed() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let mut backend = Backend::create(&folder.path().join("backend"))?;
    let section = backend.section()?;
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &section)?;
    let sensors = ["sensor_001", "sensor_002"];
    let sensors = sensors.map(|name| Sensor::enrol(&world, folder.path(), name));
    let [one, other] = sensors;
    let (one, other) = (one?, other?);

    // It got this, and nobody will know: the server is killed before the answer.
    backend.reply(Reply::Hang);
    one.say(&world.server, 0, &readings(1))?;
    let first = backend.next()?.header("idempotency-key").to_owned();
    world.server.kill()?;
    backend.close();
    world.server.restart()?;
    one.say(&world.server, 1, &readings(99))?;
    other.say(&world.server, 0, &readings(100))?;
    world.server.kill()?;
    world.server.restart()?;
    other.say(&world.server, 100, &readings(1))?;
    backend.reply(Reply::Take);
    backend.open()?;

    let mut seen = BTreeMap::from([(first, 1)]);
    while seen.len() < 201 || seen.values().sum::<usize>() < 202 {
        let request = backend.next()?;
        let key = request.header("idempotency-key").to_owned();
        let times = seen.entry(key.clone()).or_default();
        ensure!(request.is_marked() || *times == 0, "{key} comes again without a mark");
        *times += 1;
    }
    ensure!(seen.get("sensor_001/m-0") == Some(&2), "what hung came twice: {seen:?}");
    Ok(())
}

#[test]
fn a_message_that_the_back_end_refuses_is_kept_and_sent_again_when_somebody_asks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backend = Backend::create(&folder.path().join("backend"))?;
    let section = backend.section()?;
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &section)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    backend.reply(Reply::Refuse);
    sensor.say(&world.server, 0, &readings(1))?;
    backend.next()?;
    let dead_letters = |world: &World, wanted: u64| -> Result<()> {
        for _ in 0..QUESTIONS_MAX {
            let sinks = world.operator.ask(&["sink", "list"])?;
            if sinks.pointer("/0/dead_letters").and_then(Value::as_u64) == Some(wanted) {
                return Ok(());
            }
        }
        anyhow::bail!("there are not {wanted} dead letters")
    };
    dead_letters(&world, 1)?;
    world.server.kill()?;
    world.server.restart()?;
    let dead = world.operator.ask(&["sink", "dead", "backend"])?;
    let field = |name: &str| dead.pointer(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(field("/0/message_id") == "m-0" && field("/0/reason") == "http_422: no such unit");
    let audited = |action: &str| -> Result<bool> {
        Ok(world.operator.ask(&["audit"])?.to_string().contains(action))
    };
    ensure!(!audited("dead_letters_replayed")?);
    backend.reply(Reply::Take);
    world.operator.ask(&["sink", "replay", "backend"])?;
    ensure!(backend.next()?.is_marked());
    dead_letters(&world, 0)?;
    ensure!(audited("dead_letters_replayed")?);
    Ok(())
}

#[test]
fn another_broker_gets_every_message_also_when_both_were_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::create(&folder.path().join("broker"))?;
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &broker.section()?)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    broker.subscribe()?;
    let sealed = sensor.say(&world.server, 0, &readings(3))?;
    let messages = broker.messages(3)?;
    for (message, sealed) in messages.iter().zip(sealed.lines()) {
        let [topic, properties, payload] = parts(message)?;
        ensure!(
            topic == "site-7/waxwing/v1/sensor_001/telemetry" && payload == sealed,
            "{message}"
        );
        ensure!(properties.contains("waxwing-product:acme-th1"), "{message}");
        ensure!(!properties.contains("waxwing-redelivered"), "{message}");
    }
    broker.stop()?;
    sensor.say(&world.server, 3, &readings(50))?;
    world.server.kill()?;
    world.server.restart()?;
    broker.start()?;
    let messages = broker.messages(50)?;
    let payloads = messages.iter().map(|message| Ok(parts(message)?[2]));
    let payloads = payloads.collect::<Result<BTreeSet<_>>>()?;
    ensure!(payloads.len() == 50, "{messages:?}");
    let is_marked = |message: &&String| message.contains("waxwing-redelivered:true");
    ensure!(
        messages.iter().any(|it| is_marked(&it)),
        "some may have been sent before: {messages:?}"
    );
    Ok(())
}

#[test]
fn document_002_a_message_of_the_log_is_proof_for_who_does_not_believe_the_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = World::create_with(&folder.path().join("world"), PLAN, "")?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    let payload = r#"{"celsius": 21.50,  "kwh":7}"#.to_owned();
    let sealed = sensor.say(&world.server, 0, std::slice::from_ref(&payload))?;
    let messages = ask(&world, "devices/sensor_001/messages")?;
    let field = |name: &str| messages.pointer(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(sealed.contains(field("/items/0/envelope")), "as it was sent: {messages}");
    let path = format!("devices/sensor_001/certificates/{}", field("/items/0/signed_by"));
    let certificate = ask(&world, &path)?;
    let der = certificate.pointer("/der").and_then(Value::as_str).context("a certificate")?;
    let is_proven = |payload: &str| proof(folder.path(), field("/items/0/envelope"), der, payload);
    ensure!(is_proven(&payload)?);
    ensure!(!is_proven(&payload.replace('7', "8"))?, "nobody else could have said it");
    Ok(())
}

#[test]
fn document_001_the_token_of_a_sink_is_a_secret_file_and_in_no_log_answer_or_database() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let backend = Backend::create(&folder.path().join("backend"))?;
    let section = backend.section()?;
    let mut world = World::create_with(&folder.path().join("world"), PLAN, &section)?;
    let sensor = Sensor::enrol(&world, folder.path(), "sensor_001")?;
    backend.reply(Reply::Refuse);
    sensor.say(&world.server, 0, &readings(1))?;
    ensure!(backend.next()?.header("authorization").ends_with(backend::TOKEN), "it is used");
    let said = world.operator.ask(&["sink", "list"])?.to_string();
    ensure!(!said.contains(backend::TOKEN), "{said}");
    world.server.stop()?;
    let logs = fs::read_to_string(folder.path().join("world/server/logs/server.log"))?;
    ensure!(logs.contains("listening") && !logs.contains(backend::TOKEN));
    for database in ["waxwing.db", "messages.db"] {
        let bytes = fs::read(world.server.data().join(database))?;
        let token = backend::TOKEN.as_bytes();
        ensure!(!bytes.windows(token.len()).any(|some| some == token), "{database}");
    }
    let token = folder.path().join("backend/token");
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let refused = world.server.restart().expect_err("others can read it").to_string();
    ensure!(refused.contains("token"), "{refused}");
    Ok(())
}

/// Tells whether openssl finds that the key of a certificate signed a payload, with the head of an envelope.
fn proof(folder: &Path, envelope: &str, der: &str, payload: &str) -> Result<bool> {
    let envelope: Value = serde_json::from_str(envelope)?;
    let field = |name: &str| envelope.get(name).context("a field of the envelope");
    let text = |name: &str| field(name).map(|it| it.as_str().unwrap_or_default().to_owned());
    let head = format!(
        "waxwing-msg-v1\nup\ntelemetry\n{}\n{}\n{}\n",
        text("device_id")?,
        field("timestamp")?,
        text("message_id")?
    );
    let der = base64::engine::general_purpose::STANDARD.decode(der)?;
    let key = ["x509", "-inform", "DER", "-pubkey", "-noout"];
    let key = run(Command::new("openssl").args(key), &der)?;
    let [key_file, signature_file] = ["key.pem", "signature"].map(|name| folder.join(name));
    fs::write(&key_file, key)?;
    fs::write(&signature_file, unhex(&text("signature")?).context("hexadecimal")?)?;
    let mut openssl = Command::new("openssl");
    openssl
        .args(["dgst", "-sha256", "-verify"])
        .arg(key_file)
        .arg("-signature")
        .arg(signature_file);
    Ok(run(&mut openssl, (head + payload).as_bytes()).is_ok())
}

/// Asks the REST API.
fn ask(world: &World, path: &str) -> Result<Value> {
    let ca = Certificate::from_pem(&fs::read(world.server.ca())?)?;
    let client = Client::builder().tls_certs_only([ca]).build()?;
    let url = format!("{}/api/v1/{path}", world.server.url(Listener::Admin));
    let token = fs::read_to_string(world.server.token())?;
    let answer = client.get(url).bearer_auth(token.trim()).send()?.error_for_status()?;
    Ok(serde_json::from_str(&answer.text()?)?)
}

fn parts(message: &str) -> Result<[&str; 3]> {
    let mut parts = message.splitn(3, '|');
    let mut next = || parts.next().context("three parts");
    Ok([next()?, next()?, next()?])
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
