//! For people who look at traffic on their own machine: MQTT without TLS for one device on a loopback address, and
//! the keys of TLS sessions in a file. Only builds with the feature `development` have it, and no release is one.
//!
//! Not here: a way around any check of a message. What comes without TLS is signed, fresh and new, or refused.

mod guard;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use rustls::{KeyLog, KeyLogFile};

use crate::app::App;
use crate::listener::{self, BindError, Limits, Shutdown};
use crate::mqtt::Service;

/// The variable that names the file of session keys: the name that browsers and curl know.
const KEY_LOG: &str = "SSLKEYLOGFILE";

/// Most connections without TLS: one device, and whoever tries it out.
const CONNECTIONS_MAX: usize = 16;

/// Returns what writes the keys of TLS sessions down: into the file that `SSLKEYLOGFILE` names, if it names one.
pub(crate) fn key_log() -> Arc<dyn KeyLog> {
    Arc::new(KeyLogFile::new())
}

/// Says what is not as safe as it should be, and begins to listen without TLS if the configuration has it.
///
/// # Errors
///
/// When the address is in use.
pub(crate) async fn begin(app: &Arc<App>, shutdown: &Shutdown) -> Result<(), BindError> {
    if let Some(file) = env::var_os(KEY_LOG) {
        tracing::warn!(?file, "DEVELOPMENT: whoever has this file reads all TLS traffic");
    }
    let Some(plaintext) = &app.config.development.plaintext_mqtt else { return Ok(()) };
    let (address, device) = (plaintext.listen, plaintext.device.clone());
    let socket = listener::bind("development.plaintext_mqtt.listen", address).await?;
    tracing::warn!(%address, %device, "DEVELOPMENT: anybody on this machine speaks as this device");
    let limits = Limits {
        connections: CONNECTIONS_MAX,
        connections_per_source: CONNECTIONS_MAX,
        handshakes_per_source: CONNECTIONS_MAX,
        handshake: Duration::ZERO,
        connection: Duration::MAX,
    };
    let service = Arc::new(Service::new(app.clone()));
    let task = listener::run_plain(socket, limits, shutdown.clone(), move |stream| {
        let (service, device) = (service.clone(), device.clone());
        async move { service.danger_serve_unproven(device, stream).await }
    });
    shutdown.tasks.spawn(task);
    Ok(())
}
