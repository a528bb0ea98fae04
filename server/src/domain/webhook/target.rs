//! Where messages go: an address on the web, under TLS, that holds no password of its own.
//!
//! Not here: which machines a name may lead to; that is looked at each time one is asked for.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Longest address in bytes.
const URL_BYTES_MAX: usize = 1000;

/// An address that begins with `https://`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target(Url);

/// Why an address is not one that messages go to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoTarget {
    /// It has a fragment, which is never sent.
    #[error("it has a fragment, which nobody would see")]
    Fragment,
    /// It is no URL.
    #[error("it is no URL")]
    NoUrl,
    /// It has a user name or a password.
    #[error("it has a user name or a password; messages are signed instead")]
    Password,
    /// It is another scheme than `https`.
    #[error("it does not begin with https://")]
    Plain,
    /// It is too long.
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`NoTarget`] says why messages cannot go there.
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        if text.len() > URL_BYTES_MAX {
            return Err(NoTarget::TooLong);
        }
        let url = Url::parse(text).map_err(|_| NoTarget::NoUrl)?;
        if url.scheme() != "https" {
            return Err(NoTarget::Plain);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NoTarget::Password);
        }
        if url.fragment().is_some() {
            return Err(NoTarget::Fragment);
        }
        Ok(Self(url))
    }

    /// Returns the address.
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the machine and its port: what may be written down. A path may be a secret.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_under_tls_without_passwords_are_taken() {
        let long = format!("https://h.example/{}", "x".repeat(URL_BYTES_MAX));
        for (text, why) in [
            ("http://h.example/", NoTarget::Plain),
            ("ftp://h.example/", NoTarget::Plain),
            ("file:///etc/passwd", NoTarget::Plain),
            ("h.example", NoTarget::NoUrl),
            ("https://", NoTarget::NoUrl),
            ("https://h.example:99999/", NoTarget::NoUrl),
            ("https://user@h.example/", NoTarget::Password),
            ("https://:secret@h.example/", NoTarget::Password),
            ("https://h.example/#here", NoTarget::Fragment),
            (&long, NoTarget::TooLong),
        ] {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_is_written_down_has_no_path() {
        let target = Target::parse("https://h.example:8443/services/T0/s3cret?key=1").unwrap();
        assert_eq!(target.origin(), "https://h.example:8443");
    }
}
