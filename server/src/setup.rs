//! First start: makes what a server owns, once, and loads it ever after.
//!
//! The keys are made in a temporary folder beside `secrets_dir` and renamed into place, so that a
//! first start cut short leaves nothing that counts and the next one begins again. What exists is
//! never replaced; a key that cannot be read, or that others can read, stops the server with the
//! name of the file.
//!
//! Made here: the three roots (D15), the Director's online key (D6) and the key of webhooks. Never made here: a release
//! key or a TUF root.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::{Ed25519Signer, SEED_BYTES};
use waxwing_wire::Digest;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::message_secrets::Vault;
use crate::pki::authority::{self, SERIAL_BYTES};
use crate::pki::{self, Authority, Pki};
use crate::random::{self, Random};
use crate::webhooks;

/// The Director's online key: the 32 bytes of an Ed25519 seed, raw (D6).
const DIRECTOR_KEY: &str = "director.key";

/// The key from which the secrets of webhooks follow: 32 random bytes.
const WEBHOOK_KEY: &str = "webhooks.key";

/// The key under which the secrets of existing devices are sealed: 32 random bytes.
const VAULT_KEY: &str = "message-secrets.key";

/// Bytes of each of these keys.
const KEY_BYTES: usize = 32;

/// The file in the data folder whose lock says that a server runs on it.
const LOCK: &str = "lock";

/// The roots: file name, and name in the certificate.
const DEVICE_CA: (&str, &str) = ("device-ca", "Waxwing device CA");
/// The device CA before, while devices that it certified still renew their certificates.
const PREVIOUS_DEVICE_CA: &str = "device-ca-previous";
const OPERATOR_CA: (&str, &str) = ("operator-ca", "Waxwing operator CA");
const SERVER_CA: (&str, &str) = ("server-ca", "Waxwing server CA");

/// Owner only, for folders and for files.
const FOLDER_MODE: u32 = 0o700;
const SECRET_MODE: u32 = 0o600;

/// The part of a mode that lets anybody but the owner in.
const OTHERS: u32 = 0o077;

/// Everything a server owns besides its database and images.
pub struct Identity {
    /// The certificate authorities.
    pub pki: Pki,
    /// The key that signs what each device should do.
    pub director: Ed25519Signer,
    /// The key from which the secrets of webhooks follow.
    pub webhooks: webhooks::Key,
    /// Opens the secrets of existing devices.
    pub vault: Vault,
}

impl Identity {
    /// Loads the server's identity; makes it first if there is none.
    pub fn load_or_create(
        config: &Config,
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<Self, Error> {
        make_folder(&config.data_dir)?;
        let secrets = config.secrets_dir();
        if is_empty(&secrets)? {
            create(&secrets, random, now_ms)?;
        }
        for name in [WEBHOOK_KEY, VAULT_KEY] {
            make_key(&secrets.join(name), random)?;
        }
        let identity = Self::load(config)?;
        for (name, _) in [DEVICE_CA, OPERATOR_CA, SERVER_CA] {
            publish_certificate(config, name)?;
        }
        Ok(identity)
    }

    /// Loads the server's identity, which has to be there.
    pub(crate) fn load(config: &Config) -> Result<Self, Error> {
        let secrets = config.secrets_dir();
        check_mode(&secrets, FOLDER_MODE)?;
        let device = load_authority(&secrets, DEVICE_CA.0)?;
        let crl_url = config.crl_url(&device.crl_name());
        let device = device.with_crl_at(crl_url);
        let operator = load_authority(&secrets, OPERATOR_CA.0)?;
        let server = load_authority(&secrets, SERVER_CA.0)?;
        let previous = secrets.join(pem_name(PREVIOUS_DEVICE_CA)).exists();
        let previous =
            previous.then(|| load_authority(&secrets, PREVIOUS_DEVICE_CA)).transpose()?;
        let pki = Pki::new(device, operator, server)
            .and_then(|pki| pki.with_previous_device(previous))
            .map_err(|source| Error::Shared { path: secrets.clone(), source })?;
        let director = load_director(&secrets.join(DIRECTOR_KEY))?;
        let webhooks = webhooks::Key::new(load_key(&secrets.join(WEBHOOK_KEY))?);
        let vault = Vault::new(&load_key(&secrets.join(VAULT_KEY))?);
        Ok(Self { pki, director, webhooks, vault })
    }
}

/// Reads the server CA as its files are now.
pub fn load_server_ca(config: &Config) -> Result<Authority, Error> {
    load_authority(&config.secrets_dir(), SERVER_CA.0)
}

/// Returns a hash over the files of the server CA, to tell whether they changed.
pub fn server_ca_digest(config: &Config) -> Result<Digest, Error> {
    let secrets = config.secrets_dir();
    let mut hash = Sha256::new();
    for name in [key_name(SERVER_CA.0), pem_name(SERVER_CA.0)] {
        let bytes = Zeroizing::new(read(&secrets.join(name))?);
        hash.update(Sha256::digest(&*bytes));
    }
    Ok(Digest(hash.finalize().into()))
}

/// Puts the certificate of the server CA where tools look for it.
pub fn publish_server_ca(config: &Config) -> Result<(), Error> {
    publish_certificate(config, SERVER_CA.0)
}

/// Makes another server CA in a folder, to take the place of the present one once devices know it.
pub fn make_server_ca(folder: &Path, random: &dyn Random, now_ms: u64) -> Result<(), Error> {
    make_folder(folder)?;
    write_authority(folder, SERVER_CA, random, now_ms)?;
    sync_folder(folder)
}

/// Makes another device CA in a folder, to take the place of the present one while that overlaps.
pub fn make_device_ca(folder: &Path, random: &dyn Random, now_ms: u64) -> Result<(), Error> {
    make_folder(folder)?;
    write_authority(folder, DEVICE_CA, random, now_ms)?;
    sync_folder(folder)
}

/// Returns where tools find the certificate that signs the server's.
pub fn server_ca_path(config: &Config) -> PathBuf {
    config.data_dir.join(pem_name(SERVER_CA.0))
}

/// Reads a token or password: one line of a file for its owner only. A name without a folder lies among the
/// secrets.
pub fn load_token(config: &Config, file: &Path) -> Result<Zeroizing<String>, Error> {
    let path = config.secrets_dir().join(file);
    let bytes = Zeroizing::new(read_secret(&path)?);
    let text = str::from_utf8(&bytes).map_or("", str::trim_end);
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(Zeroizing::new(text.to_owned())) } else { Err(Error::Token { path }) }
}

fn create(secrets: &Path, random: &dyn Random, now_ms: u64) -> Result<(), Error> {
    let parent = secrets.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| Error::file(parent, error))?;
    let folder = tempfile::Builder::new()
        .prefix(".waxwing-secrets-")
        .permissions(Permissions::from_mode(FOLDER_MODE))
        .tempdir_in(parent)
        .map_err(|error| Error::file(parent, error))?;
    for authority in [DEVICE_CA, OPERATOR_CA, SERVER_CA] {
        write_authority(folder.path(), authority, random, now_ms)?;
    }
    let seed = Zeroizing::new(random::bytes::<SEED_BYTES>(random));
    write_secret(&folder.path().join(DIRECTOR_KEY), seed.as_slice())?;
    sync_folder(folder.path())?;
    // An empty folder in the way is replaced; anything else is not.
    fs::rename(folder.path(), secrets).map_err(|error| Error::file(secrets, error))?;
    sync_folder(parent)
}

fn write_authority(
    folder: &Path,
    (file, name): (&str, &str),
    random: &dyn Random,
    now_ms: u64,
) -> Result<(), Error> {
    let serial: [u8; SERIAL_BYTES] = random::bytes(random);
    let pair = Authority::create(name, serial, now_ms).map_err(Error::Certificate)?;
    write_secret(&folder.join(key_name(file)), pair.key.as_bytes())?;
    write_secret(&folder.join(pem_name(file)), pair.certificate.as_bytes())
}

/// Puts a certificate, which is public, where people look for it.
fn publish_certificate(config: &Config, name: &str) -> Result<(), Error> {
    let pem = read(&config.secrets_dir().join(pem_name(name)))?;
    let target = config.data_dir.join(pem_name(name));
    if fs::read(&target).ok().as_deref() == Some(pem.as_slice()) {
        return Ok(());
    }
    write_atomically(&target, &pem)
}

/// Writes a file whole or not at all.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| Error::file(path, error))
}

/// Takes a data folder for one server alone, until the file is closed: the kernel frees the lock
/// however the process ends.
pub fn lock_folder(path: &Path) -> Result<File, Error> {
    make_folder(path)?;
    let name = path.join(LOCK);
    let mut options = File::options();
    let file = options.create(true).append(true).mode(SECRET_MODE).open(&name);
    let file = file.map_err(|error| Error::file(&name, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::file(&name, error)),
    }
}

/// Makes a folder for the owner only, if it is not there.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|error| Error::file(path, error))
}

fn load_authority(secrets: &Path, name: &str) -> Result<Authority, Error> {
    let path = secrets.join(key_name(name));
    let key = Zeroizing::new(read_secret(&path)?);
    let certificate = read(&secrets.join(pem_name(name)))?;
    Authority::from_pem(&String::from_utf8_lossy(&certificate), &String::from_utf8_lossy(&key))
        .map_err(|source| Error::Authority { path, source })
}

fn load_director(path: &Path) -> Result<Ed25519Signer, Error> {
    let key = Zeroizing::new(read_secret(path)?);
    let seed = key.first_chunk().filter(|seed| seed.len() == key.len());
    seed.and_then(|seed| Ed25519Signer::from_seed(seed).ok())
        .ok_or_else(|| Error::DirectorKey { path: path.to_owned() })
}

/// Makes a key for a server that is new, or was before there was any use for it.
fn make_key(path: &Path, random: &dyn Random) -> Result<(), Error> {
    let secrets = path.parent().unwrap_or(Path::new("."));
    if path.exists() {
        return Ok(());
    }
    let key = Zeroizing::new(random::bytes::<KEY_BYTES>(random));
    let write = || -> io::Result<()> {
        // For its owner only, from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(secrets)?;
        file.write_all(key.as_slice())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error| Error::file(path, error))?;
    sync_folder(secrets)
}

fn load_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    let read = Zeroizing::new(read_secret(path)?);
    let bytes = read.first_chunk().filter(|bytes| bytes.len() == read.len());
    let bytes = bytes.ok_or_else(|| Error::Key { path: path.to_owned() })?;
    Ok(Zeroizing::new(*bytes))
}

/// Reads a file that nobody but its owner can read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, Error> {
    check_mode(path, SECRET_MODE)?;
    read(path)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::file(path, error))
}

fn check_mode(path: &Path, wanted: u32) -> Result<(), Error> {
    let mode = fs::metadata(path).map_err(|error| Error::file(path, error))?.permissions().mode();
    if mode & OTHERS == 0 { Ok(()) } else { Err(Error::Exposed { path: path.to_owned(), wanted }) }
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::file(folder, error)),
    }
}

/// Writes a new file for its owner only.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(SECRET_MODE).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| Error::file(path, error))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::file(path, error))
}

fn key_name(name: &str) -> String {
    format!("{name}.key")
}

fn pem_name(name: &str) -> String {
    format!("{name}.pem")
}

/// Why the server has no identity. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CA's key or certificate is damaged.
    #[error("{path}: not the key of the certificate beside it")]
    Authority {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        source: authority::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[source] authority::Error),
    /// The Director's key file has another length than a key.
    #[error("{path}: not an Ed25519 seed of 32 bytes")]
    DirectorKey {
        /// The key file.
        path: PathBuf,
    },
    /// Others can read a key.
    #[error("{path}: others have access to this secret; run chmod {wanted:o} on it")]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// The mode it should have.
        wanted: u32,
    },
    /// Another server has the data folder.
    #[error("{path}: another server runs on this folder (configuration key `data_dir`)")]
    InUse {
        /// The data folder.
        path: PathBuf,
    },
    /// Two CAs have one key.
    #[error("{path}: the CAs in it are not three")]
    Shared {
        /// The folder of the secrets.
        path: PathBuf,
        /// Which ones.
        source: pki::Shared,
    },
    /// A key has another length.
    #[error("{path}: not a key of 32 bytes")]
    Key {
        /// The key file.
        path: PathBuf,
    },
    /// A token is empty or holds more than one.
    #[error("{path}: not one line of printable ASCII without spaces")]
    Token {
        /// The file of the token.
        path: PathBuf,
    },
    /// A file or folder cannot be read or written.
    #[error("{path}: cannot be read or written")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use waxwing_tuf::author::Signer as _;

    use super::*;
    use crate::random::FakeRandom;

    const NOW_MS: u64 = 1_795_167_000_000;

    fn config(folder: &Path) -> Config {
        Config { data_dir: folder.join("data"), ..Config::default() }
    }

    fn load(config: &Config) -> Result<Identity, Error> {
        Identity::load_or_create(config, &FakeRandom::default(), NOW_MS)
    }

    #[test]
    fn a_second_start_finds_the_same_identity() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (first, second) = (load(&config).unwrap(), load(&config).unwrap());
        assert_eq!(first.director.key_id(), second.director.key_id());
        assert_eq!(first.pki.device.certificate(), second.pki.device.certificate());
        assert_ne!(first.pki.device.certificate(), first.pki.server().certificate());
        let pem = fs::read_to_string(server_ca_path(&config)).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn a_first_start_cut_short_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let unfinished = config.data_dir.join(".waxwing-secrets-x");
        fs::create_dir_all(&unfinished).unwrap();
        fs::write(unfinished.join("device-ca.key"), "half").unwrap();
        load(&config).unwrap();
    }

    #[test]
    fn secrets_are_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        load(&config).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&config.data_dir), FOLDER_MODE);
        assert_eq!(mode(&config.secrets_dir()), FOLDER_MODE);
        for entry in fs::read_dir(config.secrets_dir()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), SECRET_MODE);
        }
    }

    #[test]
    fn an_exposed_missing_damaged_or_foreign_key_is_named() {
        let names = ["device-ca.key", "operator-ca.key", "server-ca.key", DIRECTOR_KEY];
        let damages: [fn(&Path); 3] = [
            |path| fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap(),
            |path| fs::remove_file(path).unwrap(),
            |path| fs::write(path, "not a key").unwrap(),
        ];
        for (name, damage) in names.iter().flat_map(|name| damages.map(|damage| (name, damage))) {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path());
            load(&config).unwrap();
            damage(&config.secrets_dir().join(name));
            let error = load(&config).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn keys_of_two_authorities_are_not_mixed_up() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        load(&config).unwrap();
        let secrets = config.secrets_dir();
        fs::copy(secrets.join("server-ca.key"), secrets.join("device-ca.key")).unwrap();
        assert!(matches!(load(&config), Err(Error::Authority { .. })));
    }

    #[test]
    fn two_roots_with_one_key_are_refused() {
        let names = ["device-ca", "operator-ca", "server-ca"];
        let pairs = names.iter().flat_map(|from| names.map(|to| (*from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path());
            load(&config).unwrap();
            let secrets = config.secrets_dir();
            for ending in ["key", "pem"] {
                let file = |name| secrets.join(format!("{name}.{ending}"));
                fs::copy(file(from), file(to)).unwrap();
            }
            let refused = load(&config).err();
            assert!(matches!(refused, Some(Error::Shared { .. })), "{from} as {to}: {refused:?}");
        }
    }
}
