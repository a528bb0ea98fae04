//! Rows 17 and 18: answers without end, and answers that hardly come.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use allocation_counter::measure;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use waxwing_agent::download::PACE_WINDOW;
use waxwing_agent::network::{Clock as _, NoAnswer, Server};
use waxwing_agent_host::network::{Https, https};
use waxwing_agent_host::time::Uptime;
use waxwing_agent_net::Address;
use waxwing_wire::Digest;
use waxwing_wire::bundle::{BUNDLE_BYTES_MAX, Bundle, Malformed};

use super::chains::{Authority, Shown};

const IMAGE: Digest = Digest([0xab; 32]);

/// What a server without end would send before a test calls it listened to.
const ENDLESS_BYTES: usize = 64 << 20;

/// Most memory of a simulated device for one answer, in bytes: the longest that it takes, and what
/// TLS and HTTP keep of a connection.
const HEAP_BYTES_MAX: u64 = 1 << 20;

/// Most of it that is left afterwards: a connection that is still open.
const LEFT_BYTES_MAX: i64 = 64 << 10;

const BUNDLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n";

/// A device, and what its server shows.
fn device(port: u16, authority: &Authority) -> Https {
    let address = Address { host: "localhost".into(), port };
    https(address, authority.trust().client(None))
}

fn shown(authority: &Authority) -> Arc<ServerConfig> {
    Shown::config(authority.server(|_| ()))
}

/// A server in a thread of its own, whose memory is not the device's: it answers one request with
/// a head and then with a piece again and again. Tells how much it got rid of.
fn pour(head: &str, piece: &[u8]) -> (Https, JoinHandle<usize>) {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let https = device(listener.local_addr().unwrap().port(), &authority);
    let (config, head, piece) = (shown(&authority), head.to_owned(), piece.to_owned());
    let server = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        while !piece.is_empty() && sent < ENDLESS_BYTES && stream.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        sent
    });
    (https, server)
}

/// Polls in a runtime that ends with the poll, and with it all connections.
fn poll(https: &mut Https) -> Result<Vec<u8>, NoAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(https.poll("{}"))
}

#[test]
fn row_17_an_answer_without_end_stops_at_the_limit_and_leaves_nothing_behind() {
    let piece = vec![b'x'; 16 << 10];
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
    let heads = [
        ("transfer-encoding: chunked".to_owned(), &chunk),
        (format!("content-length: {ENDLESS_BYTES}"), &piece),
        (format!("content-length: {}", u64::MAX - 2), &piece),
    ];
    for (field, piece) in heads {
        let (mut https, server) = pour(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n"), piece);
        let mut outcome = None;
        let cost = measure(|| outcome = Some(poll(&mut https)));
        drop(https);
        assert_eq!(outcome, Some(Err(NoAnswer::Stalled)), "{field}");
        assert!(server.join().unwrap() < ENDLESS_BYTES, "{field}: it was all read");
        assert!(cost.bytes_max <= HEAP_BYTES_MAX, "{field}: {} bytes", cost.bytes_max);
        assert!(cost.bytes_current <= LEFT_BYTES_MAX, "{field}: {} left", cost.bytes_current);
    }
}

#[test]
fn row_17_a_body_that_lies_about_its_length_is_no_answer() {
    for answer in [
        // One chunk that says it has four gigabytes.
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\nTB1\n",
        // More than it sends.
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nTB1\n",
        // Two lengths.
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nTB1\n",
    ] {
        let (mut https, server) = pour(answer, b"");
        let mut outcome = None;
        let cost = measure(|| outcome = Some(poll(&mut https)));
        assert!(outcome.as_ref().unwrap().is_err(), "{answer}: {outcome:?}");
        assert!(cost.bytes_max <= HEAP_BYTES_MAX, "{answer}: {} bytes", cost.bytes_max);
        server.join().unwrap();
    }
    // Less than it sends: the rest is not read.
    let (mut https, server) = pour(&format!("{BUNDLE}and more"), b"");
    assert_eq!(poll(&mut https), Ok(b"TB1\n".to_vec()));
    server.join().unwrap();
}

#[test]
fn row_17_a_frame_that_says_it_has_four_gigabytes_takes_no_memory() {
    let frame = b"TB1\nd\x0etimestamp.json\xff\xff\xff\xff{}";
    let cost = measure(|| assert_eq!(Bundle::parse(frame), Err(Malformed)));
    assert_eq!(cost.bytes_max, 0);
    let long = vec![0; BUNDLE_BYTES_MAX + 1];
    let cost = measure(|| assert_eq!(Bundle::parse(&long), Err(Malformed)));
    assert_eq!(cost.bytes_max, 0);
}

/// Listens, answers one download with its head and then a piece every so often, as long as it is
/// listened to; then one poll.
async fn trickle(
    head: &'static str,
    piece: Vec<u8>,
    every: Duration,
) -> (Https, tokio::task::JoinHandle<()>) {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(shown(&authority));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let https = device(listener.local_addr().unwrap().port(), &authority);
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut ticks = tokio::time::interval(every);
        while stream.write_all(&piece).await.is_ok() && stream.flush().await.is_ok() {
            ticks.tick().await;
        }
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(BUNDLE.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    (https, server)
}

#[tokio::test]
async fn row_18_a_server_that_sends_a_byte_each_second_is_given_up_after_a_minute() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n";
    let (mut https, server) = trickle(head, vec![0x5a], Duration::from_secs(1)).await;
    https.open(&IMAGE, 0).await.unwrap();
    // Time is virtual from here on: it jumps to the next moment at which anybody wants anything.
    tokio::time::pause();
    let uptime = Uptime::start();
    let (mut bytes, mut sum) = ([0; 4096], 0);
    let outcome = loop {
        match https.read(&mut bytes).await {
            Ok(read) if read > 0 => sum += read,
            outcome => break outcome,
        }
    };
    let took = uptime.now();
    assert_eq!(outcome, Err(NoAnswer::Stalled));
    assert!((59..=62).contains(&sum), "{sum} bytes");
    assert!(took <= PACE_WINDOW + Duration::from_secs(1), "{took:?}");
    tokio::time::resume();
    // The device is free for the next poll.
    assert_eq!(https.poll("{}").await, Ok(b"TB1\n".to_vec()));
    server.await.unwrap();
}

#[tokio::test]
async fn row_18_a_server_that_is_just_fast_enough_is_listened_to() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 409600\r\n\r\n";
    let (mut https, server) = trickle(head, vec![0x5a; 2 * 1024], Duration::from_secs(1)).await;
    https.open(&IMAGE, 0).await.unwrap();
    tokio::time::pause();
    let (mut bytes, mut sum) = ([0; 4096], 0);
    while sum < 409_600 {
        sum += https.read(&mut bytes).await.unwrap();
    }
    assert_eq!(https.read(&mut bytes).await, Ok(0));
    server.abort();
}
