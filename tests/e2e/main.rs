//! End-to-end tests: real programs, real sockets.

mod commands;
mod dashboards;
mod deferral;
mod existing;
mod external_broker;
mod fleet;
mod gateway;
mod provisioning;
mod server_ca;
mod sinks;
mod traffic;

use std::process::Command;

/// The demo with images of our own: every row of its table is a promise of the README.
#[test]
fn the_demo_keeps_every_promise() {
    let demo = Command::new(env!("CARGO_BIN_EXE_waxwing-demo"))
        .env_remove("WAXWING_IMAGES")
        .args(["--devices", "8"])
        .output()
        .expect("the demo starts");
    let table = String::from_utf8_lossy(&demo.stdout);
    let log = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{table}\n{log}");
    assert!(!table.contains("BROKEN"), "{table}");
}
