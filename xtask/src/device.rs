//! Building for the ESP32-C3, whose target has neither an operating system nor atomics that swap:
//! with the target where it is installed, else with Debian's compiler.
//!
//! Not here: what is built. Not ESP-IDF either, and no image that a device would boot.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::debian::{self, Package};
use crate::workspace::{cargo, command, root, run, target_dir};

/// What an ESP32-C3 runs.
pub(crate) const TARGET: &str = "riscv32imc-unknown-none-elf";

/// Where the harness of `bench trust` is: a workspace of its own.
const HARNESS_FOLDER: &str = "tests/bench/device";
const HARNESS: &str = "waxwing-bench-device";

/// Debian's own compiler, which can build `core` for any target from its sources.
const COMPILER: [Package; 3] = [
    Package { name: "cargo-web", probe: &["/usr/bin/cargo", "--version"] },
    Package { name: "rustc-web", probe: &["/usr/bin/rustc", "--version"] },
    Package { name: "rust-web-src", probe: &["test", "-d", "/usr/lib/rustlib/src/rust/library"] },
];
/// Debian's compiler comes without a linker for the device. Older ones than this do not shorten calls.
const LINKER: Package = Package { name: "lld-16", probe: &["ld.lld-16", "--version"] };

/// What of the trust core is in the harness.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Features {
    /// Nothing.
    None,
    /// All but P-256.
    Ed25519,
    /// All.
    P256,
}

impl Features {
    /// Returns the option by which `waxwing-bench trust` takes the program.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::None => "--alone",
            Self::Ed25519 => "--ed25519",
            Self::P256 => "--p256",
        }
    }

    const fn list(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Ed25519 => "tuf",
            Self::P256 => "p256",
        }
    }
}

/// Returns `cargo build` for the device, to be given what to build.
///
/// # Errors
///
/// When there is no compiler for the device.
pub(crate) fn cargo_build() -> anyhow::Result<Command> {
    cargo_build_to(&target_dir()?.join("device"))
}

/// As [`cargo_build`], into a folder of choice.
///
/// # Errors
///
/// When there is no compiler for the device.
pub(crate) fn cargo_build_to(folder: &Path) -> anyhow::Result<Command> {
    let mut build = if has_target() { cargo("build") } else { debian_cargo()? };
    build.args(["--target", TARGET]).arg("--target-dir").arg(folder);
    Ok(build)
}

/// Builds the harness of `bench trust`, small and for release, and returns the program.
///
/// # Errors
///
/// When it does not build.
pub(crate) fn build_harness(features: Features) -> anyhow::Result<PathBuf> {
    let mut build = cargo_build()?;
    build.current_dir(root().join(HARNESS_FOLDER));
    run(build.args(["--release", "--locked", "--features", features.list()]))?;
    let program = target_dir()?.join("device").join(TARGET).join("release").join(HARNESS);
    // The next one goes to the same place.
    let kept = program.with_file_name([HARNESS, features.option()].concat());
    std::fs::copy(&program, &kept).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(kept)
}

/// Returns true when the compiler in use has the target's `core`.
fn has_target() -> bool {
    let output = command("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists())
}

/// Returns the linker that comes with a compiler of rustup's, if there is one.
fn rustup_linker() -> Option<PathBuf> {
    let say = |what: &str| {
        let output = command("rustc").args(["--print", what]).output().ok()?;
        Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    };
    let linker = say("target-libdir")?.parent()?.join("bin/rust-lld");
    linker.exists().then_some(linker)
}

fn debian_cargo() -> anyhow::Result<Command> {
    let advice = || format!("run `rustup target add {TARGET}`, or use Debian's compiler");
    debian::require(&COMPILER).with_context(advice)?;
    let linker = match rustup_linker() {
        Some(linker) => linker,
        None => debian::require(&[LINKER]).map(|()| "ld.lld-16".into()).with_context(advice)?,
    };
    let mut cargo = command("/usr/bin/cargo");
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [Path::new("/usr/bin").to_owned()].into_iter().chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(paths)?);
    // The environment of this process names the compiler that built it.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_TARGET_RISCV32IMC_UNKNOWN_NONE_ELF_LINKER", linker);
    cargo.env("RUSTC_BOOTSTRAP", "1").args([
        "build",
        "-Zbuild-std=core,alloc",
        "-Zbuild-std-features=optimize_for_size",
    ]);
    Ok(cargo)
}
