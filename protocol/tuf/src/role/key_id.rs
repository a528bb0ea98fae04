//! The names of keys in metadata (spec 4.2).

use alloc::boxed::Box;
use alloc::string::String;

use crate::hex;
use crate::json::Text;

/// The name of a key in metadata. A repository names its keys as it likes (TAP 12); nearly all take
/// the hex SHA-256 of the key, of which only the 32 bytes are kept: a device remembers a dozen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyId(Form);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    Hash([u8; 32]),
    Other(Box<str>),
}

impl KeyId {
    /// Whether `text` is this name.
    pub(crate) fn is(&self, text: Text<'_>) -> bool {
        match &self.0 {
            Form::Hash(hash) => text.chars().eq(hex::digits(hash)),
            Form::Other(name) => text == **name,
        }
    }
}

impl From<&str> for KeyId {
    fn from(name: &str) -> Self {
        Self(hex::decode(name).map_or_else(|| Form::Other(name.into()), Form::Hash))
    }
}

impl From<String> for KeyId {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;

    #[test]
    fn a_name_is_itself_however_it_is_spelled_and_nothing_else() {
        let hash = "0a".repeat(32);
        for name in [hash.as_str(), "0A", "", "key-1", &hash[1..], &hash.to_uppercase()] {
            let is = |text: &str| {
                let json = std::format!("\"{text}\"");
                KeyId::from(name).is(Value::parse(json.as_bytes()).unwrap().as_text().unwrap())
            };
            assert!(is(name), "{name}");
            assert!(!is(&std::format!("{name}0")), "{name}");
            if let Some(rest) = name.strip_prefix('0') {
                assert!(is(&std::format!("\\u0030{rest}")), "{name}");
                assert!(!is(rest), "{name}");
            }
        }
    }
}
