//! Fuzz targets for every parser of foreign bytes, as functions: each takes bytes and panics when a
//! promise is broken.
//!
//! Not only "does not crash": what is accepted is read again, compared with another parser, or with
//! what its author meant. `docs/fuzzing.md` lists the promises and how long a planted bug lived. The
//! corpus is made by [`seeds`], from our own authors; there are no images of others in it.
//!
//! Built without a sanitizer: `unsafe` is forbidden in everything that is fuzzed here.

pub mod answer;
pub mod arguments;
pub mod broker;
pub mod bundle;
pub mod chunks;
pub mod client;
pub mod command;
pub mod csr;
pub mod enrol_uri;
pub mod envelope;
pub mod est;
pub mod frame;
pub mod http;
pub mod image;
pub mod journal;
pub mod json;
pub mod metadata;
pub mod otadata;
pub mod packets;
pub mod partition_table;
pub mod poll;
pub mod provision;
pub mod query;
pub mod secure_boot;
pub mod seeds;
mod signed;
pub mod tls;

/// A server of TLS that says anything, from the tests of the device's network.
#[path = "../../device-agent/net/tests/it/forger.rs"]
mod forger;

// The parsers of the server are its own files, built without the server around them: that would be
// two hundred dependencies more.

/// `server/src/clock.rs`.
#[path = "../../server/src/clock.rs"]
pub mod clock;

/// The language of groups, and schemas of arguments: two modules of `server/src/domain`.
#[path = "../../server/src/domain"]
pub mod domain {
    pub mod query;
    pub mod schema;
}

/// The MQTT endpoint: all of `server/src/mqtt` but what ties it to the rest of the server.
#[path = "../../server/src/mqtt"]
pub mod mqtt {
    pub mod audience;
    mod codec;
    pub mod connection;
    pub mod filter;
    pub mod grants;
    pub mod hub;
    pub mod keeper;
    pub mod meter;
    mod outbox;
    mod reason;
    pub mod refusals;
    mod scope;
    mod session;
    mod sink;

    pub use self::audience::Audience;
    pub use self::connection::{Endpoint, Guest, serve};
    pub use self::grants::Grants;
    pub use self::hub::Hub;
    pub use self::meter::Limits;
    pub use self::refusals::Refusals;
    pub use self::scope::Scope;
    pub use self::sink::{Refused, Sink};
}

/// Certificate requests and device certificates: two files of `server/src/pki`.
#[path = "../../server/src/pki"]
pub mod pki {
    pub mod csr;
    #[expect(dead_code, reason = "certificates are read by who listens, not here")]
    pub mod peer;
}
