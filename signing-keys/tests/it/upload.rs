//! Publishing to a server: a small one that writes down what it was sent, behind real TLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Bundle, Kind};

use crate::common::{Ceremony, Ran, STABLE};

#[test]
fn images_are_uploaded_before_the_metadata_that_lists_them() {
    let ceremony = Ceremony::signed();
    let server = Server::start(&ceremony, |_| NO_CONTENT.to_owned());
    publish(&ceremony, server.address).good();
    let image = ceremony.bytes("1.0.0.bin");
    let request = server.requests.recv().unwrap();
    assert_eq!(request.line, "GET /api/v1/products/acme-th1 HTTP/1.1");
    let request = server.requests.recv().unwrap();
    let hash = Digest(Sha256::digest(&image).into());
    assert_eq!(request.line, format!("PUT /api/v1/products/acme-th1/images/{hash} HTTP/1.1"));
    assert_eq!(request.authorization, "Bearer operator-token");
    assert_eq!(request.body, image);
    let request = server.requests.recv().unwrap();
    assert_eq!(request.line, "POST /api/v1/products/acme-th1/metadata HTTP/1.1");
    let bundle = Bundle::parse(&request.body).unwrap();
    let names: Vec<_> = bundle.names(Kind::Image).collect();
    let expected = [
        "1.root.json",
        "1.acme-th1-stable.json",
        "1.snapshot.json",
        "1.targets.json",
        "timestamp.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(bundle.frames.len(), expected.len());
}

#[test]
fn a_refusal_is_shown_with_its_reason_and_code() {
    let ceremony = Ceremony::signed();
    let server = Server::start(&ceremony, |request| {
        if !request.line.starts_with("POST") {
            return NO_CONTENT.to_owned();
        }
        let problem = r#"{"type":"about:blank","title":"Conflict","status":409,
            "code":"metadata_old","detail":"Version 7 is stored.\u001b[2J Publish it.","field":"x"}"#;
        format!(
            "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{problem}",
            problem.len()
        )
    });
    let refused = publish(&ceremony, server.address);
    refused.refused("409 Conflict: x: Version 7 is stored. [2J Publish it. [metadata_old]");
}

#[test]
fn what_a_server_refused_may_be_changed_and_keeps_its_version() {
    let ceremony = Ceremony::published();
    let before = ceremony.bytes("acme-th1/metadata/timestamp.json");
    ceremony.define("1.1.0", "stable", 1);
    ceremony.image("1.1.0.bin", "1.1.0", 0);
    ceremony.add("1.1.0").good();
    ceremony.sign(STABLE, "ar").good();
    ceremony.sign(STABLE, "br").good();
    let server = Server::start(&ceremony, |request| {
        let answer = if request.line.starts_with("POST") { REFUSED } else { NO_CONTENT };
        answer.to_owned()
    });
    publish(&ceremony, server.address).refused("422 Unprocessable");
    assert_eq!(ceremony.bytes("acme-th1/metadata/timestamp.json"), before);
    let remove = ["release", "remove", "--dir", "acme-th1", "--role", "acme-th1-stable"];
    ceremony.run(&[&remove[..], &["acme-th1/stable/1.1.0/esp32c3.bin"]].concat()).good();
    ceremony.sign(STABLE, "ar").good();
    ceremony.sign(STABLE, "br").good();
    let server = Server::start(&ceremony, |_| NO_CONTENT.to_owned());
    publish(&ceremony, server.address).good();
    let last = server.requests.iter().find(|request| request.line.starts_with("POST")).unwrap();
    let bundle = Bundle::parse(&last.body).unwrap();
    let names: Vec<_> = bundle.names(Kind::Image).collect();
    assert!(names.contains(&"2.acme-th1-stable.json") && names.contains(&"2.snapshot.json"));
}

#[test]
fn an_answer_that_got_lost_is_asked_for_again_with_the_same_bytes() {
    let ceremony = Ceremony::signed();
    let server = Server::start(&ceremony, |request| {
        let answer = if request.line.starts_with("POST") { "" } else { NO_CONTENT };
        answer.to_owned()
    });
    publish(&ceremony, server.address).refused("the server could not be reached");
    let staged = ceremony.bytes("acme-th1/metadata/next.timestamp.json");
    let server = Server::start(&ceremony, |_| NO_CONTENT.to_owned());
    publish(&ceremony, server.address).good();
    assert_eq!(ceremony.bytes("acme-th1/metadata/timestamp.json"), staged);
    assert!(!ceremony.path("acme-th1/metadata/next.timestamp.json").exists());
}

#[test]
fn a_server_with_another_ca_gets_neither_token_nor_image() {
    let ceremony = Ceremony::signed();
    let server = Server::start(&ceremony, |_| NO_CONTENT.to_owned());
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    ceremony.write("ca.pem", stranger.cert.pem());
    publish(&ceremony, server.address).refused("the server could not be reached");
    assert!(server.requests.try_recv().is_err());
}

#[test]
fn addresses_without_tls_are_refused() {
    let ceremony = Ceremony::published();
    ceremony.write("token", "operator-token\n");
    let ca = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    ceremony.write("ca.pem", ca.cert.pem());
    for address in ["http://localhost:8445", "localhost:8445", "file:///etc"] {
        let refused = publish_to(&ceremony, address);
        refused.refused("is no address of the form https://host:8445");
    }
}

#[test]
fn a_ca_or_token_that_cannot_be_used_is_named() {
    let ceremony = Ceremony::published();
    let ca = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (pem, token, reason) in [
        ("no certificate".to_owned(), "operator-token", "--server-ca"),
        (ca.cert.pem(), "\n", "the token file does not hold a token"),
        (ca.cert.pem(), "two\nlines", "the token file does not hold a token"),
    ] {
        ceremony.write("ca.pem", pem);
        ceremony.write("token", token);
        publish_to(&ceremony, "https://localhost:1").refused(reason);
    }
}

#[test]
fn a_server_that_is_not_there_is_named_before_anything_is_sent() {
    let ceremony = Ceremony::published();
    let ca = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    ceremony.write("ca.pem", ca.cert.pem());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    publish(&ceremony, nobody).refused("Connection refused");
}

const REFUSED: &str = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 0\r\n\
                       connection: close\r\n\r\n";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

fn publish(ceremony: &Ceremony, address: SocketAddr) -> Ran {
    ceremony.write("token", "operator-token\n");
    publish_to(ceremony, &format!("https://localhost:{}", address.port()))
}

fn publish_to(ceremony: &Ceremony, address: &str) -> Ran {
    ceremony.publish(&["--server", address, "--server-ca", "ca.pem", "--token-file", "token"])
}

struct Request {
    line: String,
    authorization: String,
    body: Vec<u8>,
}

struct Server {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Server {
    /// Answers one request per connection; writes its certificate to `ca.pem`.
    fn start(ceremony: &Ceremony, answer: fn(&Request) -> String) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        ceremony.write("ca.pem", cert.pem());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                // A client that does not trust us goes away.
                let Some(request) = read(&mut stream) else { continue };
                let _ = stream.write_all(answer(&request).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
                if send.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }
}

fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut authorization),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: line.trim_end().to_owned(), authorization, body })
}
