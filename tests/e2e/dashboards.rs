//! The dashboards of the repository, on the real parts: a server with a fleet at work, Debian's Prometheus with
//! the configuration of the repository, and Debian's InfluxDB behind the real sink.
//!
//! Not here: Grafana. What it would ask for is read out of the files, with its variables filled in.

mod files;
mod prometheus;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use reqwest::Certificate;
use reqwest::blocking::Client;
use serde_json::Value;
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::process::run;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::{EVERYBODY, FACTORY_VERSION, World};

use self::files::{Query, Source};
use self::prometheus::Prometheus;
use crate::external_broker::mosquitto::Mosquitto;
use crate::sinks::backend::Backend;
use crate::sinks::influx::Influx;
use crate::sinks::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

/// How often everything that was not answered yet is asked again: a round takes ten milliseconds or more.
const ROUNDS_MAX: usize = 10_000;

/// Who reads InfluxDB for the dashboards: a user without any other right.
const READER: &str = "grafana";

/// What the dashboards show besides the fleet: a mail server and a webhook that are not there, so that messages
/// fail at once.
const MORE: &str = "[messages]\naggregates = [\"celsius\"]\n\
    [mail]\nserver = \"127.0.0.1\"\nport = 1\ntls = \"unsafe_loopback\"\n\
    from = \"waxwing@updates.example\"\nto = [\"ops@example.com\"]\n\
    [webhooks]\nallow_networks = [\"127.0.0.0/8\"]\n";

#[test]
fn every_query_of_every_dashboard_is_answered_and_no_series_names_a_device() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let influx = Influx::create(&folder.path().join("influx"))?;
    influx.add_reader(READER)?;
    let backend = Backend::create(&folder.path().join("backend"))?;
    let world = folder.path().join("world");
    let mut broker = Mosquitto::prepare(&folder.path().join("broker"), &world.join("server/data"))?;
    let more = [MORE, &broker.section(), &influx.section()?, &backend.section()?].concat();
    let world = World::create_with(&world, PLAN, &more)?;
    let ops = world.server.address(Listener::Ops);
    let prometheus = Prometheus::create(&folder.path().join("prometheus"), ops)?;
    let (fleet, names) = set_to_work(&world, &mut broker, folder.path())?;

    let queries = files::queries()?;
    let mut waiting: Vec<_> = queries.iter().collect();
    for _ in 0..ROUNDS_MAX {
        let answers = waiting.iter().map(|query| is_answered(query, &prometheus, &influx));
        let mut answers = answers.collect::<Result<Vec<_>>>()?.into_iter();
        waiting.retain(|_| !answers.next().unwrap_or(false));
        if waiting.is_empty() {
            break;
        }
    }
    ensure!(waiting.is_empty(), "no answer to {waiting:#?}");

    let known = prometheus.names()?;
    let asked = queries.iter().filter(|query| query.source == Source::Prometheus);
    let asked = asked.map(|query| query.text.clone()).chain(prometheus.rules()?);
    let unknown: BTreeSet<_> = asked.flat_map(|text| unknown(&text, &known)).collect();
    ensure!(unknown.is_empty(), "no such number: {unknown:?}");

    let series = prometheus.series()?;
    ensure!(series.contains("waxwing_rollout_state"), "{series}");
    let told = names.iter().filter(|name| series.contains(name.as_str()));
    ensure!(told.count() == 0, "a device is a label: {series}");
    drop(fleet);
    Ok(())
}

#[test]
fn a_query_about_a_number_that_is_not_there_is_found() {
    let known = BTreeSet::from(["waxwing_polls_total".to_owned()]);
    assert_eq!(unknown("sum(rate(waxwing_polls_total{outcome=\"idle\"}[1m]))", &known), [""; 0]);
    let text = "waxwing_polls_total / waxwing_pols_total or vector(0)";
    assert_eq!(unknown(text, &known), ["waxwing_pols_total"]);
}

#[test]
fn the_rules_for_prometheus_fire_when_they_should_and_not_before() -> Result<()> {
    let folder = files::folder().join("prometheus");
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules-test.yml"],
    ] {
        run(Command::new("promtool").current_dir(&folder).args(arguments), b"")?;
    }
    Ok(())
}

#[test]
fn dashboards_read_where_provisioning_says_and_hold_no_secrets() -> Result<()> {
    let folder = files::folder().join("grafana");
    let sources = fs::read_to_string(folder.join("provisioning/datasources/waxwing.yaml"))?;
    let mut names = BTreeSet::new();
    for (path, board) in files::boards()? {
        let text = board.to_string();
        for word in ["\"password\":", "\"token\":", "secure", "basicAuth", "://"] {
            ensure!(!text.contains(word), "{}: {word}", path.display());
        }
        let uid = board.pointer("/uid").and_then(Value::as_str).context("it has a uid")?;
        ensure!(names.insert(uid.to_owned()), "{uid} twice");
        let mut ids = BTreeSet::new();
        for panel in files::items(&board, "/panels") {
            let id = panel.pointer("/id").and_then(Value::as_u64);
            ensure!(ids.insert(id) && id.is_some(), "{}: {panel}", path.display());
        }
    }
    for source in [Source::Influxdb, Source::Prometheus] {
        ensure!(sources.contains(&format!("uid: {}\n", source.uid())), "{}", source.uid());
    }
    let secrets = sources.lines().filter(|line| line.trim_start().starts_with("password:"));
    ensure!(secrets.clone().count() == 1 && secrets.clone().all(|line| line.contains("$__file{")));
    Ok(())
}

/// Asks what a dashboard asks, where it asks, and tells whether there is anything in the answer.
fn is_answered(query: &Query, prometheus: &Prometheus, influx: &Influx) -> Result<bool> {
    let asked = match query.source {
        Source::Influxdb => {
            let answer = influx.ask_as(READER, &query.text)?;
            Ok(answer.pointer("/results/0/series/0/values/0").is_some())
        }
        Source::Prometheus => prometheus.has_answer(&query.text),
    };
    asked.with_context(|| format!("{query:?}"))
}

/// Returns the names of the server's numbers in an expression that are none.
fn unknown(expression: &str, known: &BTreeSet<String>) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("waxwing_") && !known.contains(*word));
    ours.map(str::to_owned).collect()
}

/// Has everything happen that dashboards show: an update that fails and halts, sensors that speak, one that
/// repeats itself and one behind a broker, strangers at two listeners, messages to others. Returns the fleet,
/// which goes on, and the names of all devices.
fn set_to_work(
    world: &World,
    broker: &mut Mosquitto,
    folder: &Path,
) -> Result<(Fleet, Vec<String>)> {
    let factory = world.make_image(FACTORY_VERSION, Behaviour::Work)?;
    let mut fleet = world.enrol(3, &factory)?;
    world.publish("1.1.0", 1, &world.make_image("1.1.0", Behaviour::FailSelfTest)?)?;
    world.start_rollout("r-1", "1.1.0", EVERYBODY, "100")?;
    fleet.wait_for(|event| event.is_acknowledged("r-1", "rolled_back"))?;
    ensure!(world.rollout_state("r-1")? == "halted");

    let sensor = Sensor::enrol(world, folder, "sensor_001")?;
    sensor.say(&world.server, 0, &[r#"{"celsius":21.5,"door":"open"}"#.to_owned()])?;
    // Another message under the same number is refused, and the client may say so.
    let _ = sensor.say(&world.server, 0, &[r#"{"celsius":99.5}"#.to_owned()]);

    broker.renew_crl(&sensor)?;
    broker.start()?;
    broker.says("Sending SUBACK to server:1")?;
    sensor.say_at(&broker.devices(), 1, &[r#"{"celsius":20.5}"#.to_owned()])?;

    let hook = world.operator.ask(&["webhook", "add", "https://127.0.0.1:1/"])?;
    let hook = hook.pointer("/id").and_then(Value::as_str).context("it has a name")?.to_owned();
    world.operator.ask(&["webhook", "test", &hook])?;
    world.operator.ask(&["mail", "test"])?;
    knock(world)?;
    let names = ["th1-0001", "th1-0002", "th1-0003", "sensor_001"].map(str::to_owned);
    Ok((fleet, names.to_vec()))
}

/// A stranger at the REST API, and one who does not speak TLS.
fn knock(world: &World) -> Result<()> {
    let ca = Certificate::from_pem(&fs::read(world.server.ca())?)?;
    let client = Client::builder().tls_certs_only([ca]).build()?;
    let url = format!("{}/api/v1/devices", world.server.url(Listener::Admin));
    ensure!(client.get(url).send()?.status().as_u16() == 401);
    let mut stream = TcpStream::connect(world.server.address(Listener::Device))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    // It is answered with an alert, or hung up on.
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}
