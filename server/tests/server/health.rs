//! What a container engine learns from `--health-check`.

use std::fs;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use waxwing_server::health::{self, Error};

use crate::support::Folder;

#[tokio::test]
async fn a_running_server_is_healthy_and_a_stopped_one_is_not() {
    let folder = Folder::new();
    assert!(matches!(health::check(&folder.config).await, Err(Error::NotRunning(_))));
    let server = folder.start().await;
    health::check(&folder.config).await.unwrap();
    server.running.stop().await;
    assert!(matches!(health::check(&folder.config).await, Err(Error::Silent(_))));
}

#[tokio::test]
async fn only_an_answer_that_says_200_is_healthy() {
    let folder = Folder::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let addresses = ["device", "enrol", "admin", "mqtt", "crl", "ops"]
        .map(|name| format!("\"{name}\":\"{address}\""));
    fs::create_dir_all(folder.data().join("run")).unwrap();
    let file = folder.data().join("run/listeners.json");
    fs::write(file, format!("{{{}}}", addresses.join(","))).unwrap();

    let answer = async |text: &'static str| {
        let (mut stream, _) = socket.accept().await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // A reset would overtake the answer if the request were not read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let check = async |text| tokio::join!(health::check(&folder.config), answer(text)).0;
    check("HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let unwell = check("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    assert!(matches!(unwell, Err(Error::Unwell)), "{unwell:?}");
    let silent = check("").await;
    assert!(matches!(silent, Err(Error::Silent(_))), "{silent:?}");
}
