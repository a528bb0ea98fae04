//! The certificates that a broker of others needs, and those of the servers that are its clients.
//!
//! The broker has two doors, since the issuer says who somebody is (D15): one for what the device CA has
//! signed, and one for servers, for which the server CA signs. Not here: the broker's configuration, which
//! is in `deploy`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

use crate::config::Config;
use crate::pki::{SERVER_CERTIFICATE_LIFE, Validity, authority};
use crate::random::{self, Random};
use crate::setup::{self, Identity};

/// Servers that get a certificate: one that stores and one more that takes messages for it.
const SERVERS: usize = 2;

/// Characters of a line of PEM (RFC 7468).
const LINE: usize = 64;

/// Makes them in a folder that is new; a server that never ran gets its own keys first.
///
/// # Errors
///
/// When a name is the server's own, with which the broker could play the server to devices; when the server's
/// own keys cannot be read, or a file cannot be written or is there already.
pub fn make(
    config: &Config,
    folder: &Path,
    names: &[String],
    random: &dyn Random,
    now_ms: u64,
) -> Result<(), Error> {
    let is_own =
        |name: &&String| config.server_names.iter().any(|own| own.eq_ignore_ascii_case(name));
    if let Some(name) = names.iter().find(is_own) {
        return Err(Error::OwnName(name.clone()));
    }
    let identity = Identity::load_or_create(config, random, now_ms)?;
    setup::make_folder(folder)?;
    let authority = identity.pki.server();
    let validity = Validity { now_ms, life: SERVER_CERTIFICATE_LIFE };
    let server_ca = authority.certificate().clone();
    let write = |name: &str, text: String| setup::write_secret(&folder.join(name), text.as_bytes());
    write("server-ca.pem", certificates(&[server_ca]))?;
    write("device-ca.pem", certificates(&identity.pki.device_anchors()))?;
    let broker = authority.server_certificate(names, random, now_ms)?;
    write("broker.pem", certificates(&broker.chain))?;
    write("broker.key", pem("PRIVATE KEY", broker.key.secret_der()))?;
    for number in 1..=SERVERS {
        // No name of a device has a colon.
        let name = format!("server:{number}");
        let (certificate, key) =
            authority.issue_client_of_broker(&name, random::bytes(random), validity)?;
        write(&format!("server-{number}.pem"), certificates(&[certificate]))?;
        write(&format!("server-{number}.key"), pem("PRIVATE KEY", key.secret_der()))?;
    }
    Ok(())
}

fn certificates(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate cannot be made.
    #[error("cannot make a certificate for these names")]
    Certificate(#[from] authority::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] setup::Error),
    /// The broker would be the server to devices.
    #[error(
        "{0} is a name of this server; give the broker another one, or it could play the server to devices"
    )]
    OwnName(String),
}

/// Returns where other processes of this machine hand over what they took.
pub(super) fn socket(config: &Config) -> PathBuf {
    config.data_dir.join("run/intake.sock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_broker_gets_no_certificate_with_which_it_could_play_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let server_names = vec!["Updates.example".to_owned()];
        let config = Config { data_dir, server_names, ..Config::default() };
        let make = |name: &str, into: &str| {
            let names = ["10.0.0.5".to_owned(), name.to_owned()];
            make(&config, &folder.path().join(into), &names, &SystemRandom, 0)
        };
        assert!(matches!(make("updates.EXAMPLE", "no"), Err(Error::OwnName(_))));
        assert!(!folder.path().join("no").exists());
        make("broker.example", "files").unwrap();
        assert!(folder.path().join("files/broker.key").exists());
    }
}
