//! What a gateway is told before it starts: one TOML file; unknown keys are errors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use waxwing_wire::DeviceId;

pub use crate::config::ConfigError;
use crate::config::Server;

/// The configuration of a gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the gateway, which is a device of its own.
    pub id: DeviceId,
    /// Where links of devices come in, as `address:port`. Whoever comes is believed in nothing.
    pub listen: SocketAddr,
    /// Where the server is.
    pub server: Server,
    /// Folder for the gateway's credentials.
    pub work: PathBuf,
}

impl Config {
    /// Reads a configuration, and makes its paths relative to it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file and what is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.into(),
            source: Box::new(source),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in [&mut config.server.ca, &mut config.work] {
            *path = folder.join(&*path);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_told_where_links_come_in_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let good = "id = \"g-1\"\nlisten = \"127.0.0.1:7000\"\nwork = \"work\"\n[server]\n\
            device = \"localhost:8443\"\nenrol = \"localhost:8444\"\nca = \"ca.pem\"\n";
        std::fs::write(&path, good).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.work, folder.path().join("work"));
        assert_eq!(config.server.ca, folder.path().join("ca.pem"));
        for (from, to, named) in [("work =", "wrk =", "wrk"), (":7000", "", "listen")] {
            std::fs::write(&path, good.replace(from, to)).unwrap();
            let error = Config::read(&path).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(named), "{cause}");
        }
    }
}
