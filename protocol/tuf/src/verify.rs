//! The one place that decides whether to believe metadata.
//!
//! Only this module counts signatures, compares hashes and creates a [`Verified`]: whoever holds one
//! need not ask who checked it. It knows nothing of files, clocks or the order of a workflow; that is
//! [`crate::client`]. Review this file first.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use sha2::{Digest, Sha256, Sha512};

use crate::command::{COMMAND_BYTES_MAX, Command};
use crate::dialect;
use crate::hex;
use crate::json::{Malformed, Text, Value};
use crate::key::{PublicKey, SIGNATURE_BYTES_MAX};
use crate::refusal::Cause;
use crate::role::{
    FileMeta, Hashes, Header, KEYS_MAX, KeyId, Listed, Role, Root, Signers, Targets,
};
use crate::time::Time;
use crate::uptane::{DIRECTOR, Install};

/// The major version of the TUF specification we read (spec 4.3, `spec_version`).
const SPEC_MAJOR: &str = "1";

/// The `_type` of every targets role (spec 4.5).
const TARGETS_TYPE: &str = "targets";

/// Proof that this module found enough signatures on the value inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Verified<Targets> {
    /// The target at `path`, if this role, whose name is `role`, itself names it.
    pub fn listed(&self, role: &str, path: &str) -> Option<Verified<Listed>> {
        self.target(path).map(|target| Verified(Listed::new(role, path, &target)))
    }
}

/// Checks metadata of role `R` against the keys that may sign it.
///
/// With `repository` the signed part must say that it belongs to that repository (D1).
pub fn verify<R: Role>(
    bytes: &[u8],
    signers: &Signers,
    repository: Option<&str>,
) -> Result<Verified<R>, Cause> {
    let file = File::parse(bytes)?;
    file.check_signatures(signers)?;
    file.decode(repository).map(Verified)
}

/// Checks a targets role, top-level or delegated, against the keys that may sign it.
pub fn verify_targets(
    bytes: Vec<u8>,
    signers: &Signers,
    repository: Option<&str>,
) -> Result<Verified<Targets>, Cause> {
    let text = String::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    let file = File::parse(text.as_bytes())?;
    file.check_signatures(signers)?;
    let header = file.header(TARGETS_TYPE, repository)?;
    Targets::check(file.signed)?;
    Ok(Verified(Targets::new(header, text)))
}

/// Reads a targets role whoever signed it: for those who hand files out and trust none of them.
#[cfg(feature = "author")]
pub fn read_targets(bytes: &[u8]) -> Result<Targets, Cause> {
    let text = core::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    let file = File::parse(bytes)?;
    let header = file.header(TARGETS_TYPE, None)?;
    Targets::check(file.signed)?;
    Ok(Targets::new(header, text.into()))
}

/// Checks a root that was obtained in a trusted way: it must be signed by its own keys.
pub fn verify_trusted_root(
    bytes: &[u8],
    repository: Option<&str>,
) -> Result<Verified<Root>, Cause> {
    let file = File::parse(bytes)?;
    let root: Root = file.decode(repository)?;
    file.check_signatures(&root.root)?;
    Ok(Verified(root))
}

/// Checks the successor of a trusted root.
pub fn verify_next_root(
    bytes: &[u8],
    trusted: &Verified<Root>,
    repository: Option<&str>,
) -> Result<Verified<Root>, Cause> {
    let file = File::parse(bytes)?;
    // Spec 5.3.4: signed by a threshold of keys of the trusted root (N) and of the new one (N+1).
    file.check_signatures(&trusted.root)?;
    let root: Root = file.decode(repository)?;
    file.check_signatures(&root.root)?;
    // Spec 5.3.5: the version of the new root is exactly N+1.
    if trusted.header.version.checked_add(1) != Some(root.header.version) {
        return Err(Cause::WrongVersion);
    }
    Ok(Verified(root))
}

/// Makes an image installable: Director and Image repository must agree on it.
pub fn verify_install(
    director: &Verified<Listed>,
    image: &Verified<Listed>,
) -> Result<Verified<Install>, Cause> {
    check_agreement(director, image)?;
    Install::decode(director).map(Verified)
}

/// Checks that Director and Image repository agree on a target (Uptane 2.1, 5.4.4.6): path, length,
/// hashes and every attribute that must match.
pub fn check_agreement(director: &Verified<Listed>, image: &Verified<Listed>) -> Result<(), Cause> {
    let attributes = match (match_object(director), match_object(image)) {
        (Some(one), Some(other)) => one.same_as(other),
        (None, None) => dialect::UPTANE_ATS,
        (None, Some(_)) | (Some(_), None) => false,
    };
    let agree = director.path == image.path
        && director.length == image.length
        && director.hashes == image.hashes
        && attributes;
    if agree { Ok(()) } else { Err(Cause::RepositoriesDisagree) }
}

fn match_object(listed: &Listed) -> Option<Value<'_>> {
    listed.custom()?.field("match")
}

/// Checks a command to `device` against the Director's online keys (D7): signed, for this device, not
/// expired at `now`, and of a number greater than `last_seq`.
pub fn verify_command(
    bytes: &[u8],
    signers: &Signers,
    device: &str,
    now: Time,
    last_seq: u64,
) -> Result<Verified<Command>, Cause> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(Cause::TooLong);
    }
    let file = File::parse(bytes)?;
    file.check_signatures(signers)?;
    file.check_kind(Command::TYPE, Some(DIRECTOR))?;
    if file.field("device") != Some(device) {
        return Err(Cause::WrongDevice);
    }
    let command = Command::decode(file.signed)?;
    if command.expires <= now {
        return Err(Cause::Expired);
    }
    if command.seq <= last_seq {
        return Err(Cause::Replayed);
    }
    Ok(Verified(command))
}

/// Whether a threshold of these keys signed the file, whatever it says: for those who collect
/// signatures and ask nobody to believe them.
#[cfg(feature = "author")]
pub(crate) fn is_signed_by_threshold(bytes: &[u8], signers: &Signers) -> Result<bool, Cause> {
    match File::parse(bytes)?.check_signatures(signers) {
        Ok(()) => Ok(true),
        Err(Cause::TooFewSignatures) => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// Whether this key signed the file: for those who collect signatures and ask nobody to believe them.
#[cfg(feature = "author")]
pub(crate) fn is_signed_by(bytes: &[u8], key: &PublicKey) -> Result<bool, Cause> {
    let file = File::parse(bytes)?;
    let signature = file.signature(&KeyId::from(key.key_id()));
    Ok(signature.is_some_and(|signature| file.is_signed(key, signature)))
}

/// The version a file claims to have. Nothing vouches for it.
pub(crate) fn claimed_version(bytes: &[u8]) -> Option<u64> {
    Value::parse(bytes).ok()?.field("signed")?.field("version")?.as_u64()
}

/// Compares a metadata file with what another one says about it, where it says anything.
pub(crate) fn check_file(bytes: &[u8], meta: &FileMeta) -> Result<(), Cause> {
    let mut check = ContentCheck::begin(meta.length, &meta.hashes);
    check.update(bytes)?;
    check.finish()
}

/// Compares content, as it comes in pieces, with what signed metadata says about it.
///
/// The only place in which a signed hash meets the bytes it was signed for. Every hash of a kind we
/// know has to be right (spec 5.5.2, 5.6.2, 5.7.2); one that nobody signed is not computed.
///
/// ```
/// use sha2::{Digest, Sha256};
/// use waxwing_tuf::{Cause, ContentCheck};
///
/// let mut content = ContentCheck::sha256(8, Sha256::digest(b"firmware").into());
/// content.update(b"firm")?;
/// content.update(b"ware")?;
/// assert_eq!(content.sha256_so_far(), Some(Sha256::digest(b"firmware").into()));
/// assert_eq!(content.clone().finish(), Ok(()));
/// assert_eq!(content.update(b"!"), Err(Cause::WrongLength));
/// # Ok::<(), Cause>(())
/// ```
#[derive(Clone, Debug)]
pub struct ContentCheck {
    length: Option<u64>,
    seen: u64,
    sha256: Option<(Sha256, [u8; 32])>,
    sha512: Option<(Sha512, [u8; 64])>,
}

impl ContentCheck {
    /// Begins. `length` is in bytes.
    pub fn new(length: u64, hashes: &Hashes) -> Self {
        Self::begin(Some(length), hashes)
    }

    /// Metadata files, but never targets, may go without a length.
    fn begin(length: Option<u64>, hashes: &Hashes) -> Self {
        Self {
            length,
            seen: 0,
            sha256: hashes.sha256.map(|signed| (Sha256::new(), signed)),
            sha512: hashes.sha512.as_deref().map(|signed| (Sha512::new(), *signed)),
        }
    }

    /// Begins for content of which the SHA-256 is all that was signed, besides its `length`.
    pub fn sha256(length: u64, signed: [u8; 32]) -> Self {
        Self::new(length, &Hashes { sha256: Some(signed), sha512: None })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongLength`] at the first byte too many: who sends without end is not listened to.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), Cause> {
        self.seen = self.seen.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.length.is_some_and(|length| self.seen > length) {
            return Err(Cause::WrongLength);
        }
        if let Some((hash, _)) = &mut self.sha256 {
            hash.update(piece);
        }
        if let Some((hash, _)) = &mut self.sha512 {
            hash.update(piece);
        }
        Ok(())
    }

    /// Returns the SHA-256 of the pieces so far, where one was signed: for those who need it for
    /// something else, and would hash the same bytes again.
    pub fn sha256_so_far(&self) -> Option<[u8; 32]> {
        self.sha256.as_ref().map(|(hash, _)| hash.clone().finalize().into())
    }

    /// Decides, after the last piece.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongLength`] or [`Cause::WrongHash`].
    pub fn finish(self) -> Result<(), Cause> {
        if self.length.is_some_and(|length| self.seen != length) {
            return Err(Cause::WrongLength);
        }
        let right = self.sha256.is_none_or(|(hash, signed)| hash.finalize()[..] == signed)
            && self.sha512.is_none_or(|(hash, signed)| hash.finalize()[..] == signed);
        if right { Ok(()) } else { Err(Cause::WrongHash) }
    }
}

/// A metadata file, split into its signed part and the signatures; nothing is checked yet.
struct File<'a> {
    signed: Value<'a>,
    signatures: Vec<(Text<'a>, Value<'a>)>,
}

impl<'a> File<'a> {
    /// Spec 4.2: `{"signatures": [{"keyid", "sig"}], "signed": {...}}`.
    fn parse(bytes: &'a [u8]) -> Result<Self, Cause> {
        let file = Value::parse(bytes)?;
        let signed = file.field("signed").ok_or(Cause::BadEnvelope)?;
        let list = file.field("signatures").and_then(Value::elements).ok_or(Cause::BadEnvelope)?;
        let mut signatures: Vec<(Text<'_>, Value<'_>)> = Vec::new();
        for signature in list {
            let id = signature.field("keyid").and_then(Value::as_text);
            let signature = id.zip(signature.field("sig")).ok_or(Cause::BadEnvelope)?;
            // Spec 4.2: a key id appears only once.
            let repeated = signatures.iter().any(|(other, _)| *other == signature.0);
            if repeated || signatures.len() == KEYS_MAX {
                return Err(Cause::BadEnvelope);
            }
            signatures.push(signature);
        }
        Ok(Self { signed, signatures })
    }

    fn decode<R: Role>(&self, repository: Option<&str>) -> Result<R, Cause> {
        R::decode(self.header(R::TYPE, repository)?, self.signed)
    }

    fn header(&self, role_type: &str, repository: Option<&str>) -> Result<Header, Cause> {
        self.check_kind(role_type, repository)?;
        let version = self.field("spec_version");
        let major = version.and_then(|version| version.split('.').next());
        if major != Some(SPEC_MAJOR) && !(dialect::UPTANE_ATS && version.is_none()) {
            return Err(Cause::WrongSpecification);
        }
        Header::decode(self.signed)
    }

    fn check_kind(&self, kind: &str, repository: Option<&str>) -> Result<(), Cause> {
        let found = self.field("_type").ok_or(Cause::WrongType)?;
        if found != kind && !(dialect::UPTANE_ATS && found.eq_ignore_ascii_case(kind)) {
            return Err(Cause::WrongType);
        }
        if repository.is_some_and(|repository| self.field("repo") != Some(repository)) {
            return Err(Cause::WrongRepository);
        }
        Ok(())
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.signed.field(name)?.as_plain()
    }

    /// Counts different *keys*, by value: neither a key that signs twice nor a key that is listed
    /// under two ids counts twice. Every id costs one verification at most.
    fn check_signatures(&self, signers: &Signers) -> Result<(), Cause> {
        let mut counted: Vec<&PublicKey> = Vec::new();
        for (id, key) in signers.keys() {
            if counted.len() == signers.threshold() {
                break;
            }
            if !counted.contains(&key)
                && self.signature(id).is_some_and(|signature| self.is_signed(key, signature))
            {
                counted.push(key);
            }
        }
        // A threshold of zero is no threshold: nothing is trusted without a signature.
        if counted.is_empty() || counted.len() < signers.threshold() {
            return Err(Cause::TooFewSignatures);
        }
        Ok(())
    }

    fn signature(&self, key_id: &KeyId) -> Option<Value<'a>> {
        self.signatures.iter().find(|(id, _)| key_id.is(*id)).map(|(_, signature)| *signature)
    }

    fn is_signed(&self, key: &PublicKey, signature: Value<'_>) -> bool {
        let mut buffer = [0; SIGNATURE_BYTES_MAX];
        let length = signature.as_plain().and_then(|text| hex::decode_into(text, &mut buffer));
        let bytes = length.and_then(|length| buffer.get(..length));
        // Spec 4.2: signatures are over the canonical form of the signed part.
        bytes.is_some_and(|bytes| {
            key.verify_message(&|sink| self.signed.canonical(sink), bytes).is_ok()
        })
    }
}
