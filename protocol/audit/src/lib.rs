//! The audit log as a hash chain with signed checkpoints.
//!
//! Each row carries the hash of itself and of the row before, so that whoever changes a row has to
//! change all that follow. A checkpoint, signed by the Director's online key, says how long the log is
//! and what its last hash is, so that this does not go unnoticed either, by anybody who kept one.
//!
//! ```text
//! genesis(origin) ─▶ row 1 ─▶ row 2 ─▶ ... ─▶ row 100 ─▶ ...
//!                                               ▲
//!                              checkpoint: origin, 100, hash, time, signature
//! ```
//!
//! The server writes with this crate and looks after itself with it; `waxwing doctor audit` checks
//! with it what the server shows. Not here: where rows are stored, who signs, what an action means.

mod audit;
mod chain;
mod checkpoint;
mod note;

pub use audit::{Audit, Finding};
pub use chain::{Head, Link, ORIGIN_ID_BYTES, Origin, Row};
pub use checkpoint::Checkpoint;
pub use note::{MalformedNote, NOTE_BYTES_MAX, Note, UnknownSigner};
