//! What can go wrong with a token, in words for whoever holds it.

use std::fmt;
use std::path::PathBuf;

/// How near a token is to locking itself, as far as it tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tries {
    /// Somebody has typed a wrong PIN since the last right one.
    Fewer,
    /// The next wrong PIN locks it.
    Last,
    /// It says nothing.
    Unknown,
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fewer => "; the token counts wrong PINs and locks itself after a few",
            Self::Last => "; THE NEXT WRONG PIN LOCKS THE TOKEN",
            Self::Unknown => "",
        })
    }
}

/// A token could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two keys of one name.
    #[error("token `{token}` has more than one key `{object}`; delete or rename one")]
    Ambiguous {
        /// Label of the token.
        token: String,
        /// Label of the keys.
        object: String,
    },
    /// Two tokens of one name.
    #[error("more than one token is called `{0}`; add ;serial= to the key URI or unplug one")]
    AmbiguousToken(String),
    /// The module or the token failed.
    #[error("the token failed: cannot {doing}")]
    Call {
        /// What was tried.
        doing: &'static str,
        /// What the module said.
        #[source]
        cause: cryptoki::error::Error,
    },
    /// A key is never made twice under one name.
    #[error("token `{token}` already has a key `{object}`; take another label")]
    Exists {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
    /// The token would give the secret away.
    #[error(
        "key `{object}` in token `{token}` can be copied out of it, so it is no better than a \
         file; make one with `waxwing-keys key new --token`"
    )]
    Exportable {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
    /// The secret was not made in the token, or could once be read.
    #[error(
        "key `{object}` was not made in token `{token}` or could once be copied out of it, so \
         somebody may have a copy; make one with `waxwing-keys key new --token`"
    )]
    Imported {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
    /// A key of another algorithm.
    #[error(
        "key `{0}` is neither an Ed25519 nor a P-256 key that the token shows the public half of"
    )]
    Kind(String),
    /// The token cannot do this.
    #[error("token `{token}` does not support {algorithm}; try the other --algorithm")]
    Mechanism {
        /// Label of the token.
        token: String,
        /// What it lacks.
        algorithm: &'static str,
    },
    /// The module could not be used.
    #[error("cannot load the PKCS#11 module {}", path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: cryptoki::error::Error,
    },
    /// Else the loader would search for it.
    #[error("the PKCS#11 module {} must be named by its absolute path", .0.display())]
    ModulePath(PathBuf),
    /// No module was named.
    #[error(
        "which PKCS#11 module? name it with --pkcs11-module, WAXWING_PKCS11_MODULE or \
         ?module-path= in the key URI"
    )]
    ModuleUnnamed,
    /// No such key.
    #[error("token `{token}` has no key `{object}`")]
    ObjectNotFound {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
    /// Wrong PIN.
    #[error("wrong PIN for token `{token}`{tries}")]
    Pin {
        /// Label of the token.
        token: String,
        /// How near it is to locking itself.
        tries: Tries,
    },
    /// Too many wrong PINs.
    #[error("token `{0}` is locked after too many wrong PINs; its security officer can unlock it")]
    PinLocked(String),
    /// A fresh token.
    #[error("token `{0}` has no user PIN yet; initialize it first")]
    PinNotSet(String),
    /// What the token signed is not a signature by the key that it shows.
    #[error("token `{token}` made a signature with key `{object}` that does not verify")]
    Proof {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
    /// No such token.
    #[error("no token is called `{token}`; present: {present}")]
    TokenNotFound {
        /// Label asked for.
        token: String,
        /// Labels found.
        present: String,
    },
    /// The two halves of the label belong to different keys.
    #[error(
        "the public and the secret key `{object}` in token `{token}` do not belong together: \
         their CKA_ID differ"
    )]
    Unpaired {
        /// Label of the token.
        token: String,
        /// Label of the keys.
        object: String,
    },
}

/// Wraps what the module says with what was tried.
pub(super) fn call(doing: &'static str) -> impl FnOnce(cryptoki::error::Error) -> Error {
    move |cause| Error::Call { doing, cause }
}
