//! Keys in hardware tokens, reached through a PKCS#11 module.
//!
//! The secret half is made in the token and cannot leave it; keys that can, or that were elsewhere
//! before, are refused. Not here:
//! asking for the PIN, and files ([`crate::key_file`]). A token stays logged in until the program
//! ends, as PKCS#11 has it, so one PIN serves two keys of one token.

mod error;
mod key;
pub mod uri;

use std::path::Path;
use std::sync::Mutex;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CallError, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use sha2::{Digest as _, Sha256};
use waxwing_tuf::author::{Algorithm, SignError, Signer, p256_signature_der};
use waxwing_tuf::key::PublicKey;

use self::error::call;
pub use self::error::{Error, Tries};
use self::key::Custody;
use crate::secret::Secret;

/// Bytes of the id (`CKA_ID`) that ties the halves of a new key together, and of a challenge.
pub const ID_BYTES: usize = 16;

/// What a key signs, with a challenge behind it, to prove that it is the one the token shows. No
/// metadata, envelope or command begins like this.
const PROOF: &[u8] = b"waxwing-keys: proof of possession, challenge ";

/// A token with an open session.
pub struct Token {
    session: Session,
    module: Pkcs11,
    slot: Slot,
    label: String,
}

impl Token {
    /// Loads the module and finds the token by its label, and its serial number if one is given.
    ///
    /// # Errors
    ///
    /// [`Error`] when the module does not load or there is not exactly one such token.
    pub fn open(module: &Path, label: &str, serial: Option<&str>) -> Result<Self, Error> {
        if !module.is_absolute() {
            return Err(Error::ModulePath(module.to_owned()));
        }
        let module = load(module)?;
        let slot = find_slot(&module, label, serial)?;
        let session = module.open_ro_session(slot).map_err(call("open a session"))?;
        Ok(Self { session, module, slot, label: label.to_owned() })
    }

    /// Tells whether somebody must log in before secret keys can be used.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when the token is gone.
    pub fn needs_pin(&self) -> Result<bool, Error> {
        let info = self.session.get_session_info().map_err(call("ask for the session's state"))?;
        Ok(!matches!(info.session_state(), SessionState::RoUser | SessionState::RwUser))
    }

    /// Tells how near the token is to locking itself.
    ///
    /// # Errors
    ///
    /// [`Error::PinLocked`] when it has.
    pub fn tries(&self) -> Result<Tries, Error> {
        let info = self.module.get_token_info(self.slot).map_err(call("ask for its state"))?;
        if info.user_pin_locked() {
            return Err(Error::PinLocked(self.label.clone()));
        }
        Ok(match (info.user_pin_final_try(), info.user_pin_count_low()) {
            (true, _) => Tries::Last,
            (false, true) => Tries::Fewer,
            (false, false) => Tries::Unknown,
        })
    }

    /// Logs in.
    ///
    /// # Errors
    ///
    /// [`Error::Pin`] and how near the token is to locking itself, [`Error::PinLocked`] when it
    /// has, [`Error::PinNotSet`] for a fresh one.
    pub fn login(&self, pin: &Secret) -> Result<(), Error> {
        let pin = AuthPin::new(pin.reveal().into());
        match self.session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(CallError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(CallError::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => Err(Error::Pin { token: self.label.clone(), tries: self.tries()? }),
            Err(CallError::Pkcs11(RvError::PinLocked, _)) => {
                Err(Error::PinLocked(self.label.clone()))
            }
            Err(CallError::Pkcs11(RvError::UserPinNotInitialized, _)) => {
                Err(Error::PinNotSet(self.label.clone()))
            }
            Err(cause) => Err(call("log in")(cause)),
        }
    }

    /// Takes a key in hand to sign with; somebody must have logged in.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is not exactly one key of this label or it is of no kind we use;
    /// [`Error::Exportable`] or [`Error::Imported`] when its secret may be elsewhere, too,
    /// [`Error::Unpaired`] when the public half is another key's, and [`Error::Mechanism`] when the
    /// token cannot sign.
    pub fn signer(&self, object: &str) -> Result<TokenSigner, Error> {
        let secret = self.find(ObjectClass::PRIVATE_KEY, object)?;
        let name = || (self.label.clone(), object.to_owned());
        match key::custody(&self.session, secret)? {
            Custody::Confined => {}
            Custody::Exportable => {
                let (token, object) = name();
                return Err(Error::Exportable { token, object });
            }
            Custody::Imported => {
                let (token, object) = name();
                return Err(Error::Imported { token, object });
            }
        }
        let public = self.find(ObjectClass::PUBLIC_KEY, object)?;
        if key::id(&self.session, public)? != key::id(&self.session, secret)? {
            let (token, object) = name();
            return Err(Error::Unpaired { token, object });
        }
        let (algorithm, public) = key::read_public(&self.session, public, object)?;
        self.require(algorithm, false)?;
        let session = self.module.open_ro_session(self.slot).map_err(call("open a session"))?;
        let (session, key_id) = (Mutex::new(session), public.key_id());
        Ok(TokenSigner { session, secret, algorithm, public, key_id })
    }

    /// Takes a key in hand that has just proved to be the secret half of what the token shows, by
    /// signing a challenge. `challenge` is random.
    ///
    /// # Errors
    ///
    /// As [`Token::signer`]; [`Error::Proof`] when the signature is not by the key that is shown.
    pub fn proven(&self, object: &str, challenge: [u8; ID_BYTES]) -> Result<TokenSigner, Error> {
        let signer = self.signer(object)?;
        let message = [PROOF, &challenge].concat();
        let signature = signer.sign(&message);
        let good = |signature: Vec<u8>| signer.public.verify(&[&message], &signature).is_ok();
        if signature.is_ok_and(good) {
            return Ok(signer);
        }
        Err(Error::Proof { token: self.label.clone(), object: object.to_owned() })
    }

    /// Makes a key in the token and has it sign once. `id` is random. Somebody must have logged in.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when there is a key of this label, [`Error::Mechanism`] when the token
    /// cannot make one; a key that does not work or can be copied is removed again.
    pub fn create(
        &self,
        object: &str,
        algorithm: Algorithm,
        id: [u8; ID_BYTES],
    ) -> Result<TokenSigner, Error> {
        self.require(algorithm, true)?;
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            if !self.all(class, object)?.is_empty() {
                let (token, object) = (self.label.clone(), object.to_owned());
                return Err(Error::Exists { token, object });
            }
        }
        let session = self.module.open_rw_session(self.slot);
        let session = session.map_err(call("open a session that may write"))?;
        let (public, secret) = key::generate(&session, object, algorithm, id)?;
        let signer = self.proven(object, id);
        if signer.is_err() {
            // The error tells more than a failure to clean up would.
            let _ = session.destroy_object(public).and(session.destroy_object(secret));
        }
        signer
    }

    fn find(&self, class: ObjectClass, object: &str) -> Result<ObjectHandle, Error> {
        let (token, label) = (self.label.clone(), object.to_owned());
        match self.all(class, object)?.as_slice() {
            [one] => Ok(*one),
            [] => Err(Error::ObjectNotFound { token, object: label }),
            _ => Err(Error::Ambiguous { token, object: label }),
        }
    }

    fn all(&self, class: ObjectClass, object: &str) -> Result<Vec<ObjectHandle>, Error> {
        let label = Attribute::Label(object.as_bytes().to_vec());
        let template = [Attribute::Token(true), Attribute::Class(class), label];
        self.session.find_objects(&template).map_err(call("look for the key"))
    }

    fn require(&self, algorithm: Algorithm, to_make: bool) -> Result<(), Error> {
        let there = self.module.get_mechanism_list(self.slot);
        let there = there.map_err(call("ask what it can do"))?;
        let (name, sign, make) = match algorithm {
            Algorithm::EcdsaP256 => {
                ("ECDSA on P-256", MechanismType::ECDSA, MechanismType::ECC_KEY_PAIR_GEN)
            }
            Algorithm::Ed25519 => {
                ("Ed25519", MechanismType::EDDSA, MechanismType::ECC_EDWARDS_KEY_PAIR_GEN)
            }
        };
        if there.contains(&sign) && (!to_make || there.contains(&make)) {
            return Ok(());
        }
        Err(Error::Mechanism { token: self.label.clone(), algorithm: name })
    }
}

/// A key in a token.
pub struct TokenSigner {
    /// PKCS#11 sessions are for one thread at a time.
    session: Mutex<Session>,
    secret: ObjectHandle,
    algorithm: Algorithm,
    public: PublicKey,
    key_id: String,
}

impl TokenSigner {
    fn ask(&self, mechanism: &Mechanism<'_>, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let session = self.session.lock().map_err(|poison| SignError(poison.to_string()))?;
        let signature = session.sign(mechanism, self.secret, message);
        signature.map_err(|cause| SignError(cause.to_string()))
    }
}

impl Signer for TokenSigner {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                self.ask(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), message)
            }
            // Every token signs a hash; not every token hashes.
            Algorithm::EcdsaP256 => {
                let raw = self.ask(&Mechanism::Ecdsa, &Sha256::digest(message))?;
                p256_signature_der(&raw).map_err(|cause| SignError(cause.to_string()))
            }
        }
    }
}

fn load(path: &Path) -> Result<Pkcs11, Error> {
    let failed = |cause| Error::Module { path: path.to_owned(), cause };
    let module = Pkcs11::new(path).map_err(failed)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The other key of a publication came first.
        Ok(()) | Err(CallError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(cause) => Err(failed(cause)),
    }
}

fn find_slot(module: &Pkcs11, label: &str, serial: Option<&str>) -> Result<Slot, Error> {
    let slots = module.get_slots_with_initialized_token().map_err(call("list the tokens"))?;
    let mut present = Vec::new();
    let mut found = None;
    for slot in slots {
        let info = module.get_token_info(slot).map_err(call("ask for its name"))?;
        present.push(info.label().to_owned());
        if info.label() == label && serial.is_none_or(|serial| serial == info.serial_number()) {
            if found.is_some() {
                return Err(Error::AmbiguousToken(label.to_owned()));
            }
            found = Some(slot);
        }
    }
    let names = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
    found.ok_or(Error::TokenNotFound { token: label.to_owned(), present: names })
}
