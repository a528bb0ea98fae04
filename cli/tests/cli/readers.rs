//! What devices may read of others.

use serde_json::json;

use crate::requests::sends;
use crate::world::World;

#[test]
fn a_device_is_let_read_another_one_and_no_more() {
    let line = "PUT /devices/d1/readers/d2";
    let grant = ["device", "grant", "d1", "--to", "d2"];
    let kinds = ["--kind", "telemetry", "--kind", "state"];
    let body = json!({ "kinds": ["telemetry", "state"] });
    sends(&[&grant[..], &kinds].concat(), line, &body);
    let line = "DELETE /devices/d1/readers/d2";
    sends(&[&grant[..], &["--remove"]].concat(), line, &json!(null));
    let run = World::logged_in().run(&grant);
    assert_eq!(run.code, 2, "{run:?}");
}
