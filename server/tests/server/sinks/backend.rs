//! A back end on a socket, in plain HTTP, that answers each message as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// Far longer than a message takes, also after one that could not be written.
const SOON: Duration = Duration::from_secs(20);

/// A back end.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// The id of each message, and whether it may have been sent before.
    came: UnboundedReceiver<(String, bool)>,
}

impl Backend {
    /// Opens one that answers messages with these statuses, the last of them for ever, and takes all others.
    pub(crate) async fn open(answers: &[(&'static str, &[u16])]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answers = answers.iter().map(|(id, all)| (*id, all.iter().copied().collect()));
        let answers: BTreeMap<_, VecDeque<u16>> = answers.collect();
        let answers = Arc::new(Mutex::new(answers));
        let (say, came) = unbounded_channel();
        let answer = move |headers: HeaderMap| {
            let key = headers["idempotency-key"].to_str().unwrap();
            let id = key.split_once('/').unwrap().1.to_owned();
            let mut answers = answers.lock().unwrap();
            let status = answers.get_mut(&*id).map_or(204, |left| {
                let first = left[0];
                if left.len() > 1 {
                    left.pop_front();
                }
                first
            });
            say.send((id, headers.contains_key("waxwing-redelivered"))).ok();
            std::future::ready(StatusCode::from_u16(status).unwrap())
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { address, came }
    }

    /// Expects a message as the next one.
    pub(crate) async fn expect(&mut self, id: &str, marked: bool) {
        assert_eq!(self.next().await, (id.to_owned(), marked));
    }

    /// Waits for a message, and returns the ids of those that came before it.
    pub(crate) async fn until(&mut self, id: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let (came, _) = self.next().await;
            if came == id {
                return before;
            }
            before.push(came);
        }
    }

    /// Waits for the next message: its id, and whether it may have been sent before.
    pub(crate) async fn next(&mut self) -> (String, bool) {
        timeout(SOON, self.came.recv()).await.expect("nothing came").unwrap()
    }
}
