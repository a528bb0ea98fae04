//! What devices say reaches other systems: real sensors over MQTT, the real server, real systems behind it.

mod influx;
mod sensor;

use anyhow::{Result, ensure};
use waxwing_e2e::ceremony::Plan;
use waxwing_e2e::world::World;

use self::influx::Influx;
use self::sensor::Sensor;

/// Ceremonies are not what is tested here.
const PLAN: Plan =
    Plan { foreign_images: false, dev_channel: false, project: None, worthless_keys: true };

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
