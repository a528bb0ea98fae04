//! Which devices may carry for others.

use serde_json::json;

use crate::requests::sends;
use crate::world::World;

#[test]
fn a_gateway_is_let_carry_for_a_device_and_no_more() {
    let grant = ["device", "gateway", "d1", "--through", "g1"];
    sends(&grant, "PUT /devices/d1/gateways/g1", &json!({}));
    let remove = [&grant[..], &["--remove"]].concat();
    sends(&remove, "DELETE /devices/d1/gateways/g1", &json!(null));
    let run = World::logged_in().run(&grant[..3]);
    assert_eq!(run.code, 2, "{run:?}");
}
