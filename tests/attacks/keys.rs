//! Row 50: lost keys. Rehearsed with tokens (`SoftHSM`) and the real tool, judged by python-tuf.

mod director;
mod losses;
mod room;
mod runbook;
mod server;
