//! The real server in a folder of its own, on ports of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::files::copy_folder;
use crate::process::{Line, Process, run};
use crate::program::Program;

/// What the first start says before the token.
const TOKEN_PREFIX: &str = "wxa_";

/// A server, running or killed.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    process: Option<Process>,
    addresses: Value,
    /// More configuration, as TOML.
    more: String,
}

/// One of its listeners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// REST.
    Admin,
    /// Revoked certificates.
    Crl,
    /// Polls and images.
    Device,
    /// EST.
    Enrol,
    /// MQTT.
    Mqtt,
    /// Health and metrics.
    Ops,
}

impl Listener {
    const ALL: [Self; 6] =
        [Self::Admin, Self::Crl, Self::Device, Self::Enrol, Self::Mqtt, Self::Ops];

    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Crl => "crl",
            Self::Device => "device",
            Self::Enrol => "enrol",
            Self::Mqtt => "mqtt",
            Self::Ops => "ops",
        }
    }
}

impl Server {
    /// Makes a server: its first start, which shows the admin token once.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::create_with(folder, "")
    }

    /// As [`Server::create`], with more configuration: TOML with sections of its own.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn create_with(folder: &Path, more: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (folder, more) = (folder.to_owned(), more.to_owned());
        let mut server = Self { folder, process: None, addresses: Value::Null, more };
        server.configure(|_| "127.0.0.1:0".to_owned())?;
        server.restart_with_new_token()?;
        // From now on it listens where it does now: a restart must not lose the fleet.
        let addresses = server.addresses.clone();
        server
            .configure(|listener| addresses[listener.name()].as_str().unwrap_or_default().into())?;
        Ok(server)
    }

    /// Starts the server again.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.start(false, &[], &[]).map(drop)
    }

    /// Starts a server that knows no token, and keeps the one that it shows.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn restart_with_new_token(&mut self) -> Result<()> {
        let token = self.start(true, &[], &[])?.context("a server without tokens shows one")?;
        Ok(fs::write(self.token(), token)?)
    }

    /// Starts the server again, with a clock that an operator looked at.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn restart_with_confirmed_clock(&mut self) -> Result<()> {
        self.start(false, &["--confirm-clock"], &[]).map(drop)
    }

    /// Ends the server in order and starts it again with these variables in its environment.
    ///
    /// # Errors
    ///
    /// Fails when the server does not stop or start.
    pub fn restart_with_variables(&mut self, variables: &[(&str, &Path)]) -> Result<()> {
        self.stop()?;
        self.start(false, &[], variables).map(drop)
    }

    /// Ends the server as a power cut would.
    ///
    /// # Errors
    ///
    /// Fails when the server is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the server runs")?.kill()
    }

    /// Ends the server in order.
    ///
    /// # Errors
    ///
    /// Fails when the server is not running or ends badly.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("the server runs")?.stop()?;
        if status.success() { Ok(()) } else { bail!("the server ended with {status}") }
    }

    /// Keeps everything that the server knows in a folder; it is restarted for it.
    ///
    /// # Errors
    ///
    /// Fails when the server does not stop or start.
    pub fn keep(&mut self, kept: &Path) -> Result<()> {
        self.stop()?;
        copy_folder(&self.data(), kept)?;
        self.restart()
    }

    /// Goes back to what was kept: what happened since, never did.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn go_back(&mut self, kept: &Path) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.data())?;
        copy_folder(kept, &self.data())?;
        self.restart()
    }

    /// Address of a listener, as host and port.
    pub fn address(&self, listener: Listener) -> &str {
        self.addresses[listener.name()].as_str().unwrap_or_default()
    }

    /// URL of a listener.
    pub fn url(&self, listener: Listener) -> String {
        let scheme =
            if matches!(listener, Listener::Crl | Listener::Ops) { "http" } else { "https" };
        format!("{scheme}://{}", self.address(listener))
    }

    /// Has the server look at its files again (SIGHUP), and waits until it says what came of it.
    ///
    /// # Errors
    ///
    /// Fails when the server is not running or says nothing.
    pub fn reload(&self) -> Result<String> {
        let process = self.process.as_ref().context("the server runs")?;
        process.lines_so_far().for_each(drop);
        process.hang_up()?;
        while let Some(line) = process.line()? {
            match line {
                Line::Error(line) if line.contains("server CA") => return Ok(line),
                Line::Error(_) | Line::Output(_) => {}
            }
        }
        bail!("the server ended; see {}", process.log().display())
    }

    /// Makes another server CA in a folder.
    ///
    /// # Errors
    ///
    /// Fails when the program refuses.
    pub fn make_server_ca(folder: &Path) -> Result<()> {
        run(Program::Server.command()?.arg("--make-server-ca").arg(folder), b"").map(drop)
    }

    /// Copies a server CA, its key and its certificate, from one folder to another.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or written.
    pub fn copy_server_ca(from: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        for name in ["server-ca.key", "server-ca.pem"] {
            fs::copy(from.join(name), to.join(name))?;
        }
        Ok(())
    }

    /// The certificate of the server CA.
    pub fn ca(&self) -> PathBuf {
        self.data().join("server-ca.pem")
    }

    /// The file with the admin token.
    pub fn token(&self) -> PathBuf {
        self.folder.join("admin-token")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of its keys.
    pub fn secrets(&self) -> PathBuf {
        self.data().join("secrets")
    }

    /// The file with its configuration.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("server.toml")
    }

    /// The id of the running process.
    ///
    /// # Errors
    ///
    /// Fails when the server is not running.
    pub fn process_id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server runs")?.id())
    }

    fn configure(&self, address: impl Fn(Listener) -> String) -> Result<()> {
        let listen = Listener::ALL.map(|one| format!("{} = \"{}\"\n", one.name(), address(one)));
        let text = format!(
            "data_dir = \"{}\"\n[poll]\nretry_after_s = 1\n[listen]\n{}{}",
            self.data().display(),
            listen.concat(),
            self.more,
        );
        Ok(fs::write(self.folder.join("server.toml"), text)?)
    }

    /// Starts the process and returns the token, which only the first start shows.
    fn start(
        &mut self,
        is_first: bool,
        arguments: &[&str],
        variables: &[(&str, &Path)],
    ) -> Result<Option<String>> {
        let mut command = Program::Server.command()?;
        command.args(arguments).envs(variables.iter().copied());
        command.arg("--config").arg(self.folder.join("server.toml"));
        let process = Process::spawn("server", command, &self.folder.join("logs"))?;
        let token = wait_until_ready(&process, is_first)?;
        let addresses = fs::read(self.data().join("run/listeners.json"))?;
        self.addresses = serde_json::from_slice(&addresses)?;
        self.process = Some(process);
        Ok(token)
    }
}

/// Reads what the server says until it listens and, if it is to, has shown its token: the two come
/// through different pipes, in any order.
fn wait_until_ready(process: &Process, shows_token: bool) -> Result<Option<String>> {
    let (mut token, mut listens) = (None, false);
    while let Some(line) = process.line()? {
        listens |= matches!(&line, Line::Error(line) if line.contains("listening"));
        token = token.or_else(|| token_in(&line));
        if listens && (token.is_some() || !shows_token) {
            return Ok(token);
        }
    }
    let log = fs::read_to_string(process.log()).unwrap_or_default();
    bail!("the server ended before it listened: {}", log.lines().last().unwrap_or_default())
}

fn token_in(line: &Line) -> Option<String> {
    let Line::Output(text) = line else { return None };
    let start = text.find(TOKEN_PREFIX)?;
    text[start..].split_whitespace().next().map(str::to_owned)
}
