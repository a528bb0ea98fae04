//! Secret keys in files: encrypted PKCS#8 (RFC 5958) as PEM, PBES2 with scrypt and AES-256-CBC.
//!
//! For development and air-gapped machines; a token is better ([`crate::token`]). Not here: asking for the
//! passphrase, and making randomness.

use std::path::{Path, PathBuf};

use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use waxwing_tuf::author::{Algorithm, SEED_BYTES, SecretKey, Signer as _};
use waxwing_tuf::key::PublicKey;
use zeroize::Zeroizing;

use crate::disk;
use crate::secret::Secret;

/// Shortest passphrase taken, in characters: an attacker who has the file guesses offline.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// PEM label of an encrypted PKCS#8 document (RFC 7468, section 11).
const PEM_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Before an Ed25519 seed: DER, an octet string of 32 bytes.
const SEED_OCTETS: [u8; 2] = [0x04, 0x20];

const SALT_BYTES: usize = 16;
const IV_BYTES: usize = 16;

/// What one guess at a passphrase costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Binary logarithm of scrypt's N; memory is 2^N KiB with r = 8.
    log_n: u8,
}

impl Cost {
    /// N = 2^17, r = 8, p = 1: 128 MiB per guess, the first choice of the OWASP password storage
    /// cheat sheet.
    pub const SECURE: Self = Self { log_n: 17 };

    /// N = 2^4: no protection at all. For tests and demonstrations, whose keys are worth nothing.
    pub const DANGER_NONE: Self = Self { log_n: 4 };

    /// Highest N read: more than a gigabyte per guess is an attack on whoever opens the file.
    const N_MAX: u64 = 1 << 20;
    const BLOCK_SIZE: u16 = 8;
    const PARALLELIZATION: u16 = 1;
}

/// Makes a key from randomness and writes it to a file that must not exist yet, mode 0600.
///
/// # Errors
///
/// [`Error`] when the file exists or cannot be written, the passphrase is too short, or there is
/// no randomness. Nothing is left behind then.
pub fn create(
    path: &Path,
    algorithm: Algorithm,
    passphrase: &Secret,
    cost: Cost,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), Error>,
) -> Result<SecretKey, Error> {
    if passphrase.reveal().chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(Error::PassphraseShort);
    }
    let key = generate(algorithm, random)?;
    let pem = encrypt(&key, passphrase, cost, random)?;
    disk::create_secret(path, pem.as_bytes(), |written| {
        let same = decrypt(path, written, passphrase)?.public() == key.public();
        if same { Ok(()) } else { Err(Error::Unreadable(path.to_owned())) }
    })?;
    Ok(key)
}

/// Opens a key file.
///
/// # Errors
///
/// [`Error`] when the file is no key of ours or the passphrase is not its passphrase.
pub fn open(path: &Path, passphrase: &Secret) -> Result<SecretKey, Error> {
    decrypt(path, &Zeroizing::new(disk::read(path)?), passphrase)
}

/// The bare secret of an Ed25519 key, as a server reads it.
pub struct Seed {
    bytes: Zeroizing<[u8; SEED_BYTES]>,
    public: PublicKey,
}

impl Seed {
    /// Opens a key file and takes the seed out.
    ///
    /// # Errors
    ///
    /// As [`open`]; [`Error::NoSeed`] for keys of another algorithm.
    pub fn open(path: &Path, passphrase: &Secret) -> Result<Self, Error> {
        let key = open(path, passphrase)?;
        let der = key.to_pkcs8_der().map_err(Error::Key)?;
        let info = PrivateKeyInfo::try_from(der.as_slice()).map_err(|_| Error::NoSeed)?;
        // RFC 8410, 7: the seed as an octet string.
        let seed = info.private_key.strip_prefix(&SEED_OCTETS);
        let seed = seed.filter(|_| matches!(key, SecretKey::Ed25519(_))).ok_or(Error::NoSeed)?;
        let bytes = Zeroizing::new(seed.try_into().map_err(|_| Error::NoSeed)?);
        Ok(Self { bytes, public: key.public().clone() })
    }

    /// Returns the public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes the 32 bytes to a file that must not exist yet: not encrypted, mode 0600.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`]; the file is then not left behind.
    pub fn write(&self, out: &Path) -> Result<(), Error> {
        disk::create_secret(out, self.bytes.as_slice(), |written| {
            let written = written.try_into().map_err(|_| Error::NoSeed)?;
            let again = SecretKey::from_seed(Algorithm::Ed25519, written).map_err(Error::Key)?;
            if again.public() == &self.public { Ok(()) } else { Err(Error::NoSeed) }
        })
    }
}

fn generate(
    algorithm: Algorithm,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), Error>,
) -> Result<SecretKey, Error> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    random(seed.as_mut())?;
    SecretKey::from_seed(algorithm, &seed).map_err(Error::Key)
}

fn encrypt(
    key: &SecretKey,
    passphrase: &Secret,
    cost: Cost,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), Error>,
) -> Result<Zeroizing<String>, Error> {
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
    random(&mut salt)?;
    random(&mut iv)?;
    let (r, p) = (u32::from(Cost::BLOCK_SIZE), u32::from(Cost::PARALLELIZATION));
    let cost = scrypt::Params::new(cost.log_n, r, p, SEED_BYTES).map_err(|_| Error::Encrypt)?;
    let parameters = Parameters::scrypt_aes256cbc(cost, &salt, &iv).map_err(|_| Error::Encrypt)?;
    let der = key.to_pkcs8_der().map_err(Error::Key)?;
    let info = PrivateKeyInfo::try_from(der.as_slice()).map_err(|_| Error::Encrypt)?;
    let encrypted = info.encrypt_with_params(parameters, passphrase.reveal());
    let encrypted = encrypted.map_err(|_| Error::Encrypt)?;
    encrypted.to_pem(PEM_LABEL, LineEnding::LF).map_err(|_| Error::Encrypt)
}

fn decrypt(path: &Path, pem: &[u8], passphrase: &Secret) -> Result<SecretKey, Error> {
    let unreadable = || Error::Unreadable(path.to_owned());
    let pem = std::str::from_utf8(pem).map_err(|_| unreadable())?;
    let (label, encrypted) = SecretDocument::from_pem(pem).map_err(|_| unreadable())?;
    let info = EncryptedPrivateKeyInfo::try_from(encrypted.as_bytes()).map_err(|_| unreadable())?;
    if label != PEM_LABEL || !is_affordable(&info.encryption_algorithm) {
        return Err(unreadable());
    }
    let der = info.decrypt(passphrase.reveal()).map_err(|_| Error::Passphrase(path.to_owned()))?;
    SecretKey::from_pkcs8_der(der.as_bytes()).map_err(Error::Key)
}

/// Refuses files whose parameters would keep this machine busy for ever.
fn is_affordable(scheme: &EncryptionScheme<'_>) -> bool {
    match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Scrypt(cost)) => {
            cost.cost_parameter <= Cost::N_MAX
                && cost.block_size <= Cost::BLOCK_SIZE
                && cost.parallelization <= Cost::PARALLELIZATION
        }
        Some(_) | None => false,
    }
}

/// A key file could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The encryption refused its parameters.
    #[error("cannot encrypt the key")]
    Encrypt,
    /// The key inside is of no kind we use.
    #[error("cannot use the key")]
    Key(#[source] waxwing_tuf::author::Error),
    /// Not an Ed25519 key.
    #[error("only an Ed25519 key can be given to a server")]
    NoSeed,
    /// Wrong passphrase, or the file was changed.
    #[error("the passphrase does not open {}", .0.display())]
    Passphrase(PathBuf),
    /// Too easy to guess.
    #[error("the passphrase has fewer than {PASSPHRASE_CHARS_MIN} characters; take several words")]
    PassphraseShort,
    /// The system gave no random bytes.
    #[error("the system has no random bytes to give")]
    Random,
    /// Not a file that `key new` writes.
    #[error(
        "{} is not an encrypted PKCS#8 key with scrypt, as `waxwing-keys key new` writes it",
        .0.display()
    )]
    Unreadable(PathBuf),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WORDS: &str = "correct horse battery staple";

    /// Counts up: tests need different bytes, not random ones.
    fn count_from(mut next: u8) -> impl FnMut(&mut [u8]) -> Result<(), Error> {
        move |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(1);
            }
            Ok(())
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn new(path: &Path, algorithm: Algorithm) -> SecretKey {
        create(path, algorithm, &secret(WORDS), Cost::DANGER_NONE, &mut count_from(1)).unwrap()
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let path = folder.path().join(format!("{algorithm:?}"));
            let key = new(&path, algorithm);
            assert_eq!(open(&path, &secret(WORDS)).unwrap().public(), key.public());
            let wrong = open(&path, &secret("correct horse battery stable"));
            assert!(matches!(wrong, Err(Error::Passphrase(_))));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE_OWNER_ONLY);
        }
    }

    const MODE_OWNER_ONLY: u32 = 0o600;

    #[test]
    fn short_passphrases_are_refused_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        let short = secret("hunter2");
        let refused =
            create(&path, Algorithm::Ed25519, &short, Cost::DANGER_NONE, &mut count_from(1));
        assert!(matches!(refused, Err(Error::PassphraseShort)));
        assert!(!path.exists());
    }

    #[test]
    fn files_that_cost_too_much_to_open_are_refused() {
        let affordable = |log_n| {
            let cost = scrypt::Params::new(log_n, 8, 1, 32).unwrap();
            is_affordable(&Parameters::scrypt_aes256cbc(cost, &[0; 16], &[0; 16]).unwrap().into())
        };
        assert!(affordable(Cost::SECURE.log_n));
        assert!(affordable(20));
        assert!(!affordable(21));
        let other = Parameters::pbkdf2_sha256_aes256cbc(1, &[0; 16], &[0; 16]).unwrap();
        assert!(!is_affordable(&other.into()));
    }

    #[test]
    fn other_files_are_no_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        new(&path, Algorithm::Ed25519);
        let pem = std::fs::read_to_string(&path).unwrap();
        for bad in [String::new(), pem.replace("ENCRYPTED ", ""), pem.replace("MI", "MJ")] {
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(open(&path, &secret(WORDS)), Err(Error::Unreadable(_))), "{bad}");
        }
        std::fs::write(&path, [0xff; 4]).unwrap();
        assert!(matches!(open(&path, &secret(WORDS)), Err(Error::Unreadable(_))));
    }
}
