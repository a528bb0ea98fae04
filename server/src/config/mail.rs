//! By whom e-mail about alerts is sent, and to whom.

use std::net::IpAddr;
use std::path::PathBuf;

use lettre::Address;
use serde::{Deserialize, Serialize};

use super::{ConfigError, check};

/// Most recipients: each of them is a row for each message. A list of people is the mail server's matter.
const RECIPIENTS_MAX: usize = 32;

/// Longest time in seconds that a mail server has: what comes after it waits meanwhile.
const TIMEOUT_S_MAX: u64 = 300;

/// E-mail about alerts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// Name or address of the mail server. Without it no mail is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// PEM file of the certificate authorities that sign the mail server's certificate. Default: those of
    /// the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Who sends.
    pub from: String,
    /// Who is told, 32 at most.
    pub to: Vec<String>,
    /// The name to log in with, if the mail server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file with the password, for its owner only. Default: `smtp-password` in `secrets_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Seconds that the mail server has for one message, connection included.
    pub timeout_s: u64,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// Not at all: only for a mail server on this machine.
    UnsafeLoopback,
    /// By TLS, after a first word in plain text (RFC 3207); nothing is sent without. Port 587.
    Starttls,
    /// By TLS from the beginning (RFC 8314). Port 465.
    Tls,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            server: None,
            port: 587,
            tls: MailTls::Starttls,
            ca_file: None,
            from: String::new(),
            to: Vec::new(),
            username: None,
            password_file: None,
            timeout_s: 30,
        }
    }
}

impl Mail {
    /// Returns who is told: nobody without a mail server.
    pub fn recipients(&self) -> &[String] {
        if self.server.is_some() { &self.to } else { &[] }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(server) = &self.server else { return Ok(()) };
        let is_address = |text: &String| text.is_ascii() && text.parse::<Address>().is_ok();
        check(
            is_address(&self.from),
            "mail.from",
            "must be a mail address such as ops@example.com",
        )?;
        let is_some = (1..=RECIPIENTS_MAX).contains(&self.to.len());
        check(is_some, "mail.to", "must hold 1 to 32 mail addresses")?;
        check(self.to.iter().all(is_address), "mail.to", "must hold mail addresses only")?;
        let is_protected = self.tls != MailTls::UnsafeLoopback || is_loopback(server);
        let rule = "may be `unsafe_loopback` only if `mail.server` is localhost, 127.0.0.1 or ::1";
        check(is_protected, "mail.tls", rule)?;
        let is_named = self.username.is_some() || self.password_file.is_none();
        check(is_named, "mail.password_file", "needs a `mail.username`")?;
        let is_short = (1..=TIMEOUT_S_MAX).contains(&self.timeout_s);
        check(is_short, "mail.timeout_s", "must be 1 to 300")
    }
}

fn is_loopback(server: &str) -> bool {
    let is_address = server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || server == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            server: Some("smtp.example".to_owned()),
            from: "waxwing@example.com".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ..Mail::default()
        }
    }

    #[track_caller]
    fn refused(mail: &Mail, key: &str) {
        let message = mail.check().unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }

    #[test]
    fn a_connection_without_tls_stays_on_this_machine() {
        let plain = Mail { tls: MailTls::UnsafeLoopback, ..mail() };
        refused(&plain, "mail.tls");
        for server in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            let local = Mail { server: Some(server.to_owned()), ..plain.clone() };
            assert!(local.check().is_ok(), "{server}");
        }
        for server in ["localhost.example", "10.0.0.1", "::", "0.0.0.0"] {
            refused(&Mail { server: Some(server.to_owned()), ..plain.clone() }, "mail.tls");
        }
    }

    #[test]
    fn an_address_that_could_add_a_header_or_a_command_is_no_address() {
        for text in [
            "",
            "ops",
            "ops@example.com\r\nBcc: eve@example.com",
            "ops@example.com>\r\nRCPT TO:<eve@example.com",
            "Ops <ops@example.com>",
            "ops@example.com, eve@example.com",
            "\u{f6}ps@example.com",
        ] {
            refused(&Mail { to: vec![text.to_owned()], ..mail() }, "mail.to");
            refused(&Mail { from: text.to_owned(), ..mail() }, "mail.from");
        }
    }

    #[test]
    fn without_a_mail_server_nothing_else_matters() {
        assert!(Mail::default().check().is_ok());
        assert!(mail().check().is_ok());
        refused(&Mail { to: Vec::new(), ..mail() }, "mail.to");
        refused(&Mail { to: vec!["a@b.example".to_owned(); 33], ..mail() }, "mail.to");
        refused(&Mail { timeout_s: 0, ..mail() }, "mail.timeout_s");
        refused(&Mail { password_file: Some("p".into()), ..mail() }, "mail.password_file");
    }
}
