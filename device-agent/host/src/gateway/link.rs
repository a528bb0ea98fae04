//! The link of one device: what it asks is answered, one after another, until the link is broken or silent.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use waxwing_agent_net::http::Request;
use waxwing_wire::bundle::DEVICE_ANSWER_BYTES_MAX;
use waxwing_wire::envelope::Envelope;
use waxwing_wire::frame::{Decoder, Down, Excuse, Frame, Up};
use waxwing_wire::{DeviceId, Digest};

use super::Gateway;
use super::firmware::{Firmware, Piece, excuse};
use crate::network::Https;
use crate::time::unix_s;

/// How long a link may be silent: devices that are asleep come again.
const SILENCE_MAX: Duration = Duration::from_mins(10);
/// How long a device may take to take an answer: the longest one at 1 KiB a second, with room.
const SEND_MAX: Duration = Duration::from_mins(2);
/// How much is read at once.
const READ_BYTES: usize = 4096;

/// Answers a device until its link ends.
pub(super) async fn serve(gateway: &Gateway, stream: TcpStream) {
    let polls = gateway.https();
    let firmware = Firmware::new(gateway.https());
    let mut link =
        Link { gateway, stream, received: Decoder::default(), polls, firmware, device: None };
    // Whatever ended it: the device begins a new one.
    let _ = link.answer_all().await;
}

struct Link<'a> {
    gateway: &'a Gateway,
    stream: TcpStream,
    received: Decoder,
    polls: Https,
    firmware: Firmware,
    /// Who polled last. It may have lied; then the server answers nothing.
    device: Option<DeviceId>,
}

impl Link<'_> {
    async fn answer_all(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some(frame) = timeout(SILENCE_MAX, self.next()).await?? {
            let answer = self.answer(&frame).await?;
            timeout(SEND_MAX, self.stream.write_all(&answer)).await??;
        }
        Ok(())
    }

    /// Returns the next frame; none when the link has ended.
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.received.next_frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            let mut bytes = [0; READ_BYTES];
            let count = self.stream.read(&mut bytes).await?;
            if count == 0 {
                return Ok(None);
            }
            self.received.push(bytes.get(..count).unwrap_or_default());
        }
    }

    async fn answer(&mut self, frame: &Frame) -> io::Result<Vec<u8>> {
        match Up::parse(frame).map_err(io::Error::other)? {
            Up::Message(kind, envelope) => {
                let header = Envelope::parse(envelope.as_bytes()).map_err(io::Error::other)?.header;
                let outcome = self.gateway.carry(kind, &header, envelope).await;
                Ok(Down::Outcome(header.message_id, outcome).encode())
            }
            Up::Poll(sealed) => Ok(self.poll(sealed).await),
            Up::Read(sha256, from, most) => Ok(self.read(&sha256, from, most).await),
            Up::Time => Ok(Down::Time(unix_s()).encode()),
        }
    }

    async fn poll(&mut self, sealed: &str) -> Vec<u8> {
        let envelope = Envelope::parse_poll(sealed.as_bytes());
        self.device = envelope.ok().map(|envelope| envelope.header.device_id);
        let headers = &[("content-type", "application/json")];
        let (path, body) = ("/v1/gateway/poll", sealed.as_bytes());
        let request = Request { method: "POST", path, headers, body };
        match self.polls.exchange(&request, DEVICE_ANSWER_BYTES_MAX).await {
            Ok((200, bundle)) => Down::Answer(&bundle).encode(),
            Ok((status, _)) => Down::NoAnswer(Excuse { status, wait_s: 0 }).encode(),
            Err(why) => Down::NoAnswer(excuse(why)).encode(),
        }
    }

    async fn read(&mut self, sha256: &Digest, from: u32, most: u16) -> Vec<u8> {
        // Nobody asks for firmware of which no poll told.
        let Some(device) = &self.device else {
            return Down::NoPiece(Excuse { status: 403, wait_s: 0 }).encode();
        };
        match self.firmware.piece(device, sha256, from, most).await {
            Ok(Piece { length, bytes }) => Down::Piece { from, length, bytes: &bytes }.encode(),
            Err(excuse) => Down::NoPiece(excuse).encode(),
        }
    }
}
