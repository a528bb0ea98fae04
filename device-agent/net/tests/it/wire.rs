//! Servers that break the protocol itself: a man in the middle without any certificate, and a server
//! that was taken over and wants its devices to fall over.

use embedded_io_async::Read as _;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use waxwing_agent_net::Address;
use waxwing_agent_net::tls::{Broken, Connection};

use crate::forger::{
    APPLICATION_DATA, EXTENSIONS, Forger, HANDSHAKE, certificates, message, record,
};
use crate::network::Host;
use crate::peer::{Authority, listen};

/// The certificate of the server, and its key.
fn genuine(own: &Authority) -> (CertificateDer<'static>, SigningKey) {
    let shown = own.server(|_| ());
    let key = SigningKey::from_pkcs8_der(shown.key.secret_der()).unwrap();
    (shown.chain[0].clone(), key)
}

/// A forger on a connection. The client may have heard enough at any time.
struct Talk {
    forger: Forger,
    stream: TcpStream,
}

impl Talk {
    async fn greet(mut stream: TcpStream) -> Self {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut hello).await.unwrap();
        let (forger, greeting) = Forger::greet(&hello);
        let mut talk = Self { forger, stream };
        talk.send(&greeting).await;
        talk
    }

    async fn say(&mut self, messages: &[&[u8]]) {
        let record = self.forger.say(messages);
        self.send(&record).await;
    }

    async fn finish(&mut self) {
        let record = self.forger.finish();
        self.send(&record).await;
    }

    async fn seal(&mut self, inside: &[u8]) {
        let record = self.forger.seal(inside);
        self.send(&record).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Listens until the client hangs up.
    async fn until_left(mut self) {
        while matches!(self.stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    }
}

/// Lets a forger talk to one client.
async fn forge<F: Future<Output = ()> + Send>(
    talk: impl FnOnce(Talk) -> F + Send + 'static,
) -> (Address, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let peer = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        talk(Talk::greet(tcp).await).await;
    });
    (address, peer)
}

/// Says all of these, finishes, and tells what a device that trusts this CA makes of it.
async fn opened(
    own: &Authority,
    said: impl FnOnce(&Forger) -> Vec<Vec<u8>> + Send + 'static,
) -> Result<(), Broken> {
    let (address, peer) = forge(async move |mut forger: Talk| {
        forger.say(&[&EXTENSIONS]).await;
        for message in said(&forger.forger) {
            forger.say(&[&message]).await;
        }
        forger.finish().await;
        forger.until_left().await;
    })
    .await;
    let opened = Connection::open(&Host::new(), &address, &own.client()).await;
    peer.abort();
    opened.map(|_| ())
}

#[tokio::test]
async fn a_man_in_the_middle_who_shows_no_certificate_is_a_stranger() {
    let opened = opened(&Authority::new(), |_| Vec::new()).await;
    assert!(matches!(opened, Err(Broken::Stranger)), "{opened:?}");
}

#[tokio::test]
async fn the_servers_certificate_without_proof_of_its_key_proves_nothing() {
    let own = Authority::new();
    let (certificate, key) = genuine(&own);
    let other = SigningKey::from_slice(&[7; 32]).unwrap();
    let chain = certificates(&[&certificate]);
    let (first, again) = (chain.clone(), chain.clone());
    let unproven = opened(&own, move |_| vec![first]).await;
    assert!(matches!(unproven, Err(Broken::Stranger)), "no proof: {unproven:?}");
    let by_another = opened(&own, move |forger| vec![forger.proof(&other)]).await;
    assert!(matches!(by_another, Err(Broken::Stranger)), "proof alone: {by_another:?}");
    let twice = opened(&own, move |_| vec![again.clone(), again]).await;
    assert!(matches!(twice, Err(Broken::Stranger)), "shown twice: {twice:?}");
    // The proof is over what was said before the certificate.
    let early = opened(&own, move |forger| vec![chain, forger.proof(&key)]).await;
    assert!(matches!(early, Err(Broken::Stranger)), "an old proof: {early:?}");
}

/// An honest handshake, and then these records as they are.
async fn after_the_handshake(
    proof_by: Option<SigningKey>,
    then: impl AsyncFnOnce(&mut Talk) + Send + 'static,
) -> Result<Vec<u8>, Broken>
where
{
    let own = Authority::new();
    let (certificate, key) = genuine(&own);
    let key = proof_by.unwrap_or(key);
    let (listener, address) = listen().await;
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut forger = Talk::greet(tcp).await;
        forger.say(&[&EXTENSIONS, &certificates(&[&certificate])]).await;
        let proof = forger.forger.proof(&key);
        forger.say(&[&proof]).await;
        forger.finish().await;
        then(&mut forger).await;
        forger.until_left().await;
    });
    let client = own.client();
    local
        .run_until(async move {
            let mut connection = Connection::open(&Host::new(), &address, &client).await?;
            let mut bytes = [0; 100];
            let count = connection.read(&mut bytes).await?;
            Ok(bytes[..count].to_vec())
        })
        .await
}

#[tokio::test]
async fn an_honest_handshake_of_the_forger_is_taken() {
    let read = after_the_handshake(None, async |forger| forger.seal(b"hello\x17").await).await;
    assert_eq!(read.unwrap(), b"hello", "else these tests show nothing");
    let other = SigningKey::from_slice(&[7; 32]).unwrap();
    let read = after_the_handshake(Some(other), async |_| ()).await;
    assert!(matches!(read, Err(Broken::Stranger)), "{read:?}");
}

#[tokio::test]
async fn tickets_for_later_are_passed_over_whatever_is_in_them() {
    let read = after_the_handshake(None, async |forger| {
        forger.seal(&[&message(4, &[0; 40])[..], &[HANDSHAKE]].concat()).await;
        // It says that it is long, and the message behind it that the handshake is finished.
        forger.seal(&[&[4, 0, 1, 0], &message(20, &[0; 32])[..], &[HANDSHAKE]].concat()).await;
        forger.seal(b"hello\x17\0\0\0").await;
    });
    assert_eq!(read.await.unwrap(), b"hello");
}

#[tokio::test]
async fn records_that_no_server_sends_end_the_connection_and_nothing_else() {
    let sealed: [(&str, &[u8]); 8] = [
        ("nothing", &[]),
        ("nothing but padding", &[0; 20]),
        ("finished once more", &[20, 0, 0, 0, HANDSHAKE]),
        ("a certificate", &[11, 0, 0, 4, 0, 0, 0, 0, HANDSHAKE]),
        ("new keys", &[24, 0, 0, 1, 0, HANDSHAKE]),
        ("an empty message", &[HANDSHAKE]),
        ("an empty alert", &[21]),
        ("of no kind", &[1, 2, 3, 99]),
    ];
    for (what, inside) in sealed {
        let read = after_the_handshake(None, async move |forger| forger.seal(inside).await).await;
        assert!(matches!(read, Err(Broken::Network | Broken::Tls(_))), "{what}: {read:?}");
    }
    for (what, bytes) in [
        ("in the clear: finished", record(HANDSHAKE, &message(20, &[0; 32]))),
        ("in the clear: a request for a certificate", record(HANDSHAKE, &message(13, &[0; 3]))),
        ("in the clear: goodbye", record(21, &[1, 0])),
        ("in the clear: new cipher", record(20, &[1])),
        ("too short", record(APPLICATION_DATA, &[0; 16])),
        ("too long", record(APPLICATION_DATA, &[0; 16_000])[..5].to_vec()),
        ("of another version", [&[APPLICATION_DATA, 3, 4, 0, 20][..], &[0; 20]].concat()),
    ] {
        let read = after_the_handshake(None, async move |forger| forger.send(&bytes).await).await;
        assert!(matches!(read, Err(Broken::Network)), "{what}: {read:?}");
    }
}

#[tokio::test]
async fn records_without_content_end_a_handshake_and_nothing_else() {
    for inside in [&[][..], &[0; 20], &[HANDSHAKE], &[21], &[1, 2, APPLICATION_DATA]] {
        let (address, peer) = forge(async move |mut forger: Talk| {
            forger.seal(inside).await;
            forger.until_left().await;
        })
        .await;
        let opened = Connection::open(&Host::new(), &address, &Authority::new().client()).await;
        peer.abort();
        assert!(matches!(opened, Err(Broken::Tls(_))), "{inside:?}: {opened:?}");
    }
}
