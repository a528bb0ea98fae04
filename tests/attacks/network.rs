//! Rows 17, 18 and 41: what a device makes of a network that is hostile, over real sockets and TLS.

mod bodies;
mod chains;
