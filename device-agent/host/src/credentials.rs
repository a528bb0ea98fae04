//! The device's key and certificate, and how they are kept.
//!
//! A key is on disk before anybody is asked to certify it: after a power cut the same key asks
//! again, and gets the same certificate (D13).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use waxwing_agent::network::{CannotSign, Signer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Share of its life after which a certificate is renewed, in thirds.
const RENEW_AFTER_THIRDS: u64 = 2;

/// A key with its certificate.
#[derive(Debug)]
pub struct Credentials {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    renew_at_s: u64,
}

/// Key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The certificate cannot be read.
    #[error("certificate cannot be read")]
    Certificate,
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key cannot be read or made.
    #[error("key cannot be used")]
    Key(#[from] rcgen::Error),
}

impl Credentials {
    /// Puts a key and its certificate together.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Certificate`] when the certificate cannot be read.
    pub fn new(
        key: KeyPair,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, CredentialsError> {
        let renew_at_s = renew_at_s(&certificate).ok_or(CredentialsError::Certificate)?;
        Ok(Self { key, certificate, renew_at_s })
    }

    /// Returns the certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the key in the form TLS takes.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Tells whether it is time for the next certificate.
    pub const fn is_due(&self, unix_s: u64) -> bool {
        unix_s >= self.renew_at_s
    }
}

/// Two thirds into the certificate's life.
fn renew_at_s(certificate: &[u8]) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let from = u64::try_from(parsed.validity().not_before.timestamp()).ok()?;
    let until = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(from + until.checked_sub(from)? / 3 * RENEW_AFTER_THIRDS)
}

/// The credentials of a device: others after a renewal.
pub type SharedCredentials = Rc<RefCell<Credentials>>;

/// Signs messages with the key of the certificate.
#[derive(Clone, Debug)]
pub struct MessageSigner(pub SharedCredentials);

impl Signer for MessageSigner {
    fn sign(&mut self, parts: &[&[u8]]) -> Result<String, CannotSign> {
        let signature = self.0.borrow().key.sign(&parts.concat()).map_err(|_| CannotSign)?;
        let mut hex = String::with_capacity(2 * signature.len());
        for byte in signature {
            write!(hex, "{byte:02x}").map_err(|_| CannotSign)?;
        }
        Ok(hex)
    }
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

    /// Returns the credentials the device has, if any.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] when the file is there but cannot be used.
    pub fn credentials(&self) -> Result<Option<Credentials>, CredentialsError> {
        let Some(pem) = self.read(IDENTITY)? else { return Ok(None) };
        let key = KeyPair::from_pem(&pem)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CredentialsError::Certificate)?;
        Credentials::new(key, certificate).map(Some)
    }

    /// Returns the key to be certified next, made now unless an attempt before left one.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] when it cannot be made, read or kept.
    pub fn pending_key(&self) -> Result<KeyPair, CredentialsError> {
        if let Some(pem) = self.read(PENDING)? {
            let key = KeyPair::from_pem(&pem)?;
            // A power cut may have left the key that the present certificate is for. No other
            // certificate would ever be issued for it.
            let present = self.credentials()?;
            if present.is_none_or(|it| it.key.public_key_raw() != key.public_key_raw()) {
                return Ok(key);
            }
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        self.write(PENDING, &key.serialize_pem())?;
        Ok(key)
    }

    /// Keeps new credentials instead of the old ones.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::File`] when they cannot be written.
    pub fn keep(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        let certificate = base64_lines(&credentials.certificate);
        let pem = format!(
            "{}-----BEGIN CERTIFICATE-----\n{certificate}-----END CERTIFICATE-----\n",
            credentials.key.serialize_pem(),
        );
        self.write(IDENTITY, &pem)?;
        let path = self.0.join(PENDING);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CredentialsError::File { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
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
    use rcgen::{CertificateParams, date_time_ymd};

    use super::*;

    fn credentials(key: KeyPair) -> Credentials {
        let mut params = CertificateParams::new(vec!["d-1".into()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 4, 1));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Credentials::new(key, certificate).unwrap()
    }

    #[test]
    fn credentials_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::open(folder.path().join("d-1")).unwrap();
        assert!(keys.credentials().unwrap().is_none());
        let made = credentials(keys.pending_key().unwrap());
        keys.keep(&made).unwrap();
        let read = keys.credentials().unwrap().unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.private_key().secret_der(), made.private_key().secret_der());
    }

    #[test]
    fn an_interrupted_enrolment_goes_on_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::open(folder.path().to_owned()).unwrap();
        let first = keys.pending_key().unwrap();
        assert_eq!(keys.pending_key().unwrap().serialize_der(), first.serialize_der());
        keys.keep(&credentials(first)).unwrap();
        let renewed = keys.pending_key().unwrap();
        let old = keys.credentials().unwrap().unwrap();
        assert_ne!(renewed.serialize_der(), old.private_key().secret_der());
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::open(folder.path().to_owned()).unwrap();
        keys.pending_key().unwrap();
        let mode = fs::metadata(folder.path().join(PENDING)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let credentials = credentials(KeyPair::generate().unwrap());
        let two_months = 1_767_225_600 + 60 * 24 * 3600;
        assert!(!credentials.is_due(two_months - 1));
        assert!(credentials.is_due(two_months));
    }
}
