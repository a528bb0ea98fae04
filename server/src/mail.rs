//! E-mail about alerts, by one mail server that the operator names.
//!
//! Protected by TLS, or on this machine. Every header is made of parts that cannot hold a line break, and
//! encoded by [`lettre`]. Not here: what a letter says ([`crate::domain::letter`]), and when it is sent
//! again ([`crate::domain::webhook::delivery`]).

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message, SmtpTransport, Transport as _};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{Config, Mail, MailTls};
use crate::domain::letter::Letter;
use crate::domain::webhook::delivery::{Failure, Outcome};
use crate::logging::Chain;
use crate::setup;

/// The file with the password if the configuration names none.
const PASSWORD_FILE: &str = "smtp-password";

/// Tells other programs that nobody wrote this, so that none answers (RFC 3834, section 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// What sends mail.
pub struct Mailer {
    transport: SmtpTransport,
    from: Address,
    /// The part of message numbers that is ours.
    host: String,
    timeout: Duration,
    /// Whether a thread sends.
    busy: Arc<AtomicBool>,
}

/// The right to send, which one thread has at a time, until it is dropped: a mail server that answers byte by
/// byte keeps a thread for as long as it likes, and never a second one.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(busy: &Arc<AtomicBool>) -> Option<Self> {
        let is_free = !busy.swap(true, Ordering::AcqRel);
        is_free.then(|| Self(Arc::clone(busy)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Mailer {
    /// Prepares to send; nothing without a mail server.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file that the configuration names cannot be used.
    pub fn new(config: &Config) -> Result<Option<Self>, Error> {
        let mail = &config.mail;
        let Some(server) = &mail.server else { return Ok(None) };
        let name = client_id(config);
        let host = name.to_string();
        let mut transport = SmtpTransport::builder_dangerous(server)
            .port(mail.port)
            .hello_name(name)
            .timeout(Some(Duration::from_secs(mail.timeout_s)))
            .tls(tls(server, mail)?);
        if let Some(username) = &mail.username {
            transport =
                transport.credentials(Credentials::new(username.clone(), password(config)?));
        }
        let from = mail.from.parse().map_err(|_| Error::Address)?;
        let timeout = Duration::from_secs(mail.timeout_s);
        let busy = Arc::default();
        Ok(Some(Self { transport: transport.build(), from, host, timeout, busy }))
    }

    /// Sends a letter once; not while an earlier one, for which nobody waits any more, still hangs.
    pub async fn send(&self, letter: &Letter, to: &str) -> Outcome {
        let Ok(message) = self.message(letter, to) else {
            return Outcome::Failed(Failure::AddressRefused);
        };
        let Some(turn) = Turn::take(&self.busy) else {
            tracing::warn!("the mail server still hangs with an earlier message");
            return Outcome::Failed(Failure::TimedOut);
        };
        let transport = self.transport.clone();
        let sending = spawn_blocking(move || {
            let sent = transport.send(&message);
            drop(turn);
            sent
        });
        let sent = timeout(self.timeout, sending);
        match sent.await {
            Ok(Ok(Ok(response))) => Outcome::Replied(response.code().into()),
            Ok(Ok(Err(error))) => failed(&error),
            Ok(Err(_)) => Outcome::Failed(Failure::NotReached),
            // Its thread ends when the mail server is silent for as long, or hangs up.
            Err(_) => Outcome::Failed(Failure::TimedOut),
        }
    }

    /// Writes a letter down as RFC 5322 has it.
    fn message(&self, letter: &Letter, to: &str) -> Result<Message, Error> {
        let to: Address = to.parse().map_err(|_| Error::Address)?;
        let sent_at = UNIX_EPOCH + Duration::from_millis(letter.at);
        let mut message = Message::builder()
            .from(self.from.clone().into())
            .to(to.into())
            .date(sent_at)
            .message_id(Some(format!("<{}@{}>", letter.id, self.host)))
            .subject(one_line(&letter.subject))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body.clone())
            .map_err(Error::Message)?;
        let automatic = HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned());
        message.headers_mut().insert_raw(automatic);
        Ok(message)
    }
}

/// Returns what this server calls itself (RFC 5321, section 4.1.3).
fn client_id(config: &Config) -> ClientId {
    let name = config.server_names.first().map_or("localhost", String::as_str);
    match name.parse() {
        Ok(IpAddr::V4(address)) => ClientId::Ipv4(address),
        Ok(IpAddr::V6(address)) => ClientId::Ipv6(address),
        Err(_) => ClientId::Domain(name.to_owned()),
    }
}

/// Leaves out what ends a line, whoever wrote it.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn tls(server: &str, mail: &Mail) -> Result<Tls, Error> {
    let parameters = || {
        let mut parameters = TlsParameters::builder(server.to_owned());
        if let Some(path) = &mail.ca_file {
            let unread = |source| Error::Read { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(unread)?;
            let certificates = Certificate::from_pem(&pem).map_err(Error::Tls)?;
            parameters = parameters
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificates);
        }
        parameters.build_rustls().map_err(Error::Tls)
    };
    Ok(match mail.tls {
        MailTls::Starttls => Tls::Required(parameters()?),
        MailTls::Tls => Tls::Wrapper(parameters()?),
        MailTls::UnsafeLoopback => Tls::None,
    })
}

/// Reads the password, which nobody but the owner may read.
fn password(config: &Config) -> Result<String, Error> {
    let named = config.mail.password_file.clone();
    let path = named.unwrap_or_else(|| config.secrets_dir().join(PASSWORD_FILE));
    let bytes = setup::read_secret(&path)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Password { path })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn failed(error: &lettre::transport::smtp::Error) -> Outcome {
    tracing::warn!(error = %Chain(error), "the mail server did not take a message");
    match error.status() {
        Some(code) => Outcome::Replied(code.into()),
        None if error.is_timeout() => Outcome::Failed(Failure::TimedOut),
        None => Outcome::Failed(Failure::NotReached),
    }
}

/// Why no mail can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no mail address.
    #[error("no mail address (configuration keys `mail.from` and `mail.to`)")]
    Address,
    /// The letter cannot be written down.
    #[error("the letter cannot be written down")]
    Message(#[source] lettre::error::Error),
    /// The password is not text.
    #[error("{path}: the password is not UTF-8 (configuration key `mail.password_file`)")]
    Password {
        /// The file.
        path: PathBuf,
    },
    /// The file of authorities cannot be read.
    #[error("{path}: cannot be read (configuration key `mail.ca_file`)")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the password cannot be used.
    #[error(transparent)]
    Secret(#[from] setup::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS for mail; name authorities in `mail.ca_file`")]
    Tls(#[source] lettre::transport::smtp::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer() -> Mailer {
        let mail = Mail {
            server: Some("localhost".to_owned()),
            tls: MailTls::UnsafeLoopback,
            from: "waxwing@updates.example".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ..Mail::default()
        };
        Mailer::new(&Config { mail, ..Config::default() }).unwrap().unwrap()
    }

    fn letter(subject: &str, body: &str) -> Letter {
        let (id, subject) = ("msg_1".to_owned(), subject.to_owned());
        Letter { id, at: 1_795_167_000_000, subject, body: body.to_owned() }
    }

    #[test]
    fn nothing_that_anybody_writes_becomes_a_header_or_a_recipient() {
        let mailer = mailer();
        let usual = mailer.message(&letter("a", "b\n"), "ops@example.com").unwrap();
        let headers = |message: &Message| {
            let text = String::from_utf8(message.formatted()).unwrap();
            let head = text.split("\r\n\r\n").next().unwrap().to_owned();
            let names = head.split("\r\n").filter(|line| !line.starts_with(' '));
            names.map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for subject in
            ["a\r\nBcc: eve@example.com", "a\nX: y\n\nbody", "a\r\n\r\nbody", "\u{f6}\r\nX: y"]
        {
            let message = mailer.message(&letter(subject, "b\n"), "ops@example.com").unwrap();
            assert_eq!(headers(&message), headers(&usual), "{subject:?}");
            assert_eq!(message.envelope().to().len(), 1);
        }
        assert!(headers(&usual).contains(&"Auto-Submitted".to_owned()));
        for to in
            ["ops@example.com\r\nBcc: eve@example.com", "ops@example.com>,<eve@example.com", ""]
        {
            assert!(mailer.message(&letter("a", "b\n"), to).is_err(), "{to:?}");
        }
    }

    #[test]
    fn one_thread_sends_at_a_time_and_its_turn_ends_also_by_a_panic() {
        let busy = Arc::default();
        let turn = Turn::take(&busy).unwrap();
        assert!(Turn::take(&busy).is_none());
        drop(turn);
        let turn = Turn::take(&busy).unwrap();
        let panics = std::thread::spawn(move || {
            let _turn = turn;
            panic!("on purpose");
        });
        assert!(panics.join().is_err());
        assert!(Turn::take(&busy).is_some());
    }

    #[test]
    fn without_a_mail_server_there_is_no_mailer() {
        assert!(Mailer::new(&Config::default()).unwrap().is_none());
    }
}
