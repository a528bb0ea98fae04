//! Another process that takes messages from the broker, for the server that stores them.
//!
//! It asks the database with what a device signs now, checks fields, sender, age and signature, which is
//! most of the work, and hands over what is genuine with what made the signature. What is not, it hands
//! over as well: the server finds the same, counts it and raises alerts. Ids are known in one place, the
//! server's message log, so that a copy is known whichever process it comes through.
//!
//! Both run on one machine for one user: they meet at a socket in the data folder, which nobody else can
//! enter. Not here: effects of messages, commands.

mod frame;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use self::frame::Frame;
use super::files::socket;
use super::link::Link;
use super::packets::WINDOW_MAX;
use super::worker::Worker;
use super::{Fate, Taker, Taking, fate, kept_s, section};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::ingest::Way;
use crate::ingest::check::check;
use crate::logging::Chain;
use crate::message_secrets::Vault;
use crate::setup::{self, Identity};
use crate::store::{self, Store, keys};

/// Most processes that hand messages over: one for each core of a large machine.
const INTAKES_MAX: usize = 64;

/// How long a process waits for a server that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the socket.
pub(super) fn bind(config: &Config) -> Result<UnixListener, super::Error> {
    let path = socket(config);
    let bind = || {
        // Of a server before: the data folder is this one's alone.
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(&path)
    };
    let folder = path.parent().map_or(Ok(()), setup::make_folder);
    folder
        .map_err(io::Error::other)
        .and_then(|()| bind())
        .map_err(|source| super::Error::Socket { path: path.clone(), source })
}

/// Takes what other processes hand over, until the server ends.
pub(super) async fn serve(app: Arc<App>, socket: UnixListener, end: CancellationToken) {
    end.run_until_cancelled(async {
        let mut intakes = JoinSet::new();
        loop {
            tokio::select! {
                accepted = socket.accept(), if intakes.len() < INTAKES_MAX => match accepted {
                    Ok((stream, _)) => drop(intakes.spawn(attend(Arc::clone(&app), stream))),
                    Err(error) => {
                        tracing::error!(%error, "an intake cannot be let in");
                        sleep(PAUSE).await;
                    }
                },
                Some(_) = intakes.join_next() => {}
            }
        }
    })
    .await;
}

/// Takes what one process hands over, and answers in the same order.
async fn attend(app: Arc<App>, stream: UnixStream) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let (mut buffer, mut taking) = (BytesMut::new(), FuturesOrdered::new());
    loop {
        tokio::select! {
            biased;
            Some(fate) = taking.next() => write.write_u8(frame::answer(fate)).await?,
            count = read.read_buf(&mut buffer), if taking.len() < usize::from(WINDOW_MAX) => {
                if count? == 0 {
                    return Ok(());
                }
                while let Some(frame) = Frame::cut(&mut buffer)? {
                    taking.push_back(take(&app, frame));
                }
            }
        }
    }
}

async fn take(app: &App, frame: Frame) -> Fate {
    let Frame { device, kind, signed_by, payload } = frame;
    app.metrics.broker().handed_over();
    let kept_s = kept_s(app);
    let way = match &signed_by {
        Some(signed_by) => Way::Vouched { kept_s, signed_by },
        None => Way::Broker { kept_s },
    };
    fate(&app.take_in_by(way, &device, kind, &payload).await)
}

/// Takes messages from the broker and hands them over, until `ended`.
///
/// # Errors
///
/// [`Error`] says what cannot be used.
pub async fn run(
    config: &Config,
    clock: Arc<dyn Clock>,
    ended: impl Future<Output = ()>,
) -> Result<(), Error> {
    let section = section(config)?;
    let vault = Identity::load(config)?.vault;
    let store = Store::open(&config.data_dir.join("waxwing.db")).await?;
    let (to, jobs) = mpsc::channel(usize::from(WINDOW_MAX));
    let checker = Checker { store, vault, clock, kept_s: section.kept_s, to };
    let worker = Worker::new(Link::new(section)?, Arc::new(checker));
    let end = CancellationToken::new();
    tokio::select! {
        () = ended => end.cancel(),
        () = worker.run(end.clone()) => {}
        () = hand_over(config, jobs) => {}
    }
    Ok(())
}

/// A message that was checked, and where the answer goes.
type Job = (Vec<u8>, oneshot::Sender<Fate>);

/// Checks messages.
struct Checker {
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
    kept_s: u64,
    to: mpsc::Sender<Job>,
}

impl Taker for Checker {
    fn take(self: Arc<Self>, device: DeviceId, kind: Kind, payload: Bytes) -> Taking {
        Box::pin(async move {
            let signed_by = match self.signed_by(&device, kind, &payload).await {
                Ok(signed_by) => signed_by,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "messages cannot be checked");
                    return Fate::Again;
                }
            };
            self.forward(&Frame { device, kind, signed_by, payload }).await
        })
    }
}

impl Checker {
    /// Returns what made the signature of a message; nothing if it is not genuine.
    async fn signed_by(
        &self,
        device: &DeviceId,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Option<String>, store::Error> {
        let keys = keys::of_device(&self.store, device).await?;
        let (way, now_ms) = (Way::Broker { kept_s: self.kept_s }, self.clock.now_ms());
        let checked = check(&self.vault, device, || keys, (kind, payload), way, now_ms);
        Ok(checked.ok().map(|genuine| genuine.signed_by))
    }

    async fn forward(&self, frame: &Frame) -> Fate {
        let (answer, answered) = oneshot::channel();
        let Some(bytes) = frame.encode() else { return Fate::Done };
        if self.to.send((bytes, answer)).await.is_err() {
            return Fate::Again;
        }
        // Without an answer nobody knows whether it is stored.
        answered.await.unwrap_or(Fate::Again)
    }
}

/// Hands messages over to the server, whenever it is there.
async fn hand_over(config: &Config, mut jobs: mpsc::Receiver<Job>) {
    loop {
        let ended = match UnixStream::connect(socket(config)).await {
            Ok(stream) => carry(stream, &mut jobs).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        tracing::warn!(%error, "the server is away");
        // Whoever waits for an answer learns that there is none.
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = async { while jobs.recv().await.is_some() {} } => return,
        }
    }
}

/// Carries messages there and answers back; ends with an error, or when nobody has messages any more.
async fn carry(stream: UnixStream, jobs: &mut mpsc::Receiver<Job>) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let mut waiting: VecDeque<oneshot::Sender<Fate>> = VecDeque::new();
    loop {
        tokio::select! {
            answer = read.read_u8() => {
                let fate = frame::fate(answer?)?;
                let asked = waiting.pop_front().ok_or_else(frame::broken)?;
                // Whoever asked may be gone.
                let _ = asked.send(fate);
            }
            job = jobs.recv() => {
                let Some((bytes, answer)) = job else { return Ok(()) };
                waiting.push_back(answer);
                write.write_all(&bytes).await?;
            }
        }
    }
}

/// An intake cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] super::Error),
    /// The server's keys cannot be read: it has to have run once.
    #[error(transparent)]
    Identity(#[from] setup::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
}
