//! Where the body of an answer ends: after its length, or after its last chunk (RFC 9112, 6 and 7).
//!
//! This only counts; the bytes stay where they are.

use core::fmt;

use httparse::{Status, parse_chunk_size};

/// Longest line with the size of a chunk, in bytes: sixteen digits and some extension.
const CHUNK_LINE_BYTES_MAX: usize = 256;
const LINE_END: &[u8] = b"\r\n";

/// How far a body is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Body(State);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// So many bytes come, then the end.
    Length(u64),
    /// The size of a chunk comes.
    ChunkSize,
    /// So many bytes come, then the end of a chunk.
    Chunk(u64),
    /// An empty line comes, then the end.
    LastLine,
}

/// What to make of the bytes that came and were not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece {
    /// So many of them, at least one, are of the body. They count as read when [`Body::took`] was
    /// told.
    Data(usize),
    /// There is nothing more of the body.
    End,
    /// So many of them only say how the body goes on. Take them and look again.
    Framing(usize),
    /// More must come.
    More,
}

impl Body {
    /// No body at all.
    pub const NONE: Self = Self::of_length(0);
    /// A body in chunks.
    pub const CHUNKED: Self = Self(State::ChunkSize);

    /// A body of so many bytes.
    pub const fn of_length(bytes: u64) -> Self {
        Self(State::Length(bytes))
    }

    /// Returns how many bytes are to come, if that is known.
    pub const fn length(&self) -> Option<u64> {
        match self.0 {
            State::Length(bytes) => Some(bytes),
            State::Chunk(_) | State::ChunkSize | State::LastLine => None,
        }
    }

    /// Looks at what came and was not taken.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when this cannot be a part of a body.
    pub fn next(&mut self, received: &[u8]) -> Result<Piece, Malformed> {
        let framing = match self.0 {
            State::Length(0) => return Ok(Piece::End),
            State::Length(left) | State::Chunk(left @ 1..) => {
                let bytes = received.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                return Ok(if bytes == 0 { Piece::More } else { Piece::Data(bytes) });
            }
            State::ChunkSize => chunk_size(received)?,
            State::Chunk(0) => line_end(received)?.map(|bytes| (bytes, State::ChunkSize)),
            // RFC 9112, 7.1.2: there may be trailers. No server of ours has any.
            State::LastLine => line_end(received)?.map(|bytes| (bytes, State::Length(0))),
        };
        let Some((bytes, next)) = framing else { return Ok(Piece::More) };
        self.0 = next;
        Ok(Piece::Framing(bytes))
    }

    /// Takes note that so many bytes of the body were read.
    pub fn took(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if let State::Length(left) | State::Chunk(left) = &mut self.0 {
            *left = left.saturating_sub(bytes);
        }
    }
}

/// Reads the line before a chunk, if all of it came.
fn chunk_size(received: &[u8]) -> Result<Option<(usize, State)>, Malformed> {
    let line = received.get(..CHUNK_LINE_BYTES_MAX).unwrap_or(received);
    // The parser takes a line without any digit for a size of 0.
    if line.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    match parse_chunk_size(line).map_err(|_| Malformed)? {
        Status::Complete((bytes, 0)) => Ok(Some((bytes, State::LastLine))),
        Status::Complete((bytes, size)) => Ok(Some((bytes, State::Chunk(size)))),
        Status::Partial if received.len() < CHUNK_LINE_BYTES_MAX => Ok(None),
        Status::Partial => Err(Malformed),
    }
}

fn line_end(received: &[u8]) -> Result<Option<usize>, Malformed> {
    let line = received.get(..LINE_END.len()).unwrap_or(received);
    if !LINE_END.starts_with(line) {
        return Err(Malformed);
    }
    Ok((line == LINE_END).then_some(LINE_END.len()))
}

/// This is no answer of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answer is no HTTP")
    }
}

impl core::error::Error for Malformed {}
