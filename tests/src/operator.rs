//! The operator: the real command line, logged in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{refusal, run};
use crate::program::Program;
use crate::server::{Listener, Server};

/// Somebody at a terminal.
#[derive(Debug)]
pub struct Operator {
    home: PathBuf,
}

impl Operator {
    /// Logs in with the admin token.
    ///
    /// # Errors
    ///
    /// Fails when the server refuses the token.
    pub fn log_in(home: &Path, server: &Server) -> Result<Self> {
        let operator = Self { home: home.to_owned() };
        let (url, ca, token) = (server.url(Listener::Admin), server.ca(), server.token());
        let mut login = operator.command(&["login", &url])?;
        run(login.arg("--ca").arg(ca).arg("--token-file").arg(token), b"")?;
        Ok(operator)
    }

    /// Runs a command and returns its answer.
    ///
    /// # Errors
    ///
    /// Fails with what the command said.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let answer = run(self.command(arguments)?.arg("--json"), b"")?;
        serde_json::from_str(&answer).with_context(|| format!("{arguments:?} answered {answer}"))
    }

    /// Runs a command that must be refused, and returns the reason.
    ///
    /// # Errors
    ///
    /// Fails when the command succeeds.
    pub fn is_refused(&self, arguments: &[&str]) -> Result<String> {
        refusal(self.command(arguments)?.arg("--json"), b"")
    }

    /// Prepares a command.
    ///
    /// # Errors
    ///
    /// Fails when the program was not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Program::Cli.command()?;
        command.env("XDG_CONFIG_HOME", &self.home).env("XDG_STATE_HOME", self.home.join("state"));
        command.args(arguments);
        Ok(command)
    }
}
