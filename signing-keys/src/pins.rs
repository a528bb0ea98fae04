//! Pins: the CA certificates by which devices know their server (D15), before anybody signs them.
//!
//! Pure: PEM in, a target out. Not here: files and signatures.

use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::{Hashes, Target, TargetCustom, Targets};
use waxwing_tuf::uptane::{SERVER_CA_BYTES_MAX, SERVER_CA_PATH};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// What a PEM block of a certificate is called (RFC 7468 section 5).
const CERTIFICATE: &str = "CERTIFICATE";

/// Lists pins in the top-level targets, in place of others.
///
/// # Errors
///
/// [`Refusal`] when the file is none that every device could use.
pub fn list(mut targets: Targets, pem: &[u8]) -> Result<(Targets, Vec<String>), Refusal> {
    let names = names(pem)?;
    let length = u64::try_from(pem.len()).unwrap_or(u64::MAX);
    let hashes = Hashes { sha256: Sha256::digest(pem).into() };
    let target = Target { custom: Some(TargetCustom::server_ca()), hashes, length };
    targets.targets.insert(SERVER_CA_PATH.to_owned(), target);
    Ok((targets, names))
}

/// Returns the subjects of the certificates, for people to look at.
fn names(pem: &[u8]) -> Result<Vec<String>, Refusal> {
    if u64::try_from(pem.len()).map_or(true, |length| length > SERVER_CA_BYTES_MAX) {
        return Err(Refusal::TooLong);
    }
    let blocks: Vec<Pem> =
        Pem::iter_from_buffer(pem).collect::<Result<_, _>>().map_err(|_| Refusal::NotPem)?;
    // Whoever mixes up the files of a CA must not publish its key.
    if let Some(other) = blocks.iter().find(|block| block.label != CERTIFICATE) {
        return Err(Refusal::Other(other.label.clone()));
    }
    let names: Vec<_> =
        blocks.iter().map(|block| name(&block.contents)).collect::<Result<_, _>>()?;
    if names.is_empty() { Err(Refusal::NotPem) } else { Ok(names) }
}

fn name(der: &[u8]) -> Result<String, Refusal> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Refusal::NotAnAuthority)?;
    if !certificate.is_ca() {
        return Err(Refusal::NotAnAuthority);
    }
    let serial = certificate.raw_serial_as_string();
    Ok(format!("{}, serial number {serial}", certificate.subject()))
}

/// Why pins are not listed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A certificate that signs no other.
    #[error("a certificate in the file is none of a CA; name CA certificates only")]
    NotAnAuthority,
    /// No certificates at all.
    #[error("the file holds no certificate in PEM")]
    NotPem,
    /// Something that is not for everybody's eyes, most likely.
    #[error("the file holds a block `{0}`; it is going to be published, so certificates only")]
    Other(String),
    /// More than a device reads.
    #[error("the file is longer than {SERVER_CA_BYTES_MAX} bytes, which is what devices read")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use waxwing_tuf::Time;
    use waxwing_tuf::author::Repo;

    use super::*;
    use crate::ceremony::empty_targets;

    fn check(pem: &str) -> Result<Vec<String>, Refusal> {
        let targets = empty_targets(Repo::Image("th1".into()), Time::from_seconds(0));
        list(targets, pem.as_bytes()).map(|(_, names)| names)
    }

    /// A self-signed CA certificate of P-256, made with
    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=x'`.
    fn pem(arguments: &[&str]) -> String {
        let fixed = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let made = std::process::Command::new("openssl")
            .args(fixed)
            .args(["-nodes", "-subj", "/CN=x", "-keyout", "/dev/null"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap()
    }

    #[test]
    fn one_ca_or_several_are_listed_by_name() {
        let one = pem(&[]);
        assert_eq!(check(&one).unwrap().len(), 1);
        let names = check(&(one + &pem(&[]))).unwrap();
        assert_eq!(names.len(), 2);
        assert!(names.iter().all(|name| name.starts_with("CN=x, serial number ")), "{names:?}");
    }

    #[test]
    fn what_is_no_list_of_ca_certificates_is_refused() {
        assert_eq!(check(""), Err(Refusal::NotPem));
        let leaf = pem(&["-addext", "basicConstraints=critical,CA:FALSE"]);
        assert_eq!(check(&leaf), Err(Refusal::NotAnAuthority));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(check(&(pem(&[]) + key)), Err(Refusal::Other("PRIVATE KEY".into())));
        assert_eq!(check(&pem(&[]).repeat(20)), Err(Refusal::TooLong));
    }
}
