//! `cargo xtask firmware-check`: what runs on a device compiles for one.
//!
//! For the ESP32-C3, whose target has neither an operating system nor atomics that swap: a crate
//! that builds here needs only `core` and `alloc`. Not here: linking or booting firmware.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::debian::{self, Package};
use crate::workspace::{cargo, command, run, target_dir};

const TARGET: &str = "riscv32imc-unknown-none-elf";

/// The crates that are linked into firmware.
const CRATES: [&str; 4] = ["waxwing-agent", "waxwing-esp-image", "waxwing-tuf", "waxwing-wire"];

/// Debian's own compiler, which can build `core` for any target from its sources.
const PACKAGES: [Package; 3] = [
    Package { name: "cargo-web", probe: &["/usr/bin/cargo", "--version"] },
    Package { name: "rustc-web", probe: &["/usr/bin/rustc", "--version"] },
    Package { name: "rust-web-src", probe: &["test", "-d", "/usr/lib/rustlib/src/rust/library"] },
];

/// Builds the device crates with the installed target, else with Debian's compiler.
///
/// # Errors
///
/// When a crate does not build, or neither compiler is there.
pub(crate) fn run_build() -> anyhow::Result<()> {
    let mut build = if has_target() { cargo("build") } else { debian_cargo()? };
    for name in CRATES {
        build.args(["--package", name]);
    }
    run(build.args(["--target", TARGET]).arg("--target-dir").arg(target_dir()?.join("device")))
}

/// Returns true when the compiler in use has the target's `core`.
fn has_target() -> bool {
    let output = command("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists())
}

fn debian_cargo() -> anyhow::Result<Command> {
    debian::require(&PACKAGES)
        .with_context(|| format!("run `rustup target add {TARGET}`, or use Debian's compiler"))?;
    let mut cargo = command("/usr/bin/cargo");
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [Path::new("/usr/bin").to_owned()].into_iter().chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(paths)?);
    // The environment of this process names the compiler that built it.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(variable);
    }
    cargo.env("RUSTC_BOOTSTRAP", "1").args(["build", "-Zbuild-std=core,alloc"]);
    Ok(cargo)
}
