//! A server, a home for profiles, and the command.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::server::Server;

pub(crate) const TOKEN: &str = "wxa_not-a-real-token";

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) home: TempDir,
}

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(mut command: Command, input: &str) -> Self {
        let mut child = command.spawn().unwrap();
        // A program that refuses its arguments does not wait for its input.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self { server: Server::start(), home: TempDir::new().unwrap() }
    }

    /// Logs in first.
    pub(crate) fn logged_in() -> Self {
        let world = Self::new();
        world.server.on("GET /products?limit=1", (200, json!({ "items": [], "next": null })));
        let run = world.login(TOKEN);
        assert_eq!(run.code, 0, "{run:?}");
        world
    }

    pub(crate) fn login(&self, token: &str) -> Run {
        let ca = self.file("server-ca.pem", &self.server.ca);
        let arguments = ["login", &self.url(), "--ca", ca.to_str().unwrap()];
        self.run_with_input(&arguments, token)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.address.port())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        Run::of(self.command(arguments), input)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waxwing"));
        command.args(arguments).env_clear().env("XDG_CONFIG_HOME", self.home.path());
        command.env("XDG_STATE_HOME", self.home.path().join("state"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.home.path().join("waxwing/profiles/default.toml")
    }
}
