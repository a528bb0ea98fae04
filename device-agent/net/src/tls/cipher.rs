//! AES-128-GCM that also looks at what it has decrypted, before the library takes it apart.
//!
//! `embedded-tls` panics when a record holds nothing at all, and when a message of the handshake
//! comes after the handshake: a server that was taken over could restart its devices. Tickets for
//! later sessions are dropped here, for nobody would use them.

use aes_gcm::aead::consts::{U0, U12, U16};
use aes_gcm::aead::{
    AeadCore, AeadInPlace, Buffer, Error, KeyInit, KeySizeUser, Nonce, Result, Tag,
};
use aes_gcm::{Aes128Gcm, Key};
use embedded_tls::TlsCipherSuite;
use p256::elliptic_curve::consts::U54;
use sha2::Sha256;

use super::records::{VERSION, VERSION_WHEN_OPEN};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// RFC 8446, 4.6.1.
const NEW_SESSION_TICKET: u8 = 4;
/// RFC 8446, 6: level and description.
const ALERT_BYTES: usize = 2;

/// `TLS_AES_128_GCM_SHA256`, the suite that everybody must have (RFC 8446, 9.1).
pub(super) struct Suite;

impl TlsCipherSuite for Suite {
    const CODE_POINT: u16 = 0x1301;
    type Cipher = Careful;
    type KeyLen = U16;
    type IvLen = U12;
    type Hash = Sha256;
    /// A hash, the longest label, and what is around it.
    type LabelBufferSize = U54;
}

/// The cipher.
pub(super) struct Careful(Aes128Gcm);

impl KeySizeUser for Careful {
    type KeySize = U16;
}

impl KeyInit for Careful {
    fn new(key: &Key<Aes128Gcm>) -> Self {
        Self(Aes128Gcm::new(key))
    }
}

impl AeadCore for Careful {
    type NonceSize = U12;
    type TagSize = U16;
    type CiphertextOverhead = U0;
}

impl AeadInPlace for Careful {
    fn encrypt_in_place_detached(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        bytes: &mut [u8],
    ) -> Result<Tag<Self>> {
        self.0.encrypt_in_place_detached(nonce, header, bytes)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        record: &mut dyn Buffer,
    ) -> Result<()> {
        let &[kind, major, minor, high, low] = header else { return Err(Error) };
        let [own, own_minor] = VERSION;
        self.0.decrypt_in_place(nonce, &[kind, own, own_minor, high, low], record)?;
        if [major, minor] == VERSION_WHEN_OPEN { open(record) } else { handshake(record.as_ref()) }
    }

    fn decrypt_in_place_detached(
        &self,
        _nonce: &Nonce<Self>,
        _header: &[u8],
        _bytes: &mut [u8],
        _tag: &Tag<Self>,
    ) -> Result<()> {
        // What is in the record could not be looked at.
        Err(Error)
    }
}

/// Takes the padding off: what is in a record, and its kind (RFC 8446, 5.2).
fn content(record: &[u8]) -> Result<(&[u8], u8)> {
    let end = record.iter().rposition(|byte| *byte != 0).ok_or(Error)?;
    let (content, kind) = record.split_at_checked(end).ok_or(Error)?;
    Ok((content, *kind.first().ok_or(Error)?))
}

fn handshake(record: &[u8]) -> Result<()> {
    match content(record)? {
        (content, HANDSHAKE) if !content.is_empty() => Ok(()),
        (content, ALERT) if content.len() == ALERT_BYTES => Ok(()),
        _ => Err(Error),
    }
}

fn open(record: &mut dyn Buffer) -> Result<()> {
    match content(record.as_ref())? {
        (_, APPLICATION_DATA) => Ok(()),
        (content, ALERT) if content.len() == ALERT_BYTES => Ok(()),
        ([NEW_SESSION_TICKET, ..], HANDSHAKE) => {
            // An empty record of the application: the library passes over it.
            record.truncate(0);
            record.extend_from_slice(&[APPLICATION_DATA])
        }
        _ => Err(Error),
    }
}
