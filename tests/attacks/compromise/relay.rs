//! Somebody in the middle, who forwards, keeps and changes what device and server tell each other.
//!
//! TLS ends here, with a certificate made by the stolen key of the server CA. To reach the server
//! it also needs the device's own key, which no real one has: this one is stronger than any.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use waxwing_wire::bundle::{Bundle, Kind, Writer};

use super::director::Files;
use super::hostile::{Answers, Asked, Reply};

/// Forwards between one device and the server.
pub(crate) struct Relay {
    upstream: String,
    ca: PathBuf,
    identity: PathBuf,
    state: Mutex<State>,
}

/// What the relay does with what it forwards.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Changes one byte of every image.
    DamageImages,
    /// Hangs up.
    Drop,
    /// Forwards as it is.
    Forward,
    /// Changes the time that the Director attests.
    LieAboutTime,
    /// Answers every poll with the last answer to a poll that it has seen.
    Replay,
    /// Gives these files instead of those of the Image repository.
    SwapImageFiles(Files),
}

struct State {
    mode: Mode,
    seen: Option<Vec<u8>>,
}

impl Relay {
    /// Prepares a relay to `upstream`, which it will reach as the device of `identity`.
    pub(crate) fn new(upstream: String, ca: PathBuf, identity: PathBuf) -> Self {
        let state = Mutex::new(State { mode: Mode::Forward, seen: None });
        Self { upstream, ca, identity, state }
    }

    /// Does something else from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.state().mode = mode;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, asked: &Asked) -> Result<Reply> {
        let ca = Certificate::from_pem(&fs::read(&self.ca)?)?;
        let identity = Identity::from_pem(&fs::read(&self.identity)?)?;
        let client = Client::builder().tls_certs_only([ca]).identity(identity).build()?;
        let url = format!("{}{}", self.upstream, asked.path);
        let request = if asked.path.starts_with("/v1/images/") {
            client.get(url)
        } else {
            client.post(url).header("content-type", "application/json").body(asked.body.clone())
        };
        let answer = request.send()?;
        let status = answer.status().as_u16();
        let body = answer.bytes()?.to_vec();
        let total = body.len();
        let is_part = asked.from > 0 && status == 200;
        let body = body.get(asked.from..).context("a device asks for what there is")?.to_vec();
        Ok(Reply { status: if is_part { 206 } else { status }, body, total })
    }
}

impl Answers for Relay {
    fn answer(&self, asked: &Asked) -> Result<Reply> {
        let (mode, seen) = {
            let state = self.state();
            (state.mode.clone(), state.seen.clone())
        };
        let is_poll = asked.path == "/v1/poll";
        ensure!(!matches!(mode, Mode::Drop), "dropped");
        if is_poll && matches!(mode, Mode::Replay) {
            return Ok(Reply::whole(200, seen.context("something was recorded")?));
        }
        let mut reply = self.forward(asked)?;
        if !is_poll {
            if let (Mode::DamageImages, Some(byte)) = (mode, reply.body.last_mut()) {
                *byte ^= 1;
            }
            return Ok(reply);
        }
        if reply.status != 200 {
            return Ok(reply);
        }
        self.state().seen = Some(reply.body.clone());
        Ok(match mode {
            Mode::DamageImages | Mode::Drop | Mode::Forward | Mode::Replay => reply,
            Mode::LieAboutTime => Reply::whole(200, lie(&reply.body)),
            Mode::SwapImageFiles(files) => Reply::whole(200, swap(&reply.body, &files)?),
        })
    }
}

/// Sets the attested time to the first day of the next century, in place.
fn lie(bundle: &[u8]) -> Vec<u8> {
    let text: String = bundle.iter().map(|byte| char::from(*byte)).collect();
    let at = text.find("\"time\":\"20").map(|at| at + "\"time\":\"".len());
    let mut bundle = bundle.to_vec();
    if let Some(year) = at.and_then(|at| bundle.get_mut(at..at + 4)) {
        year.copy_from_slice(b"2100");
    }
    bundle
}

/// Leaves what the Director says as it is, if it names something to install.
fn swap(bundle: &[u8], files: &Files) -> Result<Vec<u8>> {
    let bundle = Bundle::parse(bundle)?;
    let mut swapped = Writer::new();
    for frame in bundle.frames.iter().filter(|frame| frame.kind != Kind::Image) {
        swapped.push(frame.kind, frame.name, frame.bytes)?;
    }
    for (name, bytes) in files {
        swapped.push(Kind::Image, name, bytes)?;
    }
    Ok(swapped.finish(bundle.retry_after_s))
}
