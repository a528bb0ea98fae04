//! Names of keys in tokens: PKCS#11 URIs (RFC 7512), as far as a signer needs them.
//!
//! Not here: PINs. An attribute that carries one is refused without being repeated.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

/// What every such URI begins with.
pub const SCHEME: &str = "pkcs11:";

/// Longest URI read, in bytes: a label has 32, a path rarely more than 100.
const URI_BYTES_MAX: usize = 1024;

/// A key in a token: `pkcs11:token=ota;object=root-alice`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyUri {
    /// Label of the token.
    pub token: String,
    /// Serial number of the token, where two have the same label.
    pub serial: Option<String>,
    /// Label of the key.
    pub object: String,
    /// The PKCS#11 module to reach it with (`?module-path=`).
    pub module: Option<PathBuf>,
}

impl KeyUri {
    /// Names a key by the labels of token and key.
    pub fn new(token: &str, object: &str) -> Self {
        Self { token: token.to_owned(), serial: None, object: object.to_owned(), module: None }
    }
}

impl FromStr for KeyUri {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(SCHEME).ok_or(Malformed::Scheme)?;
        if text.len() > URI_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = Parts::default();
        for pair in path.split(';').filter(|pair| !pair.is_empty()) {
            parts.path(pair)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            parts.query(pair)?;
        }
        let token = parts.token.ok_or(Malformed::Missing("token"))?;
        let object = parts.object.ok_or(Malformed::Missing("object"))?;
        let module = parts.module.map(PathBuf::from);
        Ok(Self { token, serial: parts.serial, object, module })
    }
}

/// The form that [`KeyUri::from_str`] reads.
impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}token={}", encode(&self.token))?;
        if let Some(serial) = &self.serial {
            write!(f, ";serial={}", encode(serial))?;
        }
        write!(f, ";object={}", encode(&self.object))?;
        match &self.module {
            Some(module) => write!(f, "?module-path={}", encode(&module.to_string_lossy())),
            None => Ok(()),
        }
    }
}

/// Attributes while they are read; RFC 7512, 2.3: none may come twice.
#[derive(Default)]
struct Parts {
    module: Option<String>,
    object: Option<String>,
    serial: Option<String>,
    token: Option<String>,
}

impl Parts {
    fn path(&mut self, pair: &str) -> Result<(), Malformed> {
        match pair.split_once('=').ok_or(Malformed::Attribute)? {
            ("object", value) => once(&mut self.object, value),
            ("serial", value) => once(&mut self.serial, value),
            ("token", value) => once(&mut self.token, value),
            ("type", "private") => Ok(()),
            _ => Err(Malformed::Attribute),
        }
    }

    fn query(&mut self, pair: &str) -> Result<(), Malformed> {
        match pair.split_once('=').ok_or(Malformed::Attribute)? {
            ("module-path", value) => once(&mut self.module, value),
            ("pin-source" | "pin-value", _) => Err(Malformed::Pin),
            _ => Err(Malformed::Attribute),
        }
    }
}

fn once(slot: &mut Option<String>, value: &str) -> Result<(), Malformed> {
    match slot.replace(decode(value)?) {
        Some(_) => Err(Malformed::Attribute),
        None => Ok(()),
    }
}

/// RFC 3986, 2.1; control characters and empty values name nothing.
fn decode(text: &str) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => hex_digit(rest.next())? * 16 + hex_digit(rest.next())?,
            _ => byte,
        };
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).map_err(|_| Malformed::Encoding)?;
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Malformed::Encoding);
    }
    Ok(text)
}

fn hex_digit(byte: Option<u8>) -> Result<u8, Malformed> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16));
    digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(Malformed::Encoding)
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            // Writing to a string never fails.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// Not the name of one key in one token. The text is not repeated: somebody may have put a PIN
/// into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// An attribute that is unknown, comes twice or has no value: it might mean another key.
    #[error(
        "a key URI has token, object and perhaps serial, type=private and module-path, once each"
    )]
    Attribute,
    /// Bad percent encoding, control characters, or nothing.
    #[error("a value of the key URI is empty or not percent-encoded UTF-8")]
    Encoding,
    /// Which token, or which key?
    #[error("the key URI does not say {0}=; write pkcs11:token=TOKEN;object=LABEL")]
    Missing(&'static str),
    /// Arguments are seen by every process of the machine.
    #[error("a PIN does not belong into a key URI, where others see it; use --pin-file or type it")]
    Pin,
    /// Something else.
    #[error("a key URI begins with pkcs11:")]
    Scheme,
    /// Longer than any name.
    #[error("the key URI is longer than {URI_BYTES_MAX} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: Malformed) {
        assert_eq!(text.parse::<KeyUri>(), Err(why), "{text}");
    }

    #[test]
    fn a_key_is_named_by_token_and_label() {
        let uri: KeyUri = "pkcs11:token=ota;object=root-alice".parse().unwrap();
        assert_eq!(uri, KeyUri::new("ota", "root-alice"));
        let text =
            "pkcs11:object=r%20%3b;serial=00ab;token=%C3%A4;type=private?module-path=/a/b.so";
        let uri: KeyUri = text.parse().unwrap();
        assert_eq!((uri.token.as_str(), uri.object.as_str()), ("ä", "r ;"));
        assert_eq!(uri.serial.as_deref(), Some("00ab"));
        assert_eq!(uri.module, Some(PathBuf::from("/a/b.so")));
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }

    #[test]
    fn a_pin_in_a_uri_is_refused_and_not_repeated() {
        for query in ["pin-value=1234", "pin-source=file:/pin", "module-path=/m.so&pin-value=1234"]
        {
            let text = format!("pkcs11:token=ota;object=a?{query}");
            refused(&text, Malformed::Pin);
        }
        assert!(!Malformed::Pin.to_string().contains("1234"));
    }

    #[test]
    fn what_might_name_another_key_is_refused() {
        refused("pkcs11:token=ota", Malformed::Missing("object"));
        refused("pkcs11:object=a", Malformed::Missing("token"));
        refused("token=ota;object=a", Malformed::Scheme);
        for text in ["token=ota;object=a;object=b", "token=ota;object=a;id=%01", "token;object=a"] {
            refused(&format!("pkcs11:{text}"), Malformed::Attribute);
        }
        refused("pkcs11:token=ota;object=a;type=public", Malformed::Attribute);
        refused("pkcs11:token=ota;object=a?slot-id=1", Malformed::Attribute);
        for value in ["", "%", "%2", "%zz", "%ff", "%00", "a%0a"] {
            refused(&format!("pkcs11:token=ota;object={value}"), Malformed::Encoding);
        }
        refused(&format!("pkcs11:token=ota;object={}", "a".repeat(2000)), Malformed::TooLong);
    }
}
