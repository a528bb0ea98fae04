//! Polls and downloads over real sockets and TLS, against servers that behave. Servers that do not are
//! rows 17, 18 and 41 of `tests/attacks`.

use waxwing_agent::download::ContentRange;
use waxwing_agent::network::{NoAnswer, Server};
use waxwing_wire::Digest;
use waxwing_wire::bundle::BUNDLE_BYTES_MAX;

use crate::listener::listen;

const IMAGE: Digest = Digest([0xab; 32]);

#[tokio::test]
async fn a_poll_brings_back_the_body() {
    let (mut https, server) = listen(&["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n"]).await;
    assert_eq!(https.poll("{\"nonce\":1}").await, Ok(b"TB1\n".to_vec()));
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /v1/poll HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"nonce\":1}"), "{request}");
}

#[tokio::test]
async fn an_answer_that_is_no_bundle_is_no_answer() {
    let unavailable = "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n";
    let (mut https, _server) = listen(&[unavailable]).await;
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Refused(503)));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let length = BUNDLE_BYTES_MAX + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let (mut https, _server) = listen(&[&(head + &"x".repeat(length))]).await;
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Stalled));
}

#[tokio::test]
async fn a_resumed_download_names_the_image_and_reads_to_its_end() {
    let answer =
        "HTTP/1.1 206 x\r\ncontent-length: 3\r\ncontent-range: bytes 4096-4098/4099\r\n\r\n";
    let (mut https, server) = listen(&[&format!("{answer}xyz")]).await;
    let opened = https.open(&IMAGE, 4096).await.unwrap();
    assert_eq!((opened.status, opened.body_bytes), (206, Some(3)));
    assert_eq!(opened.range, Some(ContentRange { first: 4096, last: 4098, length: 4099 }));
    let mut bytes = [0; 2];
    assert_eq!(https.read(&mut bytes).await, Ok(2));
    assert_eq!(https.read(&mut bytes).await, Ok(1));
    assert_eq!(https.read(&mut bytes).await, Ok(0));
    let request = server.await.unwrap();
    assert!(request.starts_with(&format!("GET /v1/images/{IMAGE} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("range: bytes=4096-\r\n"), "{request}");
    assert!(request.contains(&format!("if-range: \"{IMAGE}\"\r\n")), "{request}");
}

#[tokio::test]
async fn a_download_that_breaks_off_says_so() {
    let (mut https, _server) =
        listen(&["HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this"]).await;
    https.open(&IMAGE, 0).await.unwrap();
    let mut bytes = [0; 2000];
    let mut outcome = https.read(&mut bytes).await;
    while matches!(outcome, Ok(read) if read > 0) {
        outcome = https.read(&mut bytes).await;
    }
    assert_eq!(outcome, Err(NoAnswer::Unreachable));
}

#[tokio::test]
async fn a_poll_after_a_download_does_not_read_what_is_left_of_it() {
    let image = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nnot all of it";
    let bundle = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n";
    let (mut https, _server) = listen(&[image, bundle]).await;
    https.open(&IMAGE, 0).await.unwrap();
    assert_eq!(https.poll("{}").await, Ok(b"TB1\n".to_vec()));
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let (mut https, server) = listen(&[]).await;
    server.await.unwrap();
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Unreachable));
}
