//! Polls and downloads from servers that answer in every way there is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use waxwing_agent::network::{Clock as _, NoAnswer, Server as _};
use waxwing_agent_net::http::{ANSWER_MAX, RETRY_AFTER_MAX};
use waxwing_agent_net::{Address, Client, Https};
use waxwing_wire::Digest;

use crate::network::Host;
use crate::peer::{Authority, config, serve};

const IMAGE: Digest = Digest([0xab; 32]);
const BUNDLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n";

/// A server that answers each request, on whatever connection, with the next text; without one it
/// hangs up when `None` comes, and says nothing more when there are none left. What it was asked
/// comes out of the channel.
async fn answering(answers: Vec<Option<String>>) -> (Https<Host>, mpsc::UnboundedReceiver<String>) {
    let own = Authority::new();
    let (asked, requests) = mpsc::unbounded_channel();
    let answers = std::sync::Arc::new(tokio::sync::Mutex::new(answers.into_iter()));
    let (address, _server) = serve(config(own.server(|_| ()), None), move |mut stream| {
        let (asked, answers) = (asked.clone(), answers.clone());
        async move {
            loop {
                let mut bytes = vec![0; 4096];
                let Ok(count @ 1..) = stream.read(&mut bytes).await else { return };
                let _ = asked.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
                match answers.lock().await.next() {
                    Some(Some(answer)) => {
                        // The client may have heard enough.
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    Some(None) => {
                        let _ = stream.shutdown().await;
                        return;
                    }
                    None => {}
                }
            }
        }
    })
    .await;
    (https(&Host::new(), address, own.client()), requests)
}

fn https(network: &Rc<Host>, address: Address, client: Rc<Client>) -> Https<Host> {
    Https::new(Rc::clone(network), address, Rc::new(RefCell::new(client)))
}

fn texts(answers: &[&str]) -> Vec<Option<String>> {
    answers.iter().map(|answer| Some((*answer).to_owned())).collect()
}

/// What a poll brings of this answer, after which the server hangs up.
async fn polled(answer: &str) -> Result<Vec<u8>, NoAnswer> {
    let own = Authority::new();
    let answer = answer.to_owned();
    let (address, _server) = serve(config(own.server(|_| ()), None), move |mut stream| {
        let answer = answer.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            // The client may have heard enough.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    https(&Host::new(), address, own.client()).poll("{}").await
}

#[tokio::test]
async fn a_body_ends_after_its_length_or_its_last_chunk() {
    for answer in [
        BUNDLE,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nTB1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\nT\r\n03\r\nB1\n\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nTB1\nmore",
    ] {
        assert_eq!(polled(answer).await, Ok(b"TB1\n".to_vec()), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_whose_end_cannot_be_told_is_none() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let long_head = format!("{ok}x: {}\r\n\r\n", "y".repeat(9000));
    let long_line = format!("{ok}transfer-encoding: chunked\r\n\r\n4;{}\r\n", "y".repeat(300));
    let many = format!("{ok}{}content-length: 4\r\n\r\nTB1\n", "x: y\r\n".repeat(70));
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nTB1\n",
        "HTTP/1.0 200 OK\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +4\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nTB1\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n4\r\nTB1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n4\r\nTB1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nTB1\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nTB1\n\r\n0\r\nx: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nTB1\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nTB1\n",
        "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 100 x\r\n\r\nHTTP/1.1 100 x\r\n\r\nHTTP/1.1 100 x\r\n\r\n",
        "HTTP/2 200\r\ncontent-length: 4\r\n\r\nTB1\n",
        "nonsense\r\n\r\n",
        &long_head,
        &long_line,
        &many,
        "",
    ] {
        let outcome = polled(answer).await;
        assert_eq!(outcome, Err(NoAnswer::Unreachable), "{}", &answer[..answer.len().min(90)]);
    }
}

#[tokio::test]
async fn an_answer_longer_than_the_device_has_room_for_is_none_and_the_next_one_is_taken() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nTB1\n!\r\n0\r\n\r\n";
    for long in ["HTTP/1.1 200 OK\r\ncontent-length: 262144\r\n\r\n", chunked] {
        let (https, _requests) = answering(texts(&[long, BUNDLE])).await;
        let mut https = https.taking_at_most(4);
        assert_eq!(https.poll("1").await, Err(NoAnswer::Stalled), "{long}");
        assert_eq!(https.poll("2").await, Ok(b"TB1\n".to_vec()), "{long}");
    }
}

#[tokio::test]
async fn one_connection_is_enough_and_a_closed_one_is_made_again() {
    let answers = [texts(&[BUNDLE, BUNDLE]), vec![None], texts(&[BUNDLE])].concat();
    let (mut https, _requests) = answering(answers).await;
    for what in ["new", "kept", "closed meanwhile"] {
        assert_eq!(https.poll("{}").await, Ok(b"TB1\n".to_vec()), "{what}");
    }
}

#[tokio::test]
async fn a_busy_server_says_for_how_long_it_wants_to_be_left_alone_within_limits() {
    let busy = |seconds| Err(NoAnswer::Busy(Duration::from_secs(seconds)));
    for (status, header, expected) in [
        (503, "retry-after: 7", busy(7)),
        (429, "Retry-After:  120", busy(120)),
        (503, "retry-after: 99999999", Err(NoAnswer::Busy(RETRY_AFTER_MAX))),
        (503, "retry-after: Fri, 20 Nov 2026 23:00:00 GMT", Err(NoAnswer::Refused(503))),
        (503, "x: y", Err(NoAnswer::Refused(503))),
        (404, "retry-after: 7", Err(NoAnswer::Refused(404))),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 4\r\n{header}\r\n\r\nbusy");
        let (mut https, _requests) = answering(texts(&[&answer, BUNDLE])).await;
        assert_eq!(https.poll("1").await, expected, "{header}");
        assert_eq!(https.poll("2").await, Ok(b"TB1\n".to_vec()), "on the same connection");
    }
}

#[tokio::test]
async fn a_busy_server_begins_no_download_and_says_when() {
    let busy = "HTTP/1.1 503 x\r\ncontent-length: 0\r\nretry-after: 90\r\n\r\n";
    let (mut https, _requests) = answering(texts(&[busy])).await;
    let opened = https.open(&IMAGE, 0).await.unwrap();
    assert_eq!((opened.status, opened.retry_after), (503, Some(Duration::from_secs(90))));
}

#[tokio::test]
async fn a_part_of_another_image_has_no_range_and_the_whole_of_it_is_told() {
    let part = |tag: &str| {
        format!(
            "HTTP/1.1 206 x\r\netag: \"{tag}\"\r\ncontent-range: bytes 2-3/4\r\n\
             content-length: 2\r\n\r\nyz"
        )
    };
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: \"x\"\r\n\r\nwxyz";
    let answers = texts(&[&part(&IMAGE.to_string()), &part("other"), whole]);
    let (mut https, _requests) = answering(answers).await;
    for (status, is_ours) in [(206, true), (206, false), (200, false)] {
        let opened = https.open(&IMAGE, 2).await.unwrap();
        assert_eq!((opened.status, opened.range.is_some()), (status, is_ours));
        let (mut bytes, mut sum) = ([0; 10], 0);
        while let count @ 1.. = https.read(&mut bytes).await.unwrap() {
            sum += u64::try_from(count).unwrap();
        }
        assert_eq!(Some(sum), opened.body_bytes);
    }
}

#[tokio::test]
async fn an_image_in_chunks_is_read_to_its_end() {
    let chunks = "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let (mut https, _requests) = answering(texts(&[&answer, BUNDLE])).await;
    assert_eq!(https.open(&IMAGE, 0).await.unwrap().body_bytes, None);
    let (mut image, mut bytes) = (Vec::new(), [0; 2]);
    while let count @ 1.. = https.read(&mut bytes).await.unwrap() {
        image.extend_from_slice(&bytes[..count]);
    }
    assert_eq!(image, b"abcdefg");
    assert_eq!(https.poll("{}").await, Ok(b"TB1\n".to_vec()));
}

#[tokio::test]
async fn a_download_that_breaks_off_and_one_that_stops_are_told_apart() {
    for (hangs_up, expected) in [(true, NoAnswer::Unreachable), (false, NoAnswer::Stalled)] {
        let own = Authority::new();
        let (address, _server) =
            serve(config(own.server(|_| ()), None), move |mut stream| async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 206 x\r\ncontent-range: bytes 4096-8191/8192\r\n";
                let answer = format!("{head}content-length: 4096\r\n\r\n{}", "x".repeat(1000));
                let _ = stream.write_all(answer.as_bytes()).await;
                if !hangs_up {
                    let _ = stream.read(&mut [0]).await;
                }
                let _ = stream.shutdown().await;
            })
            .await;
        let mut https = https(&Host::new(), address, own.client());
        let opened = https.open(&IMAGE, 4096).await.unwrap();
        assert_eq!(opened.range.map(|range| (range.first, range.length)), Some((4096, 8192)));
        let (mut sum, mut bytes) = (0, [0; 512]);
        while sum < 1000 {
            sum += https.read(&mut bytes).await.unwrap();
        }
        tokio::time::pause();
        assert_eq!(https.read(&mut bytes).await, Err(expected));
        assert_eq!(https.read(&mut bytes).await, Ok(0), "nothing is open any more");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    for half in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nTB"] {
        let (mut https, _requests) = answering(texts(&[BUNDLE, half])).await;
        https.poll("{}").await.unwrap();
        tokio::time::pause();
        let network = Host::new();
        assert_eq!(https.poll("{}").await, Err(NoAnswer::Stalled), "{half}");
        let took = network.now();
        assert!(took <= 2 * ANSWER_MAX + Duration::from_secs(1), "{half}: {took:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_record_longer_than_our_buffer_ends_the_answer() {
    let own = Authority::new();
    let mut config = config(own.server(|_| ()), None);
    config.max_fragment_size = None;
    let (address, _server) = serve(config, |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 8000\r\n\r\n";
        let _ = stream.write_all(format!("{head}{}", "x".repeat(8000)).as_bytes()).await;
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let mut https = https(&Host::new(), address, own.client());
    assert_eq!(https.poll("{}").await, Err(NoAnswer::Unreachable));
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_sees_ours_and_no_other_will_do() {
    let (own, devices) = (Authority::new(), Authority::new());
    let config = config(own.server(|_| ()), Some(&devices));
    let (address, _server) = serve(config, |mut stream| async move {
        let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
        let _ = stream.read(&mut [0; 4096]).await;
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n";
        let _ = stream.write_all(format!("{head}{shown}").as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let network = Host::new();
    for (client, expected) in [
        (own.client_of(&devices), Ok(b"1".to_vec())),
        (own.client(), Err(NoAnswer::Unreachable)),
        (own.client_of(&own), Err(NoAnswer::Unreachable)),
    ] {
        let mut https = https(&network, address.clone(), client);
        assert_eq!(https.poll("{}").await, expected);
    }
}
