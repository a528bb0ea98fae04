//! The demo: the whole main job, then everything that must not work, on real programs.
//!
//! Each promise is a row of the final table. Exit code 0 only if every row is as promised.
#![expect(clippy::indexing_slicing, reason = "test code: a missing JSON field reads as null")]
#![expect(clippy::print_stdout, reason = "this program talks to people")]

mod promises;
mod table;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;

use promises::Stage;

/// Takes a signed release to a simulated fleet, and shows what is refused.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Arguments {
    /// ESP32-C3 application image to release as 1.1.0; else one from the folder that
    /// `WAXWING_IMAGES` names, else one made here.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Simulated devices.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(4..=1000))]
    devices: u16,
    /// Leave everything running at the end, and print addresses and token.
    #[arg(long)]
    keep: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // Tokens and keys lie in it.
    let owner_only = Permissions::from_mode(0o700);
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("waxwing-demo-").permissions(owner_only).tempdir()?;
    if arguments.keep {
        return tell(&arguments, &folder.keep());
    }
    let outcome = tell(&arguments, folder.path())?;
    if outcome != ExitCode::SUCCESS {
        println!("logs and databases are left in {}", folder.keep().display());
    }
    Ok(outcome)
}

/// Tells the whole story in `folder`; the exit code says whether every promise was kept.
fn tell(arguments: &Arguments, folder: &Path) -> Result<ExitCode> {
    let image =
        arguments.image.clone().map_or_else(waxwing_e2e::image::real, |file| Ok(Some(file)))?;
    let mut stage = Stage::set(folder, image, arguments.devices.into())?;
    let rows = promises::keep_all(&mut stage);
    println!("\n{}", table::render(&rows));
    if arguments.keep {
        show_addresses(&stage.world)?;
        until_interrupted()?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.iter().all(|row| row.outcome.is_ok()) {
        return Ok(ExitCode::SUCCESS);
    }
    promises::tell_what_went_wrong(&stage);
    Ok(ExitCode::FAILURE)
}

/// Waits for Ctrl-C or SIGTERM; the processes end with the stage.
fn until_interrupted() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn show_addresses(world: &World) -> Result<()> {
    let token = std::fs::read_to_string(world.server.token()).context("the token was kept")?;
    for (name, listener) in [
        ("REST", Listener::Admin),
        ("devices", Listener::Device),
        ("enrolment", Listener::Enrol),
        ("MQTT", Listener::Mqtt),
        ("health and metrics", Listener::Ops),
    ] {
        println!("{name:<20} {}", world.server.url(listener));
    }
    println!("{:<20} {}", "CA certificate", world.server.ca().display());
    println!("{:<20} {token}", "admin token");
    println!("Everything runs until you press Ctrl-C.");
    Ok(())
}
