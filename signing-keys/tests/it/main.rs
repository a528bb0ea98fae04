//! The real program in temporary folders.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

mod ceremony;
mod common;
mod documents;
mod publish;
mod signers;
mod strangers;
mod token;
mod transcript;
mod upload;
