//! Where a listener is.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use rustls_pki_types::ServerName;

/// A host and a port, as `host:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(try_from = "String"))]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Returns the name that the server's certificate must have.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] when the host is neither a DNS name nor an IP address.
    pub fn server_name(&self) -> Result<ServerName<'_>, InvalidAddress> {
        ServerName::try_from(self.host.as_str()).map_err(|_| InvalidAddress)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let address = Self { host, port: port.parse().map_err(|_| InvalidAddress)? };
        address.server_name()?;
        Ok(address)
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address is host:port, such as localhost:8443")
    }
}

impl core::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["localhost:8443", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "localhost", "localhost:", "localhost:70000", ":1", "a b:1"] {
            assert_eq!(bad.parse::<Address>(), Err(InvalidAddress), "{bad}");
        }
    }
}
