//! Row 37: what happens in each compromise, one drill per row of the table in the design, each
//! ending in a recovery. `docs/incidents.md` tells operators the same steps.
//!
//! The server, the tools and the devices are the real programs. Only thieves are written here: what
//! they say, they sign with keys taken from the disk of the server or of the keyholders.

mod director;
mod forge;
mod hostile;
mod relay;
pub(crate) mod stage;

mod identity;
mod keys;
mod network;
mod roots;
mod server;
mod time;
