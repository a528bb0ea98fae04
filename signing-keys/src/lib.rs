//! Offline key ceremony, release signing and publishing: everything `waxwing-keys` does, as a
//! library for tests and demonstrations.
//!
//! [`ceremony`], [`pins`] and [`release`] decide, pure; [`steps`], [`document`] and [`publish`] put
//! that on disk; [`upload`] hands it to a server; [`transcript`] remembers who did what; [`cli`] is
//! the command line. Whatever is written is read
//! back through the verifier of `waxwing-tuf` that devices run: there is no other here.

pub mod ceremony;
pub mod cli;
pub mod console;
pub mod definition;
pub mod disk;
pub mod document;
pub mod folder;
pub mod key_file;
pub mod pins;
pub mod publish;
pub mod published;
pub mod release;
pub mod secret;
pub mod steps;
pub mod token;
pub mod transcript;
pub mod upload;
