//! The CA of the server is replaced (D15), with real programs: the new one is signed in beside the old
//! one, every device takes it, the server changes over while it runs, the old one is signed out, and a
//! server that shows it is nobody any more.

use std::fs;

use anyhow::{Result, ensure};
use waxwing_e2e::fleet::Fleet;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::operator::Operator;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::World;

const DEVICES: usize = 2;
const NAMES: [&str; DEVICES] = ["th1-0001", "th1-0002"];
const PEM: &str = "server-ca.pem";

#[test]
fn the_servers_ca_is_replaced_without_losing_a_device_and_the_old_one_is_worth_nothing()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut world = World::create(&folder.path().join("world"), false)?;
    let factory = world.make_image("1.0.0", Behaviour::Work)?;
    world.publish("1.0.0", 1, &factory)?;
    let mut fleet = world.enrol(DEVICES, &factory)?;
    let file = folder.path().join("pins.pem");
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    Server::copy_server_ca(&world.server.secrets(), &old)?;
    Server::make_server_ca(&new)?;

    // Both: devices take them from the server they know.
    let (old_pem, new_pem) = (fs::read(old.join(PEM))?, fs::read(new.join(PEM))?);
    world.trust_server_ca(&file, &[old_pem, new_pem.clone()].concat())?;
    each(&mut fleet, "pinned", 1)?;

    // The server changes over while it runs; then nobody has a connection from before.
    Server::copy_server_ca(&new, &world.server.secrets())?;
    let said = world.server.reload()?;
    ensure!(said.contains("was read"), "{said}");
    world.server.kill()?;
    world.server.restart()?;

    // The new one alone: what would leave the server out is refused, this is not.
    world.trust_server_ca(&file, &new_pem)?;
    each(&mut fleet, "pinned", 1)?;
    let operator = Operator::log_in(&folder.path().join("operator"), &world.server)?;
    for name in NAMES {
        let device = operator.ask(&["device", "show", name])?;
        ensure!(device["pins"].is_string(), "the server knows what devices use: {device}");
    }

    // Whoever has the old CA is nobody: not this server, and no other with its keys.
    world.server.kill()?;
    Server::copy_server_ca(&old, &world.server.secrets())?;
    world.server.restart()?;
    is_nobody(&world, &mut fleet)?;
    world.server.kill()?;
    Server::copy_server_ca(&new, &world.server.secrets())?;
    world.server.restart()?;
    world.trust_server_ca(&file, &[new_pem.clone(), new_pem].concat())?;
    each(&mut fleet, "pinned", 1)
}

/// No device polls, however often it tries.
fn is_nobody(world: &World, fleet: &mut Fleet) -> Result<()> {
    fleet.running()?;
    each(fleet, "poll_failed", 4)?;
    let url = format!("{}/metrics", world.server.url(Listener::Ops));
    let metrics = reqwest::blocking::get(url)?.text()?;
    let polls = metrics.lines().filter(|line| line.starts_with("waxwing_polls_total{"));
    let polls: Vec<_> = polls.filter(|line| !line.ends_with(" 0")).collect();
    ensure!(polls.is_empty(), "a server with the old CA was asked: {polls:?}");
    let hung_up = "waxwing_tls_handshakes_total{listener=\"device\",outcome=\"failed\"}";
    ensure!(metrics.contains(hung_up), "devices came, and hung up: {metrics}");
    Ok(())
}

/// Waits until this has happened to every device so many times.
fn each(fleet: &mut Fleet, event: &str, times: usize) -> Result<()> {
    let mut counts = [0; DEVICES];
    fleet.wait_for(|it| {
        let device = NAMES.iter().position(|name| *name == it.text("device"));
        if let Some(count) = device.and_then(|device| counts.get_mut(device))
            && it.text("event") == event
        {
            *count += 1;
        }
        counts.iter().all(|count| *count >= times)
    })?;
    Ok(())
}
