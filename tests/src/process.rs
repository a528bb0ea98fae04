//! Real processes: started, watched, killed by id.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything local may take before a test gives up; generous, because machines are busy.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A line a process said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Line {
    /// On standard error: for people.
    Error(String),
    /// On standard output: for programs.
    Output(String),
}

/// A child process whose lines are read as they come; standard error also goes to a log file.
/// Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lines: Receiver<Line>,
}

impl Process {
    /// Starts `command`, logging into `logs/<name>.log`.
    ///
    /// # Errors
    ///
    /// Fails when the program is missing or the log cannot be written.
    pub fn spawn(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        std::fs::create_dir_all(logs)?;
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let (sender, lines) = mpsc::channel();
        follow(stdout, sender.clone(), Line::Output, None);
        follow(stderr, sender, Line::Error, Some(file));
        Ok(Self { name: name.to_owned(), child, log, lines })
    }

    /// Waits for the next line; `None` when the process closed its outputs.
    ///
    /// # Errors
    ///
    /// Fails after [`PATIENCE`].
    pub fn line(&self) -> Result<Option<Line>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {PATIENCE:?}; see {}", self.name, self.log.display())
            }
        }
    }

    /// Returns the lines that have come so far, without waiting.
    pub fn lines_so_far(&self) -> impl Iterator<Item = Line> + '_ {
        self.lines.try_iter()
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns where standard error goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// Fails when there is no such process any more.
    pub fn wait(mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Ends the process at once (SIGKILL), as a power cut would.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be signalled.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells the process to look at its files again (SIGHUP).
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be signalled.
    pub fn hang_up(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be signalled.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.ask_to_end()?;
        Ok(self.child.wait()?)
    }

    /// Asks the process to end (SIGTERM).
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be signalled.
    pub fn ask_to_end(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }
}

/// Reads lines until the process closes the pipe. The log gets them even if nobody listens.
fn follow(
    pipe: impl Read + Send + 'static,
    sender: Sender<Line>,
    kind: fn(String) -> Line,
    mut log: Option<File>,
) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(log) = &mut log {
                // A full disk must not stop the process that logs.
                let _ = writeln!(log, "{line}");
            }
            let _ = sender.send(kind(line));
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
///
/// Fails with the program's standard error unless it exits with 0.
pub fn run(command: &mut Command, stdin: &[u8]) -> Result<String> {
    let output = output(command, stdin)?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a program that must refuse, and returns what it said.
///
/// # Errors
///
/// Fails when the program exits with 0.
pub fn refusal(command: &mut Command, stdin: &[u8]) -> Result<String> {
    let output = output(command, stdin)?;
    if output.status.success() {
        bail!("{command:?} should have been refused");
    }
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn output(command: &mut Command, stdin: &[u8]) -> Result<std::process::Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut pipe = child.stdin.take().context("standard input is piped")?;
    // A program that does not read its input is free to close it.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    Ok(child.wait_with_output()?)
}
