//! The Waxwing server: chooses, per device and poll, which signed release a device should run.
//!
//! Arrows inside: `http, mqtt, jobs -> store -> domain`. `domain` is pure and knows none of the
//! others; `store` holds the only SQL; [`fleet`] is the copy in memory that answers polls.
//! Not here: release keys. Nothing in this crate can make a release.

pub mod alerts;
pub mod app;
pub mod blobs;
pub mod broker;
pub mod chunks;
pub mod clock;
pub mod config;
mod descriptors;
#[cfg(feature = "development")]
mod development;
pub mod director;
pub mod domain;
pub mod expiries;
pub mod fleet;
pub mod gateways;
pub mod health;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod listener;
pub mod logging;
pub mod mail;
pub mod message_secrets;
pub mod metrics;
pub mod mqtt;
pub mod orders;
pub mod pki;
pub mod publish;
pub mod random;
pub mod readiness;
pub mod recount;
pub mod repositories;
pub mod revocation;
pub mod run;
pub mod server_ca;
pub mod setup;
pub mod sinks;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod visits;
pub mod webhooks;
