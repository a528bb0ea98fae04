//! Where the programs are: beside the one that runs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// One of our programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// The simulated fleet.
    AgentHost,
    /// The operator's command line.
    Cli,
    /// Ceremony, signing, publishing.
    Keys,
    /// The server.
    Server,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::AgentHost => "waxwing-agent-host",
            Self::Cli => "waxwing",
            Self::Keys => "waxwing-keys",
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
        Ok(command)
    }

    /// Tests run in `target/<profile>/deps`, programs lie in `target/<profile>`.
    fn path(self) -> Result<PathBuf> {
        let here = std::env::current_exe()?;
        let folder = here.parent().context("a program lies in a folder")?;
        let folder =
            if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
        let path = folder.join(self.name());
        ensure!(
            path.is_file(),
            "{} is not built: run `cargo build --workspace --bins`",
            path.display()
        );
        Ok(path)
    }
}
