//! Fuzz targets for every parser of foreign bytes, as functions: each takes bytes and panics when a
//! promise is broken.
//!
//! Not only "does not crash": what is accepted is read again, compared with another parser, or with
//! what its author meant. `docs/fuzzing.md` lists the promises and how long a planted bug lived. The
//! corpus is made by [`seeds`], from our own authors; there are no images of others in it.
//!
//! Built without a sanitizer: `unsafe` is forbidden in everything that is fuzzed here.

pub mod bundle;
pub mod client;
pub mod command;
pub mod envelope;
pub mod image;
pub mod json;
pub mod metadata;
pub mod otadata;
pub mod partition_table;
pub mod poll;
pub mod secure_boot;
pub mod seeds;
mod signed;
