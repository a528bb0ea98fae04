//! `waxwing-server --health-check`: asks the server that runs on a data folder whether it answers.
//!
//! For container engines: the image has no shell and no curl. Not here: readiness, which is for
//! load balancers and may come and go.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::run::Addresses;

/// Shorter than the five seconds that the `Dockerfile` gives a check.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The beginning of a good answer (RFC 9112, section 4).
const GOOD: &[u8] = b"HTTP/1.1 200 ";

/// Asks the running server of this configuration.
///
/// # Errors
///
/// Says whether no server runs here, or one that does not answer well.
pub async fn check(config: &Config) -> Result<(), Error> {
    let addresses = addresses(&config.data_dir.join("run/listeners.json")).await?;
    match timeout(ANSWER_TIMEOUT, ask(&addresses)).await {
        Err(_) => Err(Error::Silent(io::ErrorKind::TimedOut.into())),
        Ok(Err(error)) => Err(Error::Silent(error)),
        Ok(Ok(answer)) if answer == GOOD => Ok(()),
        Ok(Ok(_)) => Err(Error::Unwell),
    }
}

async fn addresses(file: &Path) -> Result<Addresses, Error> {
    let json = fs::read(file).await.map_err(Error::NotRunning)?;
    serde_json::from_slice(&json).map_err(|error| Error::NotRunning(error.into()))
}

async fn ask(addresses: &Addresses) -> io::Result<[u8; GOOD.len()]> {
    let mut stream = TcpStream::connect(addresses.ops).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; GOOD.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Why a server is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has not said where it listens.
    #[error("no server has started on this data folder (run/listeners.json)")]
    NotRunning(#[source] io::Error),
    /// It does not answer on its `listen.ops`.
    #[error("the server does not answer on listen.ops")]
    Silent(#[source] io::Error),
    /// It answers, but not 200.
    #[error("the server answers that it is not well")]
    Unwell,
}
