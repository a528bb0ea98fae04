//! Logins on disk: one TOML file per profile, readable by its owner only.
//!
//! Not here: whether the server still accepts the token.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fmt};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::error::Error;
use crate::input;
use crate::secret::Secret;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// How to reach a server and be let in.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Address of its admin listener.
    pub(crate) server: String,
    /// The bearer token.
    pub(crate) token: Secret,
    /// The only certificates trusted, as PEM; without them, the system's.
    pub(crate) ca: Option<String>,
}

/// What a profile is called: also a file name.
#[derive(Clone, Debug)]
pub(crate) struct ProfileName(String);

impl FromStr for ProfileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let plain = !text.is_empty() && text.bytes().all(is_plain);
        plain.then(|| Self(text.to_owned())).ok_or("a profile's name has letters, digits and -")
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a profile. One that others can read is refused: the token in it may be known.
pub(crate) fn load(name: &ProfileName) -> Result<Profile, Error> {
    let path = path(name)?;
    let failed = |source| Error::File { path: path.clone(), source };
    let metadata = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoProfile(name.to_string()));
        }
        metadata => metadata.map_err(failed)?,
    };
    if metadata.mode() & OTHERS != 0 {
        return Err(failed(io::Error::other("others can read it; `chmod 600` it or log in again")));
    }
    toml::from_str(&input::file(&path)?).map_err(|error| failed(io::Error::other(error)))
}

/// Writes a profile, whole or not at all, and returns where it is.
pub(crate) fn save(name: &ProfileName, profile: &Profile) -> Result<PathBuf, Error> {
    let path = path(name)?;
    let failed = |source| Error::File { path: path.clone(), source };
    let text = toml::to_string(profile).map_err(|error| failed(io::Error::other(error)))?;
    replace(&path, &text).map_err(failed)?;
    Ok(path)
}

/// Writes a file for its owner only, whole or not at all: temporary files are made with mode 0600.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn path(name: &ProfileName) -> Result<PathBuf, Error> {
    let config = xdg("XDG_CONFIG_HOME", ".config")?;
    Ok(config.join("waxwing/profiles").join(format!("{name}.toml")))
}

/// Returns a folder of the XDG base directories: what the variable says, or its place below HOME.
pub(crate) fn xdg(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    let folder = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| env::home_dir().map(|home| home.join(below_home)));
    folder.ok_or_else(|| Error::Usage(format!("neither {variable} nor HOME")))
}
