//! A metadata file on its way through the hands of several signers.
//!
//! The signed part is kept as the bytes that came in: adding a signature never changes what the
//! others signed. Not here: whether the signatures are enough; ask the verifier.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Error;
use super::metadata::Metadata;
use super::signer::Signer;
use crate::hex;
use crate::json::Value;
use crate::key::PublicKey;
use crate::refusal::Cause;
use crate::role::Signers;
use crate::verify;

/// Most signatures one file may carry: a threshold of 8 with as many waiting to be dropped.
pub const SIGNATURES_MAX: usize = 16;

/// A signed part with the signatures given so far.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SignedFile {
    signatures: Vec<Signature>,
    signed: Box<RawValue>,
}

/// One signature of a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Id of the key that is said to have signed.
    pub keyid: String,
    /// The signature in hexadecimal digits.
    pub sig: String,
}

impl SignedFile {
    /// Makes a file that nobody has signed yet.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when a custom field cannot be written.
    pub fn unsigned(part: &Metadata) -> Result<Self, Error> {
        let signed = serde_json::value::to_raw_value(part).map_err(Error::Json)?;
        Ok(Self { signatures: Vec::new(), signed })
    }

    /// Reads a file; signatures are carried along, not judged.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when it is no `{"signatures", "signed"}` object, [`Error::Signatures`] when
    /// it lists too many signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let file: Self = serde_json::from_slice(bytes).map_err(Error::Json)?;
        if file.signatures.len() > SIGNATURES_MAX {
            return Err(Error::Signatures);
        }
        Ok(file)
    }

    /// Adds this signer's signature; a second one of the same key replaces the first.
    ///
    /// # Errors
    ///
    /// [`Error::Sign`] from the signer, [`Error::Canonical`] when the signed part is no JSON that
    /// devices read.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), Error> {
        let signature = signer.sign(&self.canonical()?)?;
        let signature =
            Signature { keyid: signer.key_id().to_owned(), sig: hex::encode(&signature) };
        self.signatures.retain(|other| other.keyid != signature.keyid);
        self.signatures.push(signature);
        Ok(())
    }

    /// Drops every signature that none of these keys made.
    ///
    /// # Errors
    ///
    /// As [`SignedFile::sign`].
    pub fn retain_signatures_of(&mut self, keys: &[PublicKey]) -> Result<(), Error> {
        let signed_by =
            |key: &PublicKey| self.is_signed_by(key).map(|yes| yes.then(|| key.key_id()));
        let keep: Vec<_> = keys.iter().map(signed_by).collect::<Result<_, _>>()?;
        self.signatures.retain(|signature| keep.iter().flatten().any(|id| *id == signature.keyid));
        Ok(())
    }

    /// Tells whether this key signed what the file says now.
    ///
    /// # Errors
    ///
    /// [`Error::Canonical`] when the signed part is no JSON that devices read.
    pub fn is_signed_by(&self, key: &PublicKey) -> Result<bool, Error> {
        judged(verify::is_signed_by(&self.to_bytes()?, key))
    }

    /// Tells whether a threshold of these keys signed what the file says now, as a device would count.
    ///
    /// # Errors
    ///
    /// As [`SignedFile::is_signed_by`].
    pub fn is_signed_by_threshold(&self, signers: &Signers) -> Result<bool, Error> {
        judged(verify::is_signed_by_threshold(&self.to_bytes()?, signers))
    }

    /// Returns the signatures as the file lists them, not judged.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the signed part.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when it is no metadata of ours.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        serde_json::from_str(self.signed.get()).map_err(Error::Json)
    }

    /// Returns the file as it goes over the wire: compact, keys in order.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when the encoder refuses, which it has no reason to.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(Error::Json)
    }

    /// Returns the bytes that are signed: the canonical form (TUF 3, "canonical JSON").
    fn canonical(&self) -> Result<Vec<u8>, Error> {
        let value = Value::parse(self.signed.get().as_bytes()).map_err(Error::Canonical)?;
        let mut canonical = Vec::with_capacity(self.signed.get().len());
        value.canonical(&mut |bytes| canonical.extend_from_slice(bytes));
        Ok(canonical)
    }
}

fn judged(is_signed: Result<bool, Cause>) -> Result<bool, Error> {
    match is_signed {
        Err(Cause::Json(malformed)) => Err(Error::Canonical(malformed)),
        // Nobody believes a file that names a key twice, so nobody signed it.
        signed => Ok(signed.unwrap_or(false)),
    }
}
