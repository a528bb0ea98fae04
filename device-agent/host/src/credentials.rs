//! The device's key and certificate, and how they are kept: in files that other programs read, too.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use waxwing_agent_net::est::KeyStore;
use waxwing_agent_net::identity::Unusable;
use waxwing_agent_net::{DeviceKey, Identity};

/// Key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is in a file is no key, or no certificate for it.
    #[error("{path} holds no key and certificate")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Unusable,
    },
}

/// The folder where a device keeps its credentials.
#[derive(Clone, Debug)]
pub struct KeyFolder(PathBuf);

const IDENTITY: &str = "identity.pem";
const PENDING: &str = "pending-key.pem";

impl KeyFolder {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::File`] when it cannot be made.
    pub fn open(path: PathBuf) -> Result<Self, CredentialsError> {
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(CredentialsError::File { path, source }),
        }
    }

    fn key(&self, name: &str, pem: &str) -> Result<DeviceKey, CredentialsError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| self.unusable(name, Unusable))?;
        let key = DeviceKey::from_pkcs8_der(der.secret_pkcs8_der());
        key.map_err(|why| self.unusable(name, why))
    }

    fn unusable(&self, name: &str, source: Unusable) -> CredentialsError {
        CredentialsError::Unusable { path: self.0.join(name), source }
    }

    fn read(&self, name: &str) -> Result<Option<String>, CredentialsError> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialsError::File { path, source }),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CredentialsError> {
        let path = self.0.join(name);
        replace_file(&path, text.as_bytes())
            .map_err(|source| CredentialsError::File { path, source })
    }
}

impl KeyStore for KeyFolder {
    type Error = CredentialsError;

    fn pending(&mut self) -> Result<Option<DeviceKey>, CredentialsError> {
        let pem = self.read(PENDING)?;
        pem.map(|pem| self.key(PENDING, &pem)).transpose()
    }

    fn keep_pending(&mut self, key: &DeviceKey) -> Result<(), CredentialsError> {
        let pem = private_pem(key).map_err(|why| self.unusable(PENDING, why))?;
        self.write(PENDING, &pem)
    }

    fn identity(&mut self) -> Result<Option<Identity>, CredentialsError> {
        let Some(pem) = self.read(IDENTITY)? else { return Ok(None) };
        let key = self.key(IDENTITY, &pem)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
        let certificate = certificate.map_err(|_| self.unusable(IDENTITY, Unusable))?;
        let identity = Identity::new(key, certificate.to_vec());
        identity.map(Some).map_err(|why| self.unusable(IDENTITY, why))
    }

    fn keep(&mut self, identity: &Identity) -> Result<(), CredentialsError> {
        let private = private_pem(identity.key()).map_err(|why| self.unusable(IDENTITY, why))?;
        let certificate = pem("CERTIFICATE", identity.certificate());
        self.write(IDENTITY, &[private, certificate].concat())?;
        let path = self.0.join(PENDING);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CredentialsError::File { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn private_pem(key: &DeviceKey) -> Result<String, Unusable> {
    Ok(pem("PRIVATE KEY", &key.to_pkcs8_der()?))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", base64_lines(der))
}

/// Replaces a file so that a power cut leaves the old or the new content, for its owner's eyes only.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

fn base64_lines(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    lines.flat_map(|line| [line.into_owned(), "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use waxwing_agent_net::est::key_to_certify;

    use super::*;
    use crate::network::HostNetwork;

    fn identity(key: DeviceKey) -> Identity {
        let mut params = CertificateParams::new(vec!["d-1".into()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 4, 1));
        let pair = KeyPair::try_from(key.to_pkcs8_der().unwrap().as_slice()).unwrap();
        let certificate = params.self_signed(&pair).unwrap().der().to_vec();
        Identity::new(key, certificate).unwrap()
    }

    fn key(keys: &mut KeyFolder) -> DeviceKey {
        key_to_certify(&HostNetwork::start(), keys).unwrap()
    }

    #[test]
    fn credentials_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = KeyFolder::open(folder.path().join("d-1")).unwrap();
        assert!(keys.identity().unwrap().is_none());
        let made = identity(key(&mut keys));
        keys.keep(&made).unwrap();
        let read = keys.identity().unwrap().unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.key(), made.key());
    }

    #[test]
    fn an_interrupted_enrolment_goes_on_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
        let first = key(&mut keys);
        assert_eq!(key(&mut keys), first);
        keys.keep(&identity(first)).unwrap();
        let renewed = key(&mut keys);
        assert_ne!(renewed, *keys.identity().unwrap().unwrap().key());
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
        key(&mut keys);
        let mode = fs::metadata(folder.path().join(PENDING)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = KeyFolder::open(folder.path().to_owned()).unwrap();
        let credentials = identity(key(&mut keys));
        let two_months = 1_767_225_600 + 60 * 24 * 3600;
        assert!(!credentials.is_due(two_months - 1));
        assert!(credentials.is_due(two_months));
    }
}
