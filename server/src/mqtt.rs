//! MQTT for devices, and for operators who listen to them: an endpoint, not a broker. Every device talks
//! to the server alone.
//!
//! MQTT 3.1.1 and 5 on one port, over mutual TLS. [`codec`], [`session`], [`scope`] and [`outbox`]
//! are pure; [`connection`] moves bytes; [`hub`] knows who is connected; [`ledger`] keeps sessions in
//! the database; [`service`] ties them to the rest of the server. What a message means is the business
//! of the [`Sink`]; who else hears of it, that of the [`audience`].
//!
//! Not here: retained messages, `QoS` 2 to devices, shared subscriptions, messages for whoever does not
//! listen just then. Those need a broker.

pub mod audience;
mod codec;
pub mod commands;
pub mod connection;
pub mod filter;
pub mod grants;
pub mod hub;
pub mod keeper;
pub mod ledger;
pub mod meter;
mod outbox;
mod reason;
pub mod refusals;
mod scope;
mod service;
mod session;
mod shared;
mod sink;
#[cfg(test)]
mod testing;

pub use self::audience::Audience;
pub use self::connection::{Endpoint, Guest, serve};
pub use self::grants::Grants;
pub use self::hub::{Delivery, Hub, Listening, Relay};
pub use self::keeper::{Keeper, Letter, Place};
pub use self::ledger::Ledger;
pub use self::meter::Limits;
pub use self::refusals::Refusals;
pub use self::scope::Scope;
pub use self::service::Service;
pub use self::shared::Shared;
pub use self::sink::{Refused, Sink};
