//! TLS with a server that may say anything, before and after a device knows it.
//!
//! Whoever sits on the wire agrees on keys with the device, so all of this reaches the parsers of
//! the TLS library, from people who have no key of ours at all.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use waxwing_agent::network::{Clock, Entropy};
use waxwing_agent_net::tls::Connection;
use waxwing_agent_net::{Address, Network, NoConnection, ServerTrust};

use crate::forger::{EXTENSIONS, Forger, certificates};

/// Steps of a script: a byte that says what, and for some a length in two bytes and the bytes.
const SEALED: u8 = 0;
const PLAIN: u8 = 1;
const FINISH: u8 = 2;
const SHOW: u8 = 3;
const PROVE: u8 = 4;
const STEPS: u8 = 5;

/// Who did not show the certificate and prove that it is theirs is no server, and whatever is said
/// ends in bytes or an error.
pub fn check(script: &[u8]) {
    let wire = Rc::new(Wire { script: RefCell::new(script.to_vec()), ..Wire::default() });
    let address = Address { host: "localhost".to_owned(), port: 1 };
    let client = PEER.trust.client(None);
    let Some(Ok(mut connection)) = now(Connection::open(&wire, &address, &client)) else { return };
    assert!(wire.is_honest.get(), "a stranger is believed");
    let mut bytes = [0; 64];
    while let Some(Ok(1..)) = now(connection.read(&mut bytes)) {}
}

/// Runs to the end, or to where it would wait.
fn now<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(work).as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

struct Peer {
    trust: ServerTrust,
    certificate: Vec<u8>,
    key: SigningKey,
}

/// The server, as the device knows it. Always the same keys: what was found is found again.
static PEER: LazyLock<Peer> = LazyLock::new(|| {
    let key =
        |byte| SecretKey::from_slice(&[byte; 32]).expect("a key").to_pkcs8_der().expect("DER");
    let pair = |byte| KeyPair::try_from(key(byte).as_bytes()).expect("a pair");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = params.self_signed(&pair(1)).expect("a certificate");
    let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let server = server.signed_by(&pair(2), &Issuer::new(params, pair(1))).expect("a certificate");
    Peer {
        trust: ServerTrust::from_der(root.der(), 1_793_491_200).expect("a CA"),
        certificate: server.der().to_vec(),
        key: SigningKey::from_pkcs8_der(key(2).as_bytes()).expect("a key"),
    }
});

/// A connection in memory: what the client writes is its greeting, and then of no interest.
#[derive(Default)]
struct Wire {
    script: RefCell<Vec<u8>>,
    written: RefCell<Vec<u8>>,
    incoming: RefCell<Vec<u8>>,
    is_greeted: Cell<bool>,
    is_shown: Cell<bool>,
    is_honest: Cell<bool>,
}

impl Wire {
    /// All that the server says, once it was greeted.
    fn answer(&self) {
        let written = self.written.borrow();
        let Some(hello) = written.get(5..).filter(|hello| !hello.is_empty()) else { return };
        if self.is_greeted.replace(true) {
            return;
        }
        let (mut forger, mut said) = Forger::greet(hello);
        let script = self.script.borrow();
        let mut script = script.as_slice();
        while let Some((step, rest)) = script.split_first() {
            script = rest;
            said.extend(match step % STEPS {
                FINISH => forger.finish(),
                PLAIN => argument(&mut script).to_vec(),
                PROVE => self.prove(&mut forger),
                SEALED => forger.seal(argument(&mut script)),
                SHOW => self.show(&mut forger),
                _ => Vec::new(),
            });
        }
        self.incoming.replace(said);
    }

    /// Anybody can show the server's certificate.
    fn show(&self, forger: &mut Forger) -> Vec<u8> {
        self.is_shown.set(true);
        forger.say(&[&EXTENSIONS, &certificates(&[&PEER.certificate])])
    }

    /// Only the server can prove that it is its own.
    fn prove(&self, forger: &mut Forger) -> Vec<u8> {
        self.is_honest.set(self.is_shown.get());
        let proof = forger.proof(&PEER.key);
        forger.say(&[&proof])
    }
}

/// Takes a length and as many bytes off a script.
fn argument<'s>(script: &mut &'s [u8]) -> &'s [u8] {
    let Some(([high, low], rest)) = script.split_first_chunk() else { return &[] };
    let length = usize::from(u16::from_be_bytes([*high % 16, *low])).min(rest.len());
    let (argument, rest) = rest.split_at(length);
    *script = rest;
    argument
}

struct Side<'w>(&'w Wire);

impl ErrorType for Side<'_> {
    type Error = Infallible;
}

impl Read for Side<'_> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        self.0.answer();
        let mut incoming = self.0.incoming.borrow_mut();
        let count = incoming.len().min(bytes.len());
        bytes[..count].copy_from_slice(&incoming[..count]);
        incoming.drain(..count);
        Ok(count)
    }
}

impl Write for Side<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if !self.0.is_greeted.get() {
            self.0.written.borrow_mut().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Clock for Wire {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl Network for Wire {
    type Stream<'a> = Side<'a>;
    type Entropy = Same;

    async fn connect(&self, _host: &str, _port: u16) -> Result<Side<'_>, NoConnection> {
        Ok(Side(self))
    }

    fn entropy(&self) -> Same {
        Same
    }

    async fn sleep_until(&self, _uptime: Duration) {
        std::future::pending::<()>().await;
    }
}

/// The same numbers always.
struct Same;

impl Entropy for Same {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(5);
    }
}
