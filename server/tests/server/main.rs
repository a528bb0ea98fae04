//! The server as devices and operators meet it: real sockets, real TLS, a real database.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod enrolment;
mod health;
mod listeners;
mod mqtt;
mod pki;
mod support;
