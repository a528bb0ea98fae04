//! Cargo subcommands of others that our checks use, pinned.

use crate::workspace::{cargo, run, succeeds};

/// A Cargo subcommand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// What follows `cargo `.
    subcommand: &'static str,
    /// The package that brings it.
    package: &'static str,
    /// The version that is installed when there is none.
    version: &'static str,
}

/// Checks dependencies, licences and crate edges against `deny.toml`.
pub(crate) const DENY: Tool = Tool { subcommand: "deny", package: "cargo-deny", version: "0.20.2" };

/// Builds fuzz targets with the flags that libFuzzer needs.
pub(crate) const FUZZ: Tool = Tool { subcommand: "fuzz", package: "cargo-fuzz", version: "0.13.2" };

/// Runs tests, each in a process of its own.
pub(crate) const NEXTEST: Tool =
    Tool { subcommand: "nextest", package: "cargo-nextest", version: "0.9.143" };

/// Installs the tool unless some version of it is there. Unoptimised: it runs for seconds, and
/// optimised it would take longer to build than all of our own crates to be checked.
///
/// # Errors
///
/// When it cannot be built.
pub(crate) fn require(tool: Tool) -> anyhow::Result<()> {
    if succeeds(cargo(tool.subcommand).arg("--version")) {
        return Ok(());
    }
    let options = ["--debug", "--locked", "--version", tool.version];
    run(cargo("install").arg(tool.package).args(options))
}
