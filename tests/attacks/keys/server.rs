//! A real server that has lost its key, and a real device that goes on believing it.

use std::fs;

use waxwing_e2e::process::run;
use waxwing_e2e::program::Program;

use crate::compromise::stage::{DEVICE, Stage};

/// The passphrase of every key of a stage.
const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

#[test]
fn row_50_a_server_that_lost_its_key_goes_on_with_the_standby_and_no_device_notices() {
    let mut stage = Stage::set().unwrap();
    let mut fleet = stage.device().unwrap();
    stage.update(&mut fleet, DEVICE, "1.1.0", 2).unwrap();
    stage.world.server.kill().unwrap();
    let secret = stage.world.server.secrets().join("director.key");
    fs::remove_file(&secret).unwrap();
    assert!(stage.world.server.restart().is_err(), "it makes no new key behind our backs");
    let keys = stage.folder().join("ceremony/keys");
    let mut expose = Program::Keys.command().unwrap();
    expose.args(["key", "expose"]).arg(keys.join("standby.key")).arg("-o").arg(&secret);
    run(expose.args(["--passphrase-fd", "0"]), PASSPHRASE).unwrap();
    stage.world.server.restart().unwrap();
    let shown = stage.world.operator.ask(&["director", "key"]).unwrap();
    let standby = fs::read(keys.join("standby.pub.json")).unwrap();
    let standby: serde_json::Value = serde_json::from_slice(&standby).unwrap();
    assert_eq!(shown["fingerprint"], standby["fingerprint"]);
    // No ceremony, no new root: the next poll is believed, and so is the next release.
    stage.update(&mut fleet, DEVICE, "1.2.0", 2).unwrap();
}
