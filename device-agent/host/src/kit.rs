//! What all devices of a configuration share: read once, checked once.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use waxwing_agent_net::ServerTrust;
use waxwing_agent_net::tls::Untrusted;
use waxwing_esp_image::ImageError;
use waxwing_esp_image::app::App;
use waxwing_wire::{DeviceId, Digest};

use crate::board::{Layout, LayoutError};
use crate::config::Config;
use crate::flash::Flash;
use crate::shared::Shared;

/// Unix time at which the simulated firmware was built: 2026-11-01.
pub const BUILT_AT_S: u64 = 1_793_491_200;

/// What all devices of a configuration share.
#[derive(Debug)]
pub struct Kit {
    /// What they were told.
    pub config: Config,
    pub(crate) factory: Vec<u8>,
    pub(crate) factory_sha256: Digest,
    pub(crate) director_root: Vec<u8>,
    pub(crate) image_root: Vec<u8>,
    pub(crate) server: ServerTrust,
    /// A chip as it leaves the factory.
    pub(crate) chip: Flash,
    /// What devices hold in memory.
    pub(crate) shared: Shared,
}

/// Something the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The factory image cannot boot.
    #[error("{path} is no application image")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageError,
    },
    /// The chip of a device cannot be laid out.
    #[error("device cannot be made")]
    Layout(#[from] LayoutError),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The server's CA cannot be used.
    #[error("cannot use {path}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Untrusted,
    },
    /// The tokens file has a line that is not `device,token`.
    #[error("{path}, line {line}: not `device,token`")]
    Token {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Kit {
    /// Reads what the configuration names.
    ///
    /// # Errors
    ///
    /// [`KitError`] names the file.
    pub fn load(config: Config) -> Result<Self, KitError> {
        let factory = read(&config.factory.image)?;
        App::parse(&factory)
            .map_err(|source| KitError::Image { path: config.factory.image.clone(), source })?;
        let server = ServerTrust::from_pem(&read(&config.server.ca)?, BUILT_AT_S)
            .map_err(|source| KitError::Ca { path: config.server.ca.clone(), source })?;
        let (layout, shared) = (Layout::new(config.slot_bytes), Shared::default());
        let mut chip = Flash::erased(layout.sectors(), &shared);
        layout.manufacture(&mut chip, &factory)?;
        Ok(Self {
            factory_sha256: Digest(Sha256::digest(&factory).into()),
            factory,
            director_root: read(&config.trust.director_root)?,
            image_root: read(&config.trust.image_root)?,
            server,
            chip,
            shared,
            config,
        })
    }

    /// Reads the tokens file.
    ///
    /// # Errors
    ///
    /// [`KitError`] names the file, and the line that is wrong.
    pub fn tokens(path: &Path) -> Result<Vec<(DeviceId, String)>, KitError> {
        let text = fs::read_to_string(path)
            .map_err(|source| KitError::Read { path: path.into(), source })?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parse = |(index, line): (usize, &str)| {
            let entry = line.split_once(',').and_then(|(device, token)| {
                Some((device.trim().parse().ok()?, token.trim().to_owned()))
            });
            entry.ok_or_else(|| KitError::Token { path: path.into(), line: index + 1 })
        };
        lines.map(parse).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KitError> {
    fs::read(path).map_err(|source| KitError::Read { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_line_by_line_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.csv");
        fs::write(&path, "d-1,abc\n\nd-2, def\n").unwrap();
        let tokens = Kit::tokens(&path).unwrap();
        let expected = [("d-1", "abc"), ("d-2", "def")];
        assert_eq!(tokens, expected.map(|(d, t)| (d.parse().unwrap(), t.to_owned())));
        fs::write(&path, "d-1,abc\nd/2,def\n").unwrap();
        let error = Kit::tokens(&path).unwrap_err();
        assert!(error.to_string().ends_with("line 2: not `device,token`"), "{error}");
    }
}
