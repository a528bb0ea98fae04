//! A gateway: the real program, registered, enrolled and granted what it needs.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{Line, Process};
use crate::program::Program;
use crate::server::Listener;
use crate::world::World;

/// What the program says when links can come in.
const LISTENING: &str = "listening for devices on ";

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Where links of devices come in.
    pub address: String,
    process: Process,
}

impl Gateway {
    /// Registers a gateway and starts it.
    ///
    /// # Errors
    ///
    /// Fails when a step is refused or the program does not start.
    pub fn start(world: &World, folder: &Path, id: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("token"), world.register(id)?)?;
        let server = &world.server;
        let configuration = format!(
            "id = \"{id}\"\nlisten = \"127.0.0.1:0\"\nwork = \"work\"\n[server]\ndevice = \"{}\"\n\
             enrol = \"{}\"\nca = \"{}\"\n",
            server.address(Listener::Device),
            server.address(Listener::Enrol),
            server.ca().display(),
        );
        fs::write(folder.join("gateway.toml"), configuration)?;
        let mut command = Program::AgentHost.command()?;
        command.args(["gateway", "--config"]).arg(folder.join("gateway.toml"));
        command.arg("--token-file").arg(folder.join("token"));
        let process = Process::spawn("gateway", command, &folder.join("logs"))?;
        while let Some(line) = process.line()? {
            if let Line::Error(line) = line
                && let Some(address) = line.strip_prefix(LISTENING)
            {
                return Ok(Self { address: address.to_owned(), process });
            }
        }
        bail!("the gateway ended; see {}", process.log().display())
    }

    /// Ends the gateway as a power cut would.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be signalled.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}
