//! A hostile gateway: it stands before the real one and changes what it carries.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use waxwing_e2e::process::PATIENCE;
use waxwing_wire::frame::{Decoder, Down, Frame, Outcome, Up};

/// What it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Attack {
    /// A bit of each answer to a poll is another one.
    ChangeAnswers,
    /// A bit of each piece of firmware is another one.
    ChangeFirmware,
    /// What the sensor says, it says otherwise; and it is told that all is well.
    ChangeMessages,
    /// Half of each answer is missing.
    CutAnswers,
    /// Nothing.
    None,
    /// The first answer it saw, again and again.
    ReplayAnswers,
    /// Another image comes in place of the one that was asked for.
    SubstituteFirmware(Vec<u8>),
}

/// A hostile gateway.
pub(super) struct Hostile {
    /// Where sensors find it.
    pub(super) address: String,
    plan: Arc<Mutex<Plan>>,
    attacks: Receiver<()>,
}

struct Plan {
    attack: Attack,
    /// The first answer it saw.
    first: Option<Vec<u8>>,
    done: Sender<()>,
}

impl Hostile {
    /// Stands before a gateway.
    pub(super) fn before(gateway: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (done, attacks) = mpsc::channel();
        let plan = Arc::new(Mutex::new(Plan { attack: Attack::None, first: None, done }));
        let (gateway, shared) = (gateway.to_owned(), Arc::clone(&plan));
        thread::spawn(move || {
            for sensor in listener.incoming().map_while(io::Result::ok) {
                let (gateway, plan) = (gateway.clone(), Arc::clone(&shared));
                // Ends with the link.
                thread::spawn(move || carry(sensor, &gateway, &plan));
            }
        });
        Ok(Self { address, plan, attacks })
    }

    pub(super) fn attack(&self, attack: Attack) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).attack = attack;
        self.attacks.try_iter().for_each(drop);
    }

    /// Waits until it has changed something so many times.
    pub(super) fn wait_for_attacks(&self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| {
            self.attacks.recv_timeout(PATIENCE).context("there is something to change")
        })
    }
}

fn carry(mut sensor: TcpStream, gateway: &str, plan: &Mutex<Plan>) -> io::Result<()> {
    let mut gateway = TcpStream::connect(gateway)?;
    let (mut up, mut down) = (Decoder::default(), Decoder::default());
    loop {
        let question = next(&mut sensor, &mut up)?;
        let question = Up::parse(&question).map_err(io::Error::other)?;
        let asked = plan.lock().unwrap_or_else(PoisonError::into_inner).question(&question);
        gateway.write_all(&asked)?;
        let answer = next(&mut gateway, &mut down)?;
        let answer = Down::parse(&answer).map_err(io::Error::other)?;
        let told = plan.lock().unwrap_or_else(PoisonError::into_inner).answer(&answer);
        sensor.write_all(&told)?;
    }
}

fn next(stream: &mut TcpStream, decoder: &mut Decoder) -> io::Result<Frame> {
    loop {
        if let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
            return Ok(frame);
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
    }
}

impl Plan {
    fn question(&self, question: &Up<'_>) -> Vec<u8> {
        match question {
            Up::Message(kind, envelope) if self.attack == Attack::ChangeMessages => {
                let changed = envelope.replacen("\"uptime_s\":", "\"uptime_s\":999999,\"was\":", 1);
                Up::Message(*kind, &changed).encode()
            }
            Up::Message(..) | Up::Poll(_) | Up::Read(..) | Up::Time => question.encode(),
        }
    }

    fn answer(&mut self, answer: &Down<'_>) -> Vec<u8> {
        let honest = answer.encode();
        if let Down::Answer(_) = answer {
            self.first.get_or_insert_with(|| honest.clone());
        }
        let told = self.told(answer).unwrap_or_else(|| honest.clone());
        if told != honest {
            let _ = self.done.send(());
        }
        told
    }

    fn told(&self, answer: &Down<'_>) -> Option<Vec<u8>> {
        match (&self.attack, answer) {
            (Attack::ChangeAnswers, Down::Answer(bundle)) => {
                Some(Down::Answer(&changed(bundle)).encode())
            }
            (Attack::ChangeFirmware, Down::Piece { from, length, bytes }) => {
                let (from, length, bytes) = (*from, *length, &changed(bytes)[..]);
                Some(Down::Piece { from, length, bytes }.encode())
            }
            (Attack::ChangeMessages, Down::Outcome(id, _)) => {
                Some(Down::Outcome(id.clone(), Outcome::Stored).encode())
            }
            (Attack::CutAnswers, Down::Answer(bundle)) => {
                Some(Down::Answer(bundle.get(..bundle.len() / 2)?).encode())
            }
            (Attack::ReplayAnswers, Down::Answer(_)) => self.first.clone(),
            (Attack::SubstituteFirmware(image), Down::Piece { from, length, bytes }) => {
                let begin = usize::try_from(*from).ok()?;
                let bytes = image.get(begin..begin + bytes.len())?;
                Some(Down::Piece { from: *from, length: *length, bytes }.encode())
            }
            _ => None,
        }
    }
}

/// The same but for a bit in the middle.
fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    if let Some(byte) = changed.get_mut(bytes.len() / 2) {
        *byte ^= 1;
    }
    changed
}
