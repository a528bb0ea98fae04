//! Stays connected: whenever a connection ends, another one is made, after a pause that grows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Taker;
use super::connection::{Connection, End};
use super::link::Link;
use crate::app::App;

/// First and longest pause between two connections. Short, for Mosquitto forgets shared subscriptions when it
/// is restarted: until we are back, what devices say is lost.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Takes what a broker has.
pub(super) struct Worker {
    link: Link,
    taker: Arc<dyn Taker>,
    /// Whose commands are published, if any.
    commands: Option<Arc<App>>,
}

impl Worker {
    pub(super) fn new(link: Link, taker: Arc<dyn Taker>) -> Self {
        Self { link, taker, commands: None }
    }

    /// Publishes commands, too.
    pub(super) fn with_commands(self, app: Arc<App>) -> Self {
        Self { commands: Some(app), ..self }
    }

    /// Works until the server ends.
    pub(super) async fn run(self, end: CancellationToken) {
        end.run_until_cancelled(async {
            let mut pause = PAUSE_MIN;
            loop {
                let ended = self.connect().await;
                pause = if ended.was_useful { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
                let url = &self.link.config.url;
                tracing::warn!(url, reason = %ended.reason, ?pause, "no connection to the broker");
                sleep(pause).await;
            }
        })
        .await;
    }

    async fn connect(&self) -> End {
        match Connection::open(&self.link, Arc::clone(&self.taker), self.commands.clone()).await {
            Ok(connection) => {
                tracing::info!(url = self.link.config.url, "connected to the broker");
                self.show(true);
                let ended = connection.serve().await;
                self.show(false);
                ended
            }
            Err(error) => End { reason: error.to_string(), was_useful: false },
        }
    }

    fn show(&self, connected: bool) {
        if let Some(app) = &self.commands {
            app.metrics.broker().connected(connected);
        }
    }
}
