//! Where the programs are: beside the one that runs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

/// Where Debian's package `faketime` puts its library, in the folder of an architecture.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// By how many days the programs of this process live in the future.
static DAYS_AHEAD: AtomicU32 = AtomicU32::new(0);

/// Lets every program that is started from now on live so many days in the future.
pub fn live_ahead(days: u32) {
    DAYS_AHEAD.store(days, Ordering::Relaxed);
}

fn faketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join(FAKETIME));
    libraries.find(|library| library.is_file()).context("install the package faketime")
}

/// One of our programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// The simulated fleet.
    AgentHost,
    /// The operator's command line.
    Cli,
    /// Ceremony, signing, publishing.
    Keys,
    /// Makes the flash of a new device.
    Provision,
    /// The server.
    Server,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::AgentHost => "waxwing-agent-host",
            Self::Cli => "waxwing",
            Self::Keys => "waxwing-keys",
            Self::Provision => "waxwing-provision",
            Self::Server => "waxwing-server",
        }
    }

    /// Prepares to run the program, with nothing of this environment but the path.
    ///
    /// # Errors
    ///
    /// Fails when the program was not built.
    pub fn command(self) -> Result<Command> {
        let path = self.path()?;
        let mut command = Command::new(path);
        command.env_clear();
        let days = DAYS_AHEAD.load(Ordering::Relaxed);
        if days > 0 {
            command.env("LD_PRELOAD", faketime()?).env("FAKETIME", format!("+{days}d"));
            // Only the time of day: deadlines go by the other clock.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        Ok(command)
    }

    fn path(self) -> Result<PathBuf> {
        let path = folder()?.join(self.name());
        ensure!(
            path.is_file(),
            "{} is not built: run `cargo build --workspace --bins`",
            path.display()
        );
        Ok(path)
    }
}

/// Tests run in `target/<profile>/deps`, programs lie in `target/<profile>`.
fn folder() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// Returns where something lies that the build of this workspace does not make, by its path in the
/// folder that Cargo builds into.
///
/// # Errors
///
/// Fails when it was not built.
pub fn beside(path: &str) -> Result<PathBuf> {
    let folder = folder()?;
    let path = folder.parent().context("a profile lies in a folder")?.join(path);
    ensure!(
        path.is_file(),
        "{} is not built: run `cargo xtask emulate --help`, which builds it",
        path.display()
    );
    Ok(path)
}
