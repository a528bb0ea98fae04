//! `waxwing operator certificate`: makes a key here, has the server sign for it, and puts all that an
//! MQTT client needs into a folder.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::{fs, io};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;
use serde_json::json;

use crate::api::Api;
use crate::error::Error;
use crate::output::Output;

/// For the owner only, for the key is among them.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What the server signed.
#[derive(Deserialize)]
struct Signed {
    serial: String,
    expires_at: String,
    certificate: String,
    server_ca: String,
}

/// Makes the certificate, and says where everything is.
pub(super) async fn make(
    operator: &str,
    days: u32,
    folder: &Path,
    api: &Api,
    out: Output,
) -> Result<(), Error> {
    let file = |name: &str| folder.join(name);
    let (key_file, server_ca_file) = (file(&format!("{operator}.key")), file("server-ca.pem"));
    let certificate_file = file(&format!("{operator}.pem"));
    let unmade = |error| Error::File { path: key_file.clone(), source: io::Error::other(error) };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
    let csr = request(&key).map_err(unmade)?;
    // Before anything is signed: a certificate without its key is good for nothing.
    make_folder(folder)?;
    write(&key_file, &key.serialize_pem())?;
    let body = json!({ "csr": csr, "days": days });
    let signed: Signed =
        api.read_post(&format!("operators/{operator}/certificates"), &body).await?;
    write(&certificate_file, &signed.certificate)?;
    write(&server_ca_file, &signed.server_ca)?;
    let name = |path: &Path| path.display().to_string();
    out.one(&json!({
        "serial": signed.serial, "expires_at": signed.expires_at, "key": name(&key_file),
        "certificate": name(&certificate_file), "server_ca": name(&server_ca_file),
    }))
}

fn request(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key)?.pem()
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
    made.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Writes a file that is not there yet, except for the CA of the server, which is the same each time.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let write = || -> io::Result<()> {
        let mut file =
            fs::File::options().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}
