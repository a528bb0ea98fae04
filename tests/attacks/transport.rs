//! Row 47: heads and bodies without end, compressed bombs, ambiguous lengths, on every listener of
//! the real server, from its own devices and operators as well as from strangers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use waxwing_e2e::ceremony::{PRODUCT, Plan};
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::{Listener, Server};
use waxwing_e2e::world::{FACTORY_VERSION, World};

use crate::identity::routes;
use crate::support::author::hex;

/// The device in whose name the attacks on the device listeners are made.
const DEVICE: &str = "th1-hostile";

/// Attacks of one kind on one route at the same time.
const AT_ONCE: usize = 4;

/// Bytes of a body without end after which a test calls it accepted.
const ENDLESS_BYTES: usize = 64 << 20;

/// Largest growth of the server's peak memory, in KiB: a JSON body of a mebibyte on each connection
/// at once, twice, and what the allocator keeps. A bomb that goes off takes more.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// Prints 256 MiB of nothing, compressed.
const BOMB: &str = "import gzip, sys; sys.stdout.buffer.write(gzip.compress(bytes(256 << 20)))";

/// How long a server may take to hang up.
const HANG_UP: Duration = Duration::from_mins(1);

/// A server with a device that is ill-disposed.
struct Target {
    world: World,
    _folder: TempDir,
    line: Line,
    token: String,
    /// The server's memory before the attacks.
    before_kib: u64,
}

/// Connections to the listeners of a server, in the name of [`DEVICE`].
struct Line {
    addresses: [(Listener, String); 5],
    tls: Arc<ClientConfig>,
}

/// What became of a request.
#[derive(Debug)]
struct Outcome {
    sent: usize,
    answer: String,
}

impl Outcome {
    /// The status of the first answer, if there was any.
    fn status(&self) -> Option<u16> {
        self.answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// How many requests the server saw in what was sent.
    fn answers(&self) -> usize {
        self.answer.matches("HTTP/1.1 ").count()
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Target {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("waxwing-bombs-").tempdir()?;
        let plan = Plan { worthless_keys: true, ..Plan::default() };
        let world = World::create_as(folder.path(), plan)?;
        let factory = world.make_image(FACTORY_VERSION, Behaviour::Work)?;
        world.publish(FACTORY_VERSION, 1, &factory)?;
        let batch = Batch { names: &[DEVICE.to_owned()], ..Batch::default() };
        let fleet = world.start_batch(&batch, &factory)?;
        let token = fs::read_to_string(world.server.token())?.trim().to_owned();
        let line = Line::to(&world.server, &fs::read(fleet.identity(DEVICE))?)?;
        let before_kib = memory_kib(&world.server)?;
        Ok(Self { world, _folder: folder, line, token, before_kib })
    }

    /// Every way in, with the best credentials there are: each route that the server describes and
    /// that its router has, and what is nowhere.
    fn routes(&self) -> Vec<(Listener, String)> {
        let admin = |method: &str, path: &str| {
            let line = format!("{method} {path} HTTP/1.1");
            (Listener::Admin, format!("{line}\r\nauthorization: Bearer {}", self.token))
        };
        let open = |listener, line: &str| (listener, format!("{line} HTTP/1.1"));
        let (_, description) = admin("GET", "/api/v1/openapi.json");
        let end = "host: localhost\r\nconnection: close";
        let text = format!("{description}\r\n{end}\r\n\r\n").into_bytes();
        let answer = self.line.send(Listener::Admin, &mut std::iter::once(text)).unwrap().answer;
        let (_, description) = answer.split_once("\r\n\r\n").unwrap();
        let described = routes::admin(&serde_json::from_str(description).unwrap());
        let described = described.iter().map(|(method, path)| admin(method, path));
        let of_devices = routes::device();
        let of_devices =
            of_devices.flat_map(|path| [format!("GET {path}"), format!("POST {path}")]);
        let rest = [
            open(Listener::Admin, "POST /api/v1/products"),
            open(Listener::Device, "GET /nowhere"),
            open(Listener::Enrol, "POST /.well-known/est/simpleenroll"),
            open(Listener::Enrol, "GET /.well-known/est/cacerts"),
            open(Listener::Ops, "GET /metrics"),
            open(Listener::Ops, "POST /readyz"),
        ];
        let of_devices = of_devices.map(|line| open(Listener::Device, &line));
        described.chain(of_devices).chain(rest).collect()
    }

    /// Attacks every route with what `pieces` makes of the beginning of its head, and judges.
    fn attack(
        &self,
        pieces: impl Fn(&str) -> Box<dyn Iterator<Item = Vec<u8>>> + Sync,
        is_withstood: impl Fn(&Outcome) -> bool + Sync,
    ) {
        let (line, pieces, is_withstood) = (&self.line, &pieces, &is_withstood);
        for (listener, head) in &self.routes() {
            let head = format!("{head}\r\nhost: localhost");
            let head = &head;
            thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(move || {
                        let outcome = line.send(*listener, &mut pieces(head)).unwrap();
                        assert!(is_withstood(&outcome), "{listener:?} {head}: {outcome:?}");
                    });
                }
            });
        }
        self.is_well().unwrap();
    }

    /// The server answers everybody, and has not grown.
    fn is_well(&self) -> Result<()> {
        let ready = self.request(Listener::Ops, "GET /readyz")?;
        ensure!(ready.status() == Some(200), "{ready:?}");
        let known =
            self.request(Listener::Device, "GET /tuf/director/th1-hostile/metadata/1.root.json")?;
        ensure!(known.status() == Some(200), "{known:?}");
        self.world.operator.ask(&["device", "list"])?;
        let grown = memory_kib(&self.world.server)?.saturating_sub(self.before_kib);
        ensure!(grown <= GROWTH_KIB_MAX, "the server has grown by {grown} KiB");
        Ok(())
    }

    fn request(&self, listener: Listener, line: &str) -> Result<Outcome> {
        let text = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.line.send(listener, &mut std::iter::once(text.into_bytes()))
    }
}

impl Line {
    fn to(server: &Server, identity: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.ca())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity)?],
                PrivateKeyDer::from_pem_slice(identity)?,
            )?;
        let listeners =
            [Listener::Admin, Listener::Device, Listener::Enrol, Listener::Mqtt, Listener::Ops];
        let addresses = listeners.map(|one| (one, server.address(one).to_owned()));
        Ok(Self { addresses, tls: Arc::new(tls) })
    }

    fn connect(&self, listener: Listener) -> Result<Box<dyn Stream>> {
        let address = self.addresses.iter().find(|(one, _)| *one == listener);
        let (_, address) = address.context("a server has five listeners")?;
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(HANG_UP))?;
        tcp.set_write_timeout(Some(HANG_UP))?;
        if listener == Listener::Ops {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name)?, tcp)))
    }

    /// Sends pieces until they end or the server hangs up, and reads what it says.
    fn send(
        &self,
        listener: Listener,
        pieces: &mut dyn Iterator<Item = Vec<u8>>,
    ) -> Result<Outcome> {
        let mut stream = self.connect(listener)?;
        let mut sent = 0;
        for piece in pieces {
            match stream.write_all(&piece).and_then(|()| stream.flush()) {
                Ok(()) => sent += piece.len(),
                Err(error) => {
                    ensure!(
                        error.kind() != ErrorKind::WouldBlock,
                        "the server neither reads nor hangs up"
                    );
                    break;
                }
            }
        }
        let mut answer = Vec::new();
        // A server that hangs up while somebody still writes may lose its last words.
        if let Err(error) = stream.read_to_end(&mut answer) {
            ensure!(error.kind() != ErrorKind::WouldBlock, "the server says nothing and stays");
        }
        Ok(Outcome { sent, answer: String::from_utf8_lossy(&answer).into_owned() })
    }
}

/// The most memory that the server ever had, in KiB.
fn memory_kib(server: &Server) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id()?))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(peak.context("the kernel tells the peak")?.trim().parse()?)
}

/// Splits what is sent once or without end into pieces.
fn pieces(
    head: String,
    body: impl Iterator<Item = Vec<u8>> + 'static,
) -> Box<dyn Iterator<Item = Vec<u8>>> {
    Box::new(std::iter::once(head.into_bytes()).chain(body))
}

fn endless() -> impl Iterator<Item = Vec<u8>> {
    const PIECE: usize = 64 << 10;
    std::iter::repeat_n(vec![b' '; PIECE], ENDLESS_BYTES / PIECE)
}

#[test]
fn row_47_heads_without_end_are_refused_on_every_route_and_cost_no_memory() {
    let target = Target::start().unwrap();
    let is_refused = |outcome: &Outcome| matches!(outcome.status(), None | Some(400 | 431));
    // A million fields.
    let fields = |_: usize| b"a: b\r\n".repeat(10_000);
    target.attack(|head| pieces(format!("{head}\r\n"), (0..100).map(fields)), is_refused);
    // One field, or one path, without end.
    target.attack(|head| pieces(format!("{head}\r\na: "), endless()), is_refused);
    let path = |head: &str| head.split(" HTTP").next().unwrap_or_default().to_owned();
    target.attack(
        move |head| {
            let longer = std::iter::repeat_n(vec![b'a'; 64 << 10], 1024);
            pieces(format!("{}/", path(head)), longer)
        },
        |outcome| matches!(outcome.status(), None | Some(400 | 414 | 431)),
    );
}

#[test]
fn row_47_bodies_without_end_are_cut_off_on_every_route_and_cost_no_memory() {
    let target = Target::start().unwrap();
    // Whoever asks for what takes no body is answered, and then hung up on.
    let is_refused = |outcome: &Outcome| outcome.sent < ENDLESS_BYTES && outcome.answers() <= 1;
    let length = "content-length: 1099511627776";
    target.attack(|head| pieces(format!("{head}\r\n{length}\r\n\r\n"), endless()), is_refused);
    let chunk = || {
        endless()
            .map(|bytes| [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat())
    };
    let chunked = "transfer-encoding: chunked";
    target.attack(|head| pieces(format!("{head}\r\n{chunked}\r\n\r\n"), chunk()), is_refused);
}

#[test]
fn row_47_compressed_bodies_are_never_unpacked() {
    let target = Target::start().unwrap();
    let bomb = Command::new("python3").args(["-c", BOMB]).output().unwrap().stdout;
    assert!((100_000..1_000_000).contains(&bomb.len()));
    for encoding in ["content-encoding: gzip", "transfer-encoding: gzip, chunked"] {
        let head = format!("{encoding}\r\ncontent-length: {}", bomb.len());
        let head = if encoding.starts_with("content") { head } else { encoding.to_owned() };
        let body = if encoding.starts_with("content") {
            bomb.clone()
        } else {
            [format!("{:x}\r\n", bomb.len()).as_bytes(), &bomb, b"\r\n0\r\n\r\n"].concat()
        };
        target.attack(
            |start| {
                let head = format!("{start}\r\nconnection: close\r\n{head}\r\n\r\n");
                pieces(head, std::iter::once(body.clone()))
            },
            |outcome| outcome.answers() <= 1,
        );
    }
}

/// Two parsers must not see different requests in the same bytes: what could be read in two ways
/// is refused, and the connection closed.
#[test]
fn row_47_what_could_be_two_requests_is_one_or_none() {
    let target = Target::start().unwrap();
    let hidden = "GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let ambiguous = [
        "content-length: 0\r\ncontent-length: 44",
        "content-length: 0, 44",
        "content-length: +0",
        "content-length: 0x0",
        "content-length : 0",
        "content-length: 99999999999999999999",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\r\n folded: 1",
        "transfer-encoding : chunked",
        "a: b\r\n content-length: 0",
        "a: b\0c",
    ];
    for fields in ambiguous {
        target.attack(
            |head| pieces(format!("{head}\r\n{fields}\r\n\r\n{hidden}"), std::iter::empty()),
            |outcome| outcome.answers() <= 1 && matches!(outcome.status(), None | Some(400)),
        );
    }
    let bad_chunks = ["-1\r\n", "fffffffffffffffff\r\n", "0x0\r\n\r\n", " 0\r\n\r\n"];
    for chunk in bad_chunks {
        let fields = "transfer-encoding: chunked";
        target.attack(
            |head| pieces(format!("{head}\r\n{fields}\r\n\r\n{chunk}{hidden}"), std::iter::empty()),
            |outcome| outcome.answers() <= 1,
        );
    }
}

/// Where a message has two lengths, RFC 9112 (6.3) lets the chunks count. What then follows is a
/// request of its own: it has to bring its own token, whoever put it there.
#[test]
fn row_47_a_request_behind_another_one_has_none_of_its_credentials() {
    let target = Target::start().unwrap();
    let hidden = "0\r\n\r\nGET /api/v1/devices HTTP/1.1\r\nhost: localhost\r\n\
                  connection: close\r\n\r\n";
    let length = format!("content-length: {}", hidden.len());
    let chunked = "transfer-encoding: chunked";
    for fields in [format!("{length}\r\n{chunked}"), format!("{chunked}\r\n{length}")] {
        let text = format!(
            "GET /api/v1/products HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\n{fields}\r\n\r\n{hidden}",
            target.token
        );
        let outcome =
            target.line.send(Listener::Admin, &mut std::iter::once(text.into_bytes())).unwrap();
        let second = outcome.answer.rsplit_once("HTTP/1.1 ").map(|(_, second)| second);
        assert!(
            outcome.answers() <= 1 || second.is_some_and(|second| second.starts_with("401")),
            "{outcome:?}"
        );
        assert!(!outcome.answer.contains(DEVICE), "{outcome:?}");
    }
    target.is_well().unwrap();
}

#[test]
fn row_47_a_packet_of_a_quarter_gigabyte_over_mqtt_ends_at_its_length() {
    let target = Target::start().unwrap();
    for first in [0x10_u8, 0x30, 0x82] {
        let head = vec![first, 0xff, 0xff, 0xff, 0x7f];
        let outcome =
            target.line.send(Listener::Mqtt, &mut std::iter::once(head).chain(endless())).unwrap();
        assert!(outcome.sent < ENDLESS_BYTES, "{first:x}: {}", outcome.sent);
    }
    target.is_well().unwrap();
}

/// A document within its length that says very much in it.
#[test]
fn row_47_an_sbom_of_very_many_components_costs_no_memory() {
    let target = Target::start().unwrap();
    let component = r#"{"type":"library","name":"a"},"#;
    let components = component.repeat((1 << 20) / component.len() - 8);
    let components = components.trim_end_matches(',');
    let head = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":["#;
    let body = format!("{head}{components}]}}");
    let sha256 = hex(&Sha256::digest(&body));
    let (length, token) = (body.len(), &target.token);
    let text = format!(
        "PUT /api/v1/products/{PRODUCT}/documents/{sha256} HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {token}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut once = std::iter::once(text.clone().into_bytes());
                let outcome = target.line.send(Listener::Admin, &mut once).unwrap();
                assert_eq!(outcome.status(), Some(422), "{}", outcome.answer);
            });
        }
    });
    target.is_well().unwrap();
}
