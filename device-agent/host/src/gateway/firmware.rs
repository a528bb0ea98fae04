//! Firmware on its way down, piece by piece: one download at a time for each link, which goes on where the
//! device reads on.
//!
//! Nothing is kept and nothing checked here: the device checks all of it.

use waxwing_agent::download::Opened;
use waxwing_agent::network::{NoAnswer, Server as _};
use waxwing_wire::frame::{Excuse, PIECE_BYTES_MAX};
use waxwing_wire::{DeviceId, Digest};

use crate::network::Https;

/// A download for one device.
#[derive(Debug)]
pub(super) struct Firmware {
    server: Https,
    open: Option<Open>,
}

/// What is being downloaded, and how far.
#[derive(Debug)]
struct Open {
    device: DeviceId,
    sha256: Digest,
    next: u32,
    length: u32,
}

/// Bytes of an image.
#[derive(Debug)]
pub(super) struct Piece {
    /// Length of the whole image.
    pub(super) length: u32,
    /// The bytes; none at its end.
    pub(super) bytes: Vec<u8>,
}

impl Firmware {
    pub(super) const fn new(server: Https) -> Self {
        Self { server, open: None }
    }

    /// Reads a piece; once more from there if the connection broke meanwhile.
    pub(super) async fn piece(
        &mut self,
        device: &DeviceId,
        sha256: &Digest,
        from: u32,
        most: u16,
    ) -> Result<Piece, Excuse> {
        let goes_on =
            |open: &Open| open.device == *device && open.sha256 == *sha256 && open.next == from;
        if self.open.as_ref().is_some_and(goes_on)
            && let Ok(piece) = self.read(most).await
        {
            return Ok(piece);
        }
        self.open(device, sha256, from).await?;
        self.read(most).await.map_err(excuse)
    }

    async fn open(&mut self, device: &DeviceId, sha256: &Digest, from: u32) -> Result<(), Excuse> {
        self.open = None;
        let path = format!("/v1/gateway/{device}/images/{sha256}");
        let opened = self.server.download(&path, sha256, from).await.map_err(excuse)?;
        let length = length(&opened, from).ok_or_else(|| refusal(&opened))?;
        let (device, sha256) = (device.clone(), *sha256);
        self.open = Some(Open { device, sha256, next: from, length });
        Ok(())
    }

    async fn read(&mut self, most: u16) -> Result<Piece, NoAnswer> {
        let Some(mut open) = self.open.take() else { return Err(NoAnswer::Unreachable) };
        let mut bytes = vec![0; usize::from(most).min(PIECE_BYTES_MAX)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.server.read(rest).await? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        open.next = open.next.saturating_add(u32::try_from(filled).unwrap_or(u32::MAX));
        let length = open.length;
        self.open = Some(open);
        Ok(Piece { length, bytes })
    }
}

/// Returns how long the image is, if the answer begins where it should.
fn length(opened: &Opened, from: u32) -> Option<u32> {
    let length = match (opened.status, opened.range) {
        (200, _) if from == 0 => opened.body_bytes?,
        (206, Some(range)) if range.first == u64::from(from) => range.length,
        _ => return None,
    };
    u32::try_from(length).ok()
}

fn refusal(opened: &Opened) -> Excuse {
    let wait_s = opened.retry_after.map_or(0, |wait| wait.as_secs());
    // A success that is not what was asked for is none.
    let status = if opened.status < 300 { 0 } else { opened.status };
    Excuse { status, wait_s: u32::try_from(wait_s).unwrap_or(u32::MAX) }
}

/// What a device is told of an answer that did not come.
pub(super) fn excuse(why: NoAnswer) -> Excuse {
    match why {
        NoAnswer::Busy(wait) => {
            let wait_s = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1);
            Excuse { status: 503, wait_s }
        }
        NoAnswer::Refused(status) => Excuse { status, wait_s: 0 },
        NoAnswer::Stalled | NoAnswer::Unreachable => Excuse { status: 0, wait_s: 0 },
    }
}

#[cfg(test)]
mod tests {
    use waxwing_agent::download::ContentRange;

    use super::*;

    #[test]
    fn an_answer_that_begins_elsewhere_is_none() {
        let whole = Opened { status: 200, body_bytes: Some(9), ..Opened::default() };
        let range = Some(ContentRange { first: 4, last: 8, length: 9 });
        let part = Opened { status: 206, range, body_bytes: Some(5), ..Opened::default() };
        assert_eq!((length(&whole, 0), length(&part, 4)), (Some(9), Some(9)));
        assert_eq!((length(&whole, 4), length(&part, 0)), (None, None));
        assert_eq!(refusal(&whole), Excuse { status: 0, wait_s: 0 });
        let gone = Opened { status: 404, ..Opened::default() };
        assert_eq!((length(&gone, 0), refusal(&gone).status), (None, 404));
    }
}
