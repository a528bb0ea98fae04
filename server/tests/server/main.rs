//! The server as devices and operators meet it: real sockets, real TLS, a real database.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

#[expect(dead_code, reason = "the tests of the REST API use the rest")]
#[path = "../api/support.rs"]
mod api;
mod commands;
mod device_ca;
mod enrolment;
mod fleet;
mod gateways;
mod health;
mod images;
mod listeners;
mod mqtt;
mod operators;
mod paho;
mod pins;
mod pki;
mod polls;
mod program;
mod readers;
mod refusals;
mod revocation;
mod server_ca;
mod sessions;
mod sinks;
mod strangers;
mod support;
mod webhooks;
