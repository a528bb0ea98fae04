//! What the server writes down: its database, reports, publications, the audit log, its own log.

mod audit;
mod database;
mod publish;
mod reports;
mod secrets;
mod tools;
