//! A web server that knows as much of HTTP as the client asks for, and remembers what that was.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    requests: Mutex<Vec<String>>,
}

/// A server on a port of its own. Its thread ends with the test process.
pub(crate) struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let answering = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away in the middle of a file is what some tests are about.
                drop(answer(&answering, stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn serve(&self, path: &str, bytes: Vec<u8>) {
        self.shared.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// The paths asked for so far, as they came over the wire.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn answer(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let found = shared.files.lock().unwrap().get(&path).cloned();
    shared.requests.lock().unwrap().push(path);
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}
