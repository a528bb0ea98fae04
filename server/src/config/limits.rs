//! What others can make the server do, at most.

use serde::{Deserialize, Serialize};

/// Bounds on what others can make the server do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections per listener but `mqtt`; more are closed at once. Lowered at start to what the
    /// process may open files for.
    pub connections: usize,
    /// Open connections on the listener `mqtt`, where devices stay; more are closed at once. Lowered at
    /// start in the same proportion.
    pub mqtt_connections: usize,
    /// Open connections per source address (per /64 in IPv6) on the listeners that ask for no
    /// certificate, `enrol` and `admin`; more are closed at once. The default is enough for a
    /// production line behind one address, and too little to fill a listener.
    pub connections_per_source: usize,
    /// Unfinished TLS handshakes per source address (per /64 in IPv6); one more closes the oldest.
    pub handshakes_per_source: usize,
    /// Seconds a TLS handshake may take.
    pub handshake_s: u64,
    /// Seconds a request head may take, and an idle connection is kept.
    pub request_head_s: u64,
    /// Seconds a connection may last; images must fit through in this time.
    pub connection_s: u64,
    /// Seconds that running requests get to finish at shutdown.
    pub drain_s: u64,
    /// Largest image in bytes.
    pub image_bytes: u64,
    /// Memory for images that are downloaded often, in bytes.
    pub image_cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            mqtt_connections: 20_000,
            connections_per_source: 256,
            handshakes_per_source: 64,
            handshake_s: 10,
            request_head_s: 30,
            connection_s: 60 * 60,
            drain_s: 10,
            image_bytes: 16 << 20,
            image_cache_bytes: 64 << 20,
        }
    }
}
