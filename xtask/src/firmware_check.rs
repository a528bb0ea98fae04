//! `cargo xtask firmware-check`: what runs on a device compiles for one.
//!
//! A crate that builds here needs only `core` and `alloc`. Not here: linking or booting firmware.

use crate::device;
use crate::workspace::run;

/// The crates that are linked into firmware.
const CRATES: [&str; 6] = [
    "waxwing-agent",
    "waxwing-agent-flash",
    "waxwing-agent-net",
    "waxwing-esp-image",
    "waxwing-tuf",
    "waxwing-wire",
];

/// Builds the device crates.
///
/// # Errors
///
/// When a crate does not build, or there is no compiler for the device.
pub(crate) fn run_build() -> anyhow::Result<()> {
    let mut build = device::cargo_build()?;
    for name in CRATES {
        build.args(["--package", name]);
    }
    run(&mut build)
}
