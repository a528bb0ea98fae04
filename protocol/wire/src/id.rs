//! Names and fixed-size values: checked once, where they enter, then carried as their own type.
//!
//! Not here: what a name refers to.

use alloc::borrow::ToOwned;
use alloc::string::String;
#[cfg(feature = "serde")]
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

/// Longest name in bytes: fits a TUF path segment, an MQTT topic level and a certificate CN
/// (RFC 5280, `ub-common-name` 64).
pub const NAME_BYTES_MAX: usize = 64;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first one a letter or digit, without
        /// `..`: safe as a file name, URL segment, MQTT topic level and TUF path segment.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $type(String);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            ///
            /// [`InvalidName`] when the text breaks the rule above.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                check_name(text).map(|()| Self(text.to_owned()))
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        // A map is searched by the text of a name.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        serde_as_text!($type);
    };
}

/// Implements serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ident) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use serde_as_text;

name!(
    /// A channel of a product, such as `stable`.
    Channel
);
name!(
    /// A command of an application.
    CommandName
);
name!(
    /// A device: also the CN of its certificate.
    DeviceId
);
name!(
    /// A named set of devices.
    GroupId
);
name!(
    /// A hardware revision of a product, such as `r2`.
    Hardware
);
name!(
    /// A message: unique per device for as long as the server remembers it (D24).
    MessageId
);
name!(
    /// One kind of device.
    ProductId
);
name!(
    /// One release brought to one group.
    RolloutId
);
name!(
    /// Another system that gets what devices say.
    SinkId
);

fn check_name(text: &str) -> Result<(), InvalidName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    let well_formed = text.len() <= NAME_BYTES_MAX && text.bytes().all(allowed);
    if starts_well && well_formed && !text.contains("..") { Ok(()) } else { Err(InvalidName) }
}

/// The text is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a name is 1 to 64 characters of A-Z a-z 0-9 . _ -, \
             starts with a letter or digit and has no two dots in a row",
        )
    }
}

impl core::error::Error for InvalidName {}

macro_rules! hex_bytes {
    ($(#[$doc:meta])* $type:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $type(pub [u8; $len]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = InvalidHex;

            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                let mut bytes = [0; $len];
                decode_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        serde_as_text!($type);
    };
}

hex_bytes!(
    /// A SHA-256, written as 64 lower-case hexadecimal digits.
    Digest,
    32
);
hex_bytes!(
    /// The number used once by which a device ties an answer to its question (D4).
    Nonce,
    16
);

/// Decodes lower-case hexadecimal digits of any even number.
#[cfg(feature = "serde")]
pub(crate) fn hex_to_vec(text: &str) -> Result<Vec<u8>, InvalidHex> {
    let mut bytes = alloc::vec![0; text.len() / 2];
    decode_hex(text, &mut bytes).map(|()| bytes)
}

/// Decodes lower-case hexadecimal digits that fill `bytes` exactly.
fn decode_hex(text: &str, bytes: &mut [u8]) -> Result<(), InvalidHex> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return Err(InvalidHex);
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Ok(())
}

const fn nibble(digit: u8) -> Result<u8, InvalidHex> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidHex),
    }
}

/// The text is not the right number of lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidHex;

impl fmt::Display for InvalidHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the right number of lower-case hexadecimal digits")
    }
}

impl core::error::Error for InvalidHex {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_or_topic_are_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in
            ["", ".", "..", "a..b", ".a", "-a", "a/b", "a b", "a\0", "ä", "a+", "#", "%2e", &long]
        {
            assert_eq!(DeviceId::parse(bad), Err(InvalidName), "{bad:?}");
        }
        for good in ["a", "0", "th1-r2", "A.b_c-9", &long[1..]] {
            assert_eq!(DeviceId::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn digests_have_one_spelling() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        for bad in [&text[1..], &text[2..], "0", &text.to_uppercase(), &"zz".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(InvalidHex), "{bad:?}");
        }
    }
}
