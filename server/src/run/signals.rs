//! What the process is told from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Running;
use crate::server_ca;

/// The signals that the process obeys: SIGTERM and SIGINT end it, SIGHUP has it look at its server
/// CA again.
pub struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. Before the start: one that comes meanwhile ends the server in order
    /// as soon as it runs, instead of killing it.
    pub fn take_over() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let (hang_up, interrupt) =
            (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?);
        Ok(Self { hang_up, interrupt, terminate })
    }

    /// Returns when the process is to end.
    pub async fn ended(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Obeys until the process is to end.
    pub async fn wait(mut self, server: &Running) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => server_ca::reload(&server.app),
            }
        }
    }
}
